"""The battery model: energy is conserved, cut-offs hold, any step length is stable."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.plant import BatteryParams, BatteryState, power_limits, step, temperature_factor

PARAMS = BatteryParams(capacity_kwh=10.0, max_charge_kw=5.0, max_discharge_kw=5.0)
LINEAR = dataclasses.replace(PARAMS, taper_band_pct=0.0)

socs = st.floats(0.0, 100.0)
powers = st.floats(-20.0, 20.0)
durations = st.floats(0.001, 7 * 86400.0)
params_strategy = st.builds(
    BatteryParams,
    capacity_kwh=st.floats(1.0, 100.0),
    max_charge_kw=st.floats(0.0, 20.0),
    max_discharge_kw=st.floats(0.0, 20.0),
    round_trip_efficiency_pct=st.floats(50.0, 100.0),
    soc_min_pct=st.floats(0.0, 20.0),
    soc_max_pct=st.floats(80.0, 100.0),
    standby_w=st.floats(0.0, 50.0),
    taper_band_pct=st.floats(0.0, 20.0),
    taper_floor=st.floats(0.05, 1.0),
)


@given(params_strategy, socs, powers, durations, powers)
def test_soc_stays_inside_and_power_never_exceeds_wish(
    params: BatteryParams, soc_pct: float, power_kw: float, dt_s: float, next_kw: float
) -> None:
    state = BatteryState.at(params, soc_pct)
    for wish_kw in (power_kw, next_kw):
        state, actual_kw = step(state, params, wish_kw, dt_s)
        assert 0.0 <= state.soc_pct(params) <= 100.0
        assert 0.0 <= state.energy_kwh <= params.capacity_kwh
        assert abs(actual_kw) <= abs(wish_kw) * (1 + 1e-9)
        assert actual_kw * wish_kw >= 0.0
        assert -params.max_charge_kw - 1e-9 <= actual_kw <= params.max_discharge_kw + 1e-9


@given(params_strategy, socs, powers, durations)
def test_power_never_carries_soc_past_a_cutoff(
    params: BatteryParams, soc_pct: float, power_kw: float, dt_s: float
) -> None:
    params = dataclasses.replace(params, standby_w=0.0)
    after, _ = step(BatteryState.at(params, soc_pct), params, power_kw, dt_s)
    assert after.soc_pct(params) >= min(soc_pct, params.soc_min_pct) - 1e-9
    assert after.soc_pct(params) <= max(soc_pct, params.soc_max_pct) + 1e-9


@given(params_strategy, socs, powers, durations)
def test_energy_is_conserved(
    params: BatteryParams, soc_pct: float, power_kw: float, dt_s: float
) -> None:
    params = dataclasses.replace(params, standby_w=0.0)
    state = BatteryState.at(params, soc_pct)
    after, actual_kw = step(state, params, power_kw, dt_s)
    eta = params.one_way_efficiency
    ac_kwh = actual_kw * dt_s / 3600.0
    cells_kwh = state.energy_kwh - after.energy_kwh
    expected = ac_kwh / eta if ac_kwh > 0 else ac_kwh * eta
    assert cells_kwh == pytest.approx(expected, abs=1e-9, rel=1e-9)


@given(st.floats(60.0, 100.0), st.floats(0.5, 5.0))
def test_round_trip_loses_exactly_the_stated_share(eta_pct: float, power_kw: float) -> None:
    params = dataclasses.replace(LINEAR, round_trip_efficiency_pct=eta_pct)
    start = BatteryState.at(params, 20.0)
    full, charge_kw = step(start, params, -power_kw, 1800.0)
    stored_kwh = full.energy_kwh - start.energy_kwh
    discharge_s = stored_kwh * params.one_way_efficiency / power_kw * 3600.0
    back, discharge_kw = step(full, params, power_kw, discharge_s)
    assert back.energy_kwh == pytest.approx(start.energy_kwh)
    out_kwh, in_kwh = discharge_kw * discharge_s, -charge_kw * 1800.0
    assert out_kwh / in_kwh == pytest.approx(eta_pct / 100.0, rel=1e-9)


@given(socs, powers, st.floats(60.0, 7200.0), st.integers(2, 20))
def test_one_long_step_equals_many_short_ones(
    soc_pct: float, power_kw: float, dt_s: float, parts: int
) -> None:
    params = dataclasses.replace(PARAMS, soc_min_pct=2.0, soc_max_pct=98.0)
    once, mean_kw = step(BatteryState.at(params, soc_pct), params, power_kw, dt_s)
    state, means = BatteryState.at(params, soc_pct), 0.0
    for _ in range(parts):
        state, part_kw = step(state, params, power_kw, dt_s / parts)
        means += part_kw / parts
    assert state.energy_kwh == pytest.approx(once.energy_kwh, abs=1e-9)
    assert means == pytest.approx(mean_kw, abs=1e-8)


@given(st.floats(-30.0, 70.0), st.floats(0.1, 1e9), powers)
def test_temperature_stays_between_start_and_settled(
    start_c: float, dt_s: float, power_kw: float
) -> None:
    after, _ = step(BatteryState(5.0, start_c), PARAMS, power_kw, dt_s)
    worst_loss_kw = PARAMS.max_discharge_kw * (1 / PARAMS.one_way_efficiency - 1)
    settled_c = PARAMS.ambient_c + PARAMS.thermal_resistance_c_per_kw * worst_loss_kw
    assert min(start_c, PARAMS.ambient_c) - 1e-9 <= after.temperature_c
    assert after.temperature_c <= max(start_c, settled_c) + 1e-9


def test_mean_power_shrinks_when_the_cutoff_is_reached_inside_the_step() -> None:
    params = dataclasses.replace(LINEAR, soc_min_pct=10.0, round_trip_efficiency_pct=100.0)
    after, actual_kw = step(BatteryState.at(params, 35.0), params, 5.0, 3600.0)
    assert after.soc_pct(params) == pytest.approx(10.0)
    assert actual_kw == pytest.approx(2.5)


def test_taper_follows_the_exact_solution() -> None:
    params = dataclasses.replace(PARAMS, round_trip_efficiency_pct=100.0, taper_band_pct=10.0)
    state = BatteryState.at(params, 95.0)
    assert power_limits(state, params).lower_kw == pytest.approx(-5.0 * 0.6)
    after, _ = step(state, params, -5.0, 360.0)
    # room' = -(1 + 4 * room) from 0.5 kWh over 0.1 h.
    left_kwh = (0.5 + 0.25) * math.exp(-0.4) - 0.25
    assert 10.0 - after.energy_kwh == pytest.approx(left_kwh)


def test_standby_drains_an_idle_battery_but_not_below_empty() -> None:
    params = dataclasses.replace(PARAMS, standby_w=100.0)
    after, actual_kw = step(BatteryState.at(params, 50.0), params, 0.0, 36000.0)
    assert actual_kw == 0.0
    assert after.energy_kwh == pytest.approx(4.0)
    empty, _ = step(after, params, 0.0, 1e7)
    assert empty.energy_kwh == 0.0


@pytest.mark.parametrize(
    ("temperature_c", "factor"),
    [(-10.0, 0.0), (-11.0, 0.0), (-7.5, 0.5), (20.0, 1.0), (52.5, 0.5), (55.0, 0.0), (80.0, 0.0)],
)
def test_derating(temperature_c: float, factor: float) -> None:
    assert temperature_factor(temperature_c, PARAMS) == pytest.approx(factor)
    limits = power_limits(BatteryState(5.0, temperature_c), PARAMS)
    assert (limits.lower_kw, limits.upper_kw) == pytest.approx((-5.0 * factor, 5.0 * factor))


@pytest.mark.parametrize(
    "change",
    [
        {"capacity_kwh": 0.0},
        {"round_trip_efficiency_pct": 101.0},
        {"soc_min_pct": 60.0, "soc_max_pct": 50.0},
        {"taper_floor": 0.0},
        {"thermal_time_constant_s": 0.0},
    ],
)
def test_impossible_parameters_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        dataclasses.replace(PARAMS, **change)


@pytest.mark.parametrize(("power_kw", "dt_s"), [(math.nan, 1.0), (1.0, -1.0), (math.inf, 1.0)])
def test_impossible_steps_are_refused(power_kw: float, dt_s: float) -> None:
    with pytest.raises(ValueError, match="cannot step"):
        step(BatteryState.at(PARAMS, 50.0), PARAMS, power_kw, dt_s)
