from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from bessai.errors import ConfigError
from bessai.fleet.aggregate import aggregate
from bessai.fleet.state import FleetState
from bessai.model import Bounds, SiteState
from bessai.units import MonotonicS
from tests.support.fleet_values import fleet_config, reading, site_config, snapshot, with_pid

NOW = MonotonicS(100.0)


def fleet(*site_ids: str) -> FleetState:
    return FleetState(fleet_config(*site_ids).sites, NOW)


def test_a_report_without_a_reading_clears_every_number() -> None:
    state = fleet("a")
    state.update([snapshot(sequence=1, numbers=reading())], NOW)
    assert state.soc_pct[0] == 50.0
    state.update([snapshot(sequence=2, numbers=None, state=SiteState.UNREACHABLE)], NOW)
    for column in (state.soc_pct, state.capacity_kwh, state.active_power_kw, state.temperature_c):
        assert np.isnan(column[0])
    assert state.state(0) is SiteState.UNREACHABLE


def test_a_number_that_is_none_is_not_known_and_does_not_keep_its_last_value() -> None:
    state = fleet("a")
    state.update([snapshot(sequence=1, numbers=reading(soc_pct=50.0))], NOW)
    state.update([snapshot(sequence=2, numbers=reading(soc_pct=None))], NOW)
    assert np.isnan(state.soc_pct[0])
    assert not state.plannable()[0]


def test_the_capacity_of_the_site_file_wins_over_the_devices() -> None:
    sites = (site_config("own", 100.0), site_config("device", None))
    state = FleetState(sites, NOW)
    batch = [snapshot(s.id, numbers=reading()) for s in sites]
    state.update(batch, NOW)
    assert state.capacity_kwh.tolist() == [100.0, 80.0]


@pytest.mark.parametrize(("age_s", "silent"), [(9.9, False), (10.1, True)])
def test_a_site_is_silent_after_ten_real_seconds_and_has_no_numbers(
    age_s: float, silent: bool
) -> None:
    state = fleet("a", "b")
    state.update([snapshot("a", numbers=replace(reading(), age_s=0.0))], NOW)
    state.expire(MonotonicS(NOW + age_s))
    assert (state.state(0) is SiteState.SILENT) is silent
    assert bool(np.isnan(state.soc_pct[0])) is silent
    assert (state.snapshot(0) is None) is silent
    assert (state.state(1) is SiteState.STARTING) is not silent  # has never reported


def test_a_silent_site_comes_back_with_its_next_report() -> None:
    state = fleet("a")
    state.update([snapshot(sequence=1, numbers=reading())], NOW)
    state.expire(MonotonicS(NOW + 60))
    taken = state.update([snapshot(sequence=2, numbers=reading())], MonotonicS(NOW + 61))
    assert len(taken) == 1
    assert state.state(0) is SiteState.RUNNING
    assert state.reporting()[0]


def test_a_reading_that_was_old_when_it_was_reported_expires_earlier() -> None:
    state = fleet("a")
    state.update([snapshot(numbers=replace(reading(), age_s=8.0))], NOW)
    state.expire(MonotonicS(NOW + 3))
    assert np.isnan(state.soc_pct[0])
    assert state.reporting()[0]


def test_a_reading_of_unknown_age_has_no_numbers() -> None:
    state = fleet("a")
    state.update([snapshot(numbers=replace(reading(), age_s=float("nan")))], NOW)
    assert np.isnan(state.soc_pct[0])
    assert state.reporting()[0]


def test_older_and_repeated_reports_of_a_process_are_ignored() -> None:
    state = fleet("a")
    new = snapshot(sequence=5, numbers=reading(soc_pct=60.0))
    old = snapshot(sequence=4, numbers=reading(soc_pct=40.0))
    assert state.update([new], NOW) == [new]
    assert state.update([old, new], NOW) == []
    assert state.soc_pct[0] == 60.0


def test_a_new_process_starts_a_new_sequence() -> None:
    state = fleet("a")
    state.update([snapshot(sequence=900, numbers=reading())], NOW)
    restarted = with_pid(snapshot(sequence=1, numbers=reading(soc_pct=33.0)), pid=12)
    assert state.update([restarted], NOW) == [restarted]
    assert state.soc_pct[0] == 33.0


def test_a_restart_in_a_container_may_keep_the_pid() -> None:
    state = fleet("a")
    last = snapshot(sequence=900, numbers=reading())
    state.update([last], NOW)
    later = last.reported_at + timedelta(seconds=5)
    restarted = replace(snapshot(sequence=1, numbers=reading(soc_pct=33.0)), reported_at=later)
    assert state.update([restarted], NOW) == [restarted]


def test_an_unknown_site_is_named_and_nothing_of_the_batch_is_taken() -> None:
    state = fleet("a")
    with pytest.raises(ConfigError, match="'ghost'"):
        state.update([snapshot("a", numbers=reading()), snapshot("ghost")], NOW)
    assert np.isnan(state.soc_pct[0])


def test_totals_leave_out_what_is_not_known() -> None:
    state = fleet("a", "b", "c")
    batch = [
        snapshot("a", numbers=reading(soc_pct=50.0, power_kw=10.0)),
        snapshot("b", numbers=reading(soc_pct=None, power_kw=-4.0)),
    ]
    state.update(batch, NOW)
    totals = aggregate(state)
    assert (totals.sites_total, totals.sites_reporting) == (3, 2)
    assert totals.sites_by_state == {"starting": 1, "running": 2}
    assert totals.active_power_kw == 6.0
    assert totals.energy_kwh == 50.0
    assert totals.soc_pct == 50.0
    assert totals.capacity_kwh == 200.0


def test_totals_of_a_fleet_that_knows_nothing_are_none() -> None:
    totals = aggregate(fleet("a"))
    assert totals.capacity_kwh is None
    assert totals.soc_pct is None
    assert totals.active_power_kw is None
    assert totals.flexibility is None


def test_flexibility_is_the_room_between_power_and_envelope() -> None:
    state = fleet("a")
    state.update([snapshot(numbers=reading(soc_pct=50.0, power_kw=10.0))], NOW)
    found = aggregate(state).flexibility
    assert found is not None
    assert found.up_kw == pytest.approx(30.0)  # 10 kW now, 40 kW allowed
    assert found.down_kw == pytest.approx(60.0)  # down to -50 kW
    assert found.energy_up_kwh == pytest.approx(40.0 * 0.9)  # 50 % to 10 % of 100 kWh
    assert found.energy_down_kwh == pytest.approx(40.0 / 0.9)


def test_a_direction_that_safety_closed_has_no_energy() -> None:
    state = fleet("a")
    closed = replace(snapshot(numbers=reading(power_kw=0.0)), envelope=Bounds(-50.0, 0.0))
    state.update([closed], NOW)
    found = aggregate(state).flexibility
    assert found is not None
    assert (found.up_kw, found.energy_up_kwh) == (0.0, 0.0)
    assert found.energy_down_kwh > 0


def test_a_hundred_thousand_sites_are_totalled_like_their_sum() -> None:
    state = FleetState([site_config()] * 100_000, NOW)
    rng = np.random.default_rng(1)
    state.soc_pct[:] = rng.uniform(10, 90, 100_000)
    state.capacity_kwh[:] = 100.0
    state.active_power_kw[:] = rng.uniform(-50, 50, 100_000)
    state.lower_kw[:], state.upper_kw[:] = -50.0, 50.0
    state.reported_at[:] = state.measured_at[:] = NOW
    state.soc_pct[7] = np.nan
    totals = aggregate(state)
    assert totals.sites_reporting == 100_000
    assert totals.active_power_kw == pytest.approx(math.fsum(state.active_power_kw))
    assert totals.energy_kwh == pytest.approx(math.fsum(state.soc_pct[np.arange(100_000) != 7]))
