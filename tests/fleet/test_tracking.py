from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from bessai.fleet.history import DAY, History
from bessai.fleet.state import FleetState
from bessai.fleet.tracking import ExpectedSoc
from bessai.model import (
    DispatchRequest,
    Interval,
    QuantileForecast,
    Schedule,
    ScheduleId,
    SiteId,
)
from bessai.units import MonotonicS
from tests.support.fleet_fakes import HOUR, T0
from tests.support.fleet_values import fleet_config, reading, snapshot

NOW = T0 + timedelta(minutes=30)


def request() -> DispatchRequest:
    flat, column = np.full(4, 50.0), np.array([50.0])
    forecast = QuantileForecast(NOW, NOW, T0, HOUR, flat, flat, flat, "USD/MWh", "flat")
    names = (SiteId("b"),)
    return DispatchRequest(NOW, forecast, "USD", names, *[column] * 8)


def schedule(*steps: tuple[datetime, datetime, float]) -> Schedule:
    intervals = tuple(Interval(start, end, 0.0, soc) for start, end, soc in steps)
    return Schedule(ScheduleId("s"), SiteId("b"), NOW, intervals, "dispatch", 0.0, "USD")


def expected(plan: Schedule, *minutes: float) -> list[float]:
    state = FleetState(fleet_config("a", "b").sites, MonotonicS(0.0))
    tracking = ExpectedSoc(2)
    tracking.take(state, request(), {SiteId("b"): plan})
    found = []
    for minute in minutes:
        at_s = T0.timestamp() + 60 * minute
        values = tracking.at(np.array([at_s, at_s]))
        assert np.isnan(values[0])  # site a was not planned
        found.append(float(values[1]))
    return found


def test_expected_soc_runs_straight_between_the_ends_of_the_intervals() -> None:
    plan = schedule((T0, T0 + HOUR, 60.0), (T0 + HOUR, T0 + 2 * HOUR, 40.0))
    assert expected(plan, 30, 45, 60, 90, 120) == pytest.approx([50, 55, 60, 50, 40])


def test_outside_the_horizon_nothing_is_expected() -> None:
    plan = schedule((T0, T0 + HOUR, 60.0))
    assert all(np.isnan(expected(plan, 29, 241, np.nan)))


def test_a_gap_in_the_plan_keeps_the_charge() -> None:
    plan = schedule((T0 + 2 * HOUR, T0 + 3 * HOUR, 70.0))
    assert expected(plan, 60, 120, 150, 180, 240) == pytest.approx([50, 50, 60, 70, 70])


def test_before_the_first_plan_nothing_is_expected() -> None:
    assert np.isnan(ExpectedSoc(1).at(np.array([T0.timestamp()]))).all()


def test_history_is_bounded_for_any_fleet() -> None:
    assert DAY / History(6).spacing == 1440
    assert DAY / History(100_000).spacing == 96


def test_history_starts_anew_when_market_time_goes_back() -> None:
    history = History(1)
    history.add(0, snapshot(market_at=T0 + HOUR, numbers=reading(soc_pct=60.0)))
    history.add(0, snapshot(market_at=T0, numbers=reading(soc_pct=40.0)))
    assert [p.soc_pct for p in history.points(0)] == [40.0]
