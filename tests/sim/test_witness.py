"""Energy beyond the witness's limits, against closed forms and against very small steps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessai.config import load_profile
from bessai.plant import BatteryParams, BatteryState, step
from bessai.sim.faults import Faults, parse_faults
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.spec import InverterSpec
from bessai.sim.witness import Excess, Stretch, beyond_kwh
from bessai.units import MonotonicS
from tests.support.simulated import SPEC, HandClock

HUAWEI = load_profile("huawei_sun2000")
ETA = 0.9**0.5
HOUR_A_SECOND = 3600.0


def watched(
    clock: HandClock, *, speed: float = HOUR_A_SECOND, witness: dict[str, float], **site: float
) -> SimulatedInverter:
    fields = {**SPEC.model_dump(), "witness": witness, "minute_s": 1e6, **site}
    return SimulatedInverter(InverterSpec.model_validate(fields), HUAWEI, speed, now=clock)


def force(device: SimulatedInverter, power_kw: float) -> None:
    command, register = (2, 47249) if power_kw >= 0 else (1, 47247)
    watts = round(abs(power_kw) * 1000)
    for address, words in (
        (register, (0, watts)),
        (47083, (2,)),
        (47246, (0,)),
        (47100, (command,)),
    ):
        assert device.write(address, words) is None


def found(device: SimulatedInverter, limit: str) -> Excess:
    device.advance()
    return next(excess for excess in device.witness.excesses() if excess.limit == limit)


PAUSES = st.lists(st.floats(0.001, 0.4), min_size=1, max_size=8)


@settings(max_examples=40)
@given(watts=st.integers(1, 5000), limit_kw=st.floats(0.0, 5.0), pauses_s=PAUSES)
def test_constant_power_beyond_a_limit(watts: int, limit_kw: float, pauses_s: list[float]) -> None:
    """``(P - L) t``, however often one looks; the battery stays above its taper."""
    clock = HandClock()
    device = watched(clock, speed=600.0, witness={"max_discharge_kw": limit_kw})
    force(device, watts / 1000)
    began_s = clock.at_s
    for pause_s in pauses_s:
        clock.at_s += pause_s
        device.advance()
    beyond_kw = max(watts / 1000 - limit_kw, 0.0)
    excess = found(device, "max_discharge_kw")
    hours = (clock.at_s - began_s) * 600.0 / 3600.0
    assert excess.forced_kwh == pytest.approx(beyond_kw * hours, rel=1e-9, abs=1e-11)
    assert excess.own_mode_kwh == 0.0
    assert excess.worst == pytest.approx(beyond_kw, abs=1e-9)
    assert excess.times == (beyond_kw > 0)


@settings(max_examples=40)
@given(level_pct=st.floats(31.0, 49.0), pauses_s=PAUSES)
def test_discharge_below_a_state_of_charge(level_pct: float, pauses_s: list[float]) -> None:
    """What left the battery below the level, less the losses; charging back is no violation."""
    clock = HandClock()
    device = watched(clock, speed=600.0, witness={"soc_min_pct": level_pct})
    force(device, 5.0)
    for pause_s in pauses_s:
        clock.at_s += pause_s
        device.advance()
    below_kwh = max(level_pct / 100 * 10.0 - device.state.energy_kwh, 0.0)
    excess = found(device, "soc_min_pct")
    assert excess.forced_kwh == pytest.approx(below_kwh * ETA, abs=1e-11)
    assert excess.worst == pytest.approx(10.0 * below_kwh, abs=1e-9)
    force(device, -5.0)
    clock.at_s += 0.1
    assert found(device, "soc_min_pct").forced_kwh == excess.forced_kwh


def test_charging_above_a_state_of_charge() -> None:
    clock = HandClock()
    device = watched(clock, witness={"soc_max_pct": 60.0}, soc_pct=55.0)
    force(device, -1.0)
    clock.at_s += 2.0
    # 0.5 kWh lead up to the level; what comes above it has passed the losses once.
    assert found(device, "soc_max_pct").forced_kwh == pytest.approx(2.0 - 0.5 / ETA)
    assert found(device, "soc_max_pct").worst == pytest.approx(10 * (2.0 * ETA - 0.5))


@settings(max_examples=40)
@given(limit_kw=st.floats(1.2, 4.8), looks=st.integers(1, 7))
def test_a_limit_crossed_inside_the_taper(limit_kw: float, looks: int) -> None:
    """Charging at 5 kW into a battery that takes less and less from 95 % on.

    With room ``r`` the power is ``(a + b r) / eta`` and ``r' = -(a + b r)``, a closed form.
    """
    clock = HandClock()
    device = watched(clock, witness={"max_charge_kw": limit_kw}, soc_pct=90.0)
    force(device, -5.0)
    for _ in range(looks):
        clock.at_s += 3.0 / looks
        device.advance()
    a, b = ETA * 5.0 * 0.2, ETA * 5.0 * 0.8 / 0.5
    room_kwh = (limit_kw * ETA - a) / b
    at_full_h = 0.5 / (ETA * 5.0)
    taper_h = math.log((0.5 + a / b) / (room_kwh + a / b)) / b
    wanted_kwh = (1.0 - room_kwh) / ETA - limit_kw * (at_full_h + taper_h)
    excess = found(device, "max_charge_kw")
    assert excess.forced_kwh == pytest.approx(wanted_kwh, abs=1e-9)
    assert excess.times == 1
    assert excess.worst == pytest.approx(5.0 - limit_kw)


@pytest.mark.parametrize("looks", [1, 3, 50])
def test_a_cut_off_inside_a_step(looks: int) -> None:
    """At 5 % the discharge stops at once: 5 kW until then, nothing after."""
    clock = HandClock()
    device = watched(clock, witness={"max_discharge_kw": 3.0}, soc_pct=10.0)
    force(device, 5.0)
    for _ in range(looks):
        clock.at_s += 2.0 / looks
        device.advance()
    until_h = 0.5 * ETA / 5.0
    assert found(device, "max_discharge_kw").forced_kwh == pytest.approx(2.0 * until_h, abs=1e-9)


def test_the_limits_of_the_meter_count_sun_and_load() -> None:
    clock = HandClock()
    device = watched(
        clock, witness={"export_limit_kw": 4.0, "import_limit_kw": 1.0}, pv_kw=3.0, load_kw=1.0
    )
    force(device, 3.5)
    clock.at_s += 0.5
    assert found(device, "export_limit_kw").forced_kwh == pytest.approx(1.5 * 0.5)
    force(device, -5.0)
    clock.at_s += 0.5
    assert found(device, "import_limit_kw").forced_kwh == pytest.approx(2.0 * 0.5)
    assert found(device, "export_limit_kw").forced_kwh == pytest.approx(1.5 * 0.5)


def test_sun_alone_may_be_too_much_for_the_meter() -> None:
    """The device stores 3 kW of sun until it is full; then 1 kW more goes out than may."""
    clock = HandClock()
    device = watched(clock, witness={"export_limit_kw": 2.0}, soc_pct=90.0, pv_kw=3.0)
    clock.at_s += 4.0
    device.advance()
    excess = found(device, "export_limit_kw")
    fine = BatteryState.at(device.params, 90.0)
    wanted_kwh, fine_h = 0.0, 4.0 / 40_000
    for _ in range(40_000):
        fine, mean_kw = step(fine, device.params, -3.0, fine_h * 3600)
        wanted_kwh += max(3.0 + mean_kw - 2.0, 0.0) * fine_h
    assert excess.own_mode_kwh == pytest.approx(wanted_kwh, abs=1e-4)
    assert wanted_kwh > 0.5
    assert excess.forced_kwh == 0.0


@settings(max_examples=60, deadline=None)
@given(
    soc_pct=st.floats(0.0, 100.0),
    wish_kw=st.floats(-6.0, 6.0),
    level_kw=st.floats(-4.0, 5.0),
    sign=st.sampled_from([-1, 1]),
    hours=st.floats(0.01, 6.0),
)
def test_any_stretch_against_very_small_steps(
    soc_pct: float, wish_kw: float, level_kw: float, sign: int, hours: float
) -> None:
    params = BatteryParams(10.0, 5.0, 5.0, soc_min_pct=5.0, temperature_max_c=200.0)
    begin = BatteryState.at(params, soc_pct)
    end, mean_kw = step(begin, params, wish_kw, hours * 3600)
    at = MonotonicS(0.0)
    stretch = Stretch(params, begin, end, (wish_kw, wish_kw), mean_kw, hours * 3600, at)
    count = 2000
    state, wanted_kwh = begin, 0.0
    for _ in range(count):
        state, kw = step(state, params, wish_kw, hours * 3600 / count)
        wanted_kwh += max(sign * kw - level_kw, 0.0) * hours / count
    # A step in which the sign changes is wrong by no more than its own energy.
    assert beyond_kwh(stretch, sign, level_kw) == pytest.approx(wanted_kwh, abs=10 * hours / count)


@pytest.mark.parametrize("looks", [1, 4, 37])
def test_a_ramp_is_cut_where_it_crosses_a_limit(looks: int) -> None:
    """1 kW/s up to 4 kW: beyond 3 kW a triangle of a second, then a second at 1 kW."""
    clock = HandClock()
    device = watched(clock, speed=360.0, witness={"max_discharge_kw": 3.0}, ramp_kw_per_s=1.0)
    force(device, 4.0)
    for _ in range(looks):
        clock.at_s += 5.0 / looks
        device.advance()
    excess = found(device, "max_discharge_kw")
    assert excess.forced_kwh == pytest.approx((0.5 + 1.0) * 360.0 / 3600.0)
    assert excess.worst == pytest.approx(1.0)


def test_a_ramp_through_zero_costs_losses_both_ways() -> None:
    clock = HandClock()
    device = watched(clock, speed=360.0, witness={}, ramp_kw_per_s=5.0)
    force(device, -5.0)
    clock.at_s += 1.0
    device.advance()
    before_kwh = device.state.energy_kwh
    force(device, 5.0)
    clock.at_s += 2.0
    device.advance()
    moved_kwh = 2.5 * 360.0 / 3600.0
    assert device.state.energy_kwh - before_kwh == pytest.approx(moved_kwh * (ETA - 1 / ETA))


def test_energy_in_the_devices_own_mode_counts_apart() -> None:
    """After the dead-man the device discharges into the load by itself, at its own moment."""
    clock = HandClock()
    device = watched(
        clock, speed=360.0, witness={"max_discharge_kw": 1.0}, load_kw=2.0, minute_s=1.0
    )
    force(device, 5.0)
    clock.at_s += 5.0
    excess = found(device, "max_discharge_kw")
    assert excess.forced_kwh == pytest.approx(4.0 * 2.0 / 10)
    assert excess.own_mode_kwh == pytest.approx(1.0 * 3.0 / 10)


def test_a_battery_that_does_not_follow_is_in_its_own_mode() -> None:
    clock = HandClock()
    device = watched(clock, witness={"max_discharge_kw": 1.0}, load_kw=2.0)
    device.set_faults(Faults(parse_faults("no_effect")))
    force(device, 5.0)
    clock.at_s += 0.5
    excess = found(device, "max_discharge_kw")
    assert excess.forced_kwh == 0.0
    assert excess.own_mode_kwh == pytest.approx(0.5)


def test_each_time_outside_counts_and_the_worst_is_dated() -> None:
    clock = HandClock()
    device = watched(clock, witness={"max_discharge_kw": 1.0})
    for number, power_kw in enumerate((1.5, 0.0, 4.0, 3.0, 1.0), start=1):
        force(device, power_kw)
        clock.at_s = 1000.0 + number / 10
        device.advance()
    excess = found(device, "max_discharge_kw")
    assert excess.times == 2
    assert excess.worst == 3.0
    assert excess.worst_at_s == 1000.3


@pytest.mark.parametrize(
    ("powers_kw", "worst_kw", "times"),
    [
        ((1.0, 2.0, 3.0, 4.0), 0.0, 0),
        ((-1.0, -2.0, -3.0), 0.0, 0),
        ((2.0, 0.0, 2.5), 0.5, 1),
        ((4.0,), 2.0, 1),
        ((1.0, 2.0, 3.0, -3.0), 1.0, 1),
        ((2.0, 0.0), 0.0, 0),
    ],
)
def test_power_may_grow_at_a_rate_and_fall_at_once(
    powers_kw: tuple[float, ...], worst_kw: float, times: int
) -> None:
    """A command a second, 1 kW/s allowed; two seconds' growth may come at once."""
    clock = HandClock()
    device = watched(clock, speed=1.0, witness={"max_ramp_kw_per_s": 1.0})
    for power_kw in powers_kw:
        force(device, power_kw)
        clock.at_s += 1.0
        device.advance()
    excess = found(device, "max_ramp_kw_per_s")
    assert excess.times == times
    assert excess.worst == pytest.approx(worst_kw)


def test_without_limits_nothing_is_counted() -> None:
    clock = HandClock()
    device = SimulatedInverter(SPEC, HUAWEI, HOUR_A_SECOND, now=clock)
    force(device, 5.0)
    clock.at_s += 1.0
    device.advance()
    assert device.witness.excesses() == ()
