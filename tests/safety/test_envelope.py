from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bessai.errors import SafetyError
from bessai.model import Bounds, Narrowing, SiteLimits
from bessai.model.power import HOLD_BOUNDS
from bessai.safety import Envelope, envelope, validate_envelope
from bessai.units import MonotonicS
from tests.support.site_values import HEALTHY, LIMITS, OUTLOOK, telemetry_at

ETA = math.sqrt(0.9)
FAST = replace(OUTLOOK, speed=600.0, horizon_s=2.0)
"""2 s at speed 600 are a third of an hour."""


def check(
    changes: dict[str, object],
    *,
    limits: SiteLimits = LIMITS,
    outlook: object = OUTLOOK,
) -> Envelope:
    result = envelope(telemetry_at(100.0, **changes), limits, outlook)  # type: ignore[arg-type]
    validate_envelope(result, limits)
    return result


def test_a_healthy_site_may_use_its_nameplate() -> None:
    assert envelope(HEALTHY, LIMITS, OUTLOOK) == Envelope(Bounds(-5.0, 5.0), ())


def test_no_telemetry_is_stale() -> None:
    result = envelope(None, LIMITS, OUTLOOK)
    assert result.bounds == HOLD_BOUNDS
    assert result.codes == {"stale_data"}


@pytest.mark.parametrize(
    ("age_s", "stale"), [(0.0, False), (10.0, False), (10.1, True), (-0.4, False), (-2.0, True)]
)
def test_age_decides_whether_data_is_stale(age_s: float, stale: bool) -> None:
    result = envelope(telemetry_at(100.0 - age_s), LIMITS, OUTLOOK)
    assert ("stale_data" in result.codes) is stale
    assert (result.bounds == HOLD_BOUNDS) is stale


def test_stale_data_says_nothing_about_the_rest() -> None:
    result = envelope(telemetry_at(0.0, soc_pct=None, alarms=("x",)), LIMITS, OUTLOOK)
    assert result.codes == {"stale_data"}
    assert result.narrowings[0].text == "telemetry is 100.0 s old, 10 s are allowed"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"soc_pct": None}, "missing_soc"),
        ({"active_power_kw": None}, "missing_power"),
        ({"temperature_c": None}, "missing_temperature"),
        ({"battery_status": None}, "missing_battery_status"),
        ({"inverter_status": None}, "missing_inverter_status"),
        ({"soc_pct": math.nan}, "implausible"),
        ({"soc_pct": 100.1}, "implausible"),
        ({"soc_pct": -0.1}, "implausible"),
        ({"active_power_kw": math.inf}, "implausible"),
        ({"grid_power_kw": math.nan}, "implausible"),
        ({"temperature_c": 3276.7}, "implausible"),
        ({"charge_limit_kw": -1.0}, "implausible"),
        ({"capacity_kwh": -1.0}, "implausible"),
        ({"battery_status": "fault"}, "battery_status"),
        ({"battery_status": "offline"}, "battery_status"),
        ({"battery_status": "sleep"}, "battery_status"),
        ({"battery_status": "unknown(7)"}, "battery_status"),
        ({"inverter_status": "shutdown fault"}, "inverter_status"),
        ({"inverter_status": "off-grid running"}, "inverter_status"),
        ({"inverter_status": "unknown(9)"}, "inverter_status"),
        ({"temperature_c": 0.0}, "temperature_low"),
        ({"temperature_c": 50.0}, "temperature_high"),
        ({"alarms": ("2068 battery abnormal",)}, "alarm"),
        ({"alarms": ("a_new_alarm",)}, "alarm"),
    ],
)
def test_reasons_to_hold(changes: dict[str, object], code: str) -> None:
    result = check(changes)
    assert result.bounds == HOLD_BOUNDS
    assert result.holds[0].code == code


@pytest.mark.parametrize(
    "changes",
    [
        {"battery_status": "standby"},
        {"inverter_status": "on-grid"},
        {"inverter_status": "On-grid: power limited"},
        {"alarms": ("2066_license_expired",)},
    ],
)
def test_states_in_which_a_battery_works(changes: dict[str, object]) -> None:
    assert check(changes).bounds == Bounds(-5.0, 5.0)


def test_without_any_capacity_there_is_no_look_ahead() -> None:
    result = check({"capacity_kwh": None}, limits=replace(LIMITS, capacity_kwh=None))
    assert result.codes == {"missing_capacity"}


def test_the_smaller_capacity_counts() -> None:
    half = check({"soc_pct": 20.0, "capacity_kwh": 5.0}, outlook=FAST)
    assert half.bounds.upper_kw == pytest.approx(0.5 * ETA * 3)


@pytest.mark.parametrize(
    ("soc", "lower", "upper", "code"),
    [
        (9.0, -5.0, 0.0, "soc_low"),
        (10.0, -5.0, 0.0, "soc_low"),
        (10.3, -5.0, 0.0, "soc_low"),
        (10.6, -5.0, 5.0, None),
        (94.4, -5.0, 5.0, None),
        (94.8, 0.0, 5.0, "soc_high"),
        (95.0, 0.0, 5.0, "soc_high"),
        (99.0, 0.0, 5.0, "soc_high"),
    ],
)
def test_outside_the_band_only_recovery(
    soc: float, lower: float, upper: float, code: str | None
) -> None:
    result = check({"soc_pct": soc})
    assert result.bounds == Bounds(lower, upper)
    assert result.codes == ({code} if code else set())


def test_a_running_discharge_may_use_the_restart_margin() -> None:
    running = replace(OUTLOOK, last_power_kw=3.0)
    assert check({"soc_pct": 10.3}, outlook=running).bounds.upper_kw == 5.0


@pytest.mark.parametrize(
    ("soc", "lower", "upper"),
    [
        (20.0, -5.0, 1.0 * ETA * 3),
        (11.0, -5.0, 0.1 * ETA * 3),
        (90.0, -0.5 / ETA * 3, 5.0),
        (50.0, -5.0, 5.0),
    ],
)
def test_look_ahead_shares_the_energy_left_over_the_horizon(
    soc: float, lower: float, upper: float
) -> None:
    result = check({"soc_pct": soc}, outlook=FAST)
    assert result.bounds.lower_kw == pytest.approx(lower)
    assert result.bounds.upper_kw == pytest.approx(upper)


def test_look_ahead_counts_what_flowed_since_the_read() -> None:
    late = replace(FAST, now=MonotonicS(100.3), last_power_kw=1.0)
    result = check({"soc_pct": 20.0, "active_power_kw": 1.0, "grid_power_kw": 1.0}, outlook=late)
    left_kwh = 1.0 * ETA - 1.0 * (0.3 + 0.4) * 600 / 3600
    assert result.bounds.upper_kw == pytest.approx(left_kwh * 3)


@pytest.mark.parametrize(
    ("celsius", "share"), [(5.0, 1.0), (2.5, 0.5), (1.0, 0.2), (45.0, 1.0), (47.5, 0.5)]
)
def test_power_is_derated_near_temperature_limits(celsius: float, share: float) -> None:
    result = check({"temperature_c": celsius})
    assert result.bounds.lower_kw == pytest.approx(-5.0 * share)
    assert result.bounds.upper_kw == pytest.approx(5.0 * share)
    assert result.codes == ({"charge_derating", "discharge_derating"} if share < 1 else set())


LFP = replace(
    LIMITS,
    temperature_min_c=-20.0,
    charge_derating=((0.0, 0.0), (10.0, 0.5), (20.0, 1.0), (45.0, 1.0), (50.0, 0.0)),
    discharge_derating=((-20.0, 0.2), (0.0, 1.0)),
)
"""No charge below 0 °C, discharge down to -20 °C."""


@pytest.mark.parametrize(
    ("celsius", "charge", "discharge"),
    [
        (-10.0, 0.0, 0.6),
        (0.0, 0.0, 1.0),
        (5.0, 0.25, 1.0),
        (10.0, 0.5, 1.0),
        (15.0, 0.75, 1.0),
        (20.0, 1.0, 1.0),
        (47.5, 0.5, 1.0),
        (49.9, 0.02, 1.0),
    ],
)
def test_each_direction_has_its_own_derating_curve(
    celsius: float, charge: float, discharge: float
) -> None:
    result = check({"temperature_c": celsius}, limits=LFP)
    assert result.bounds.lower_kw == pytest.approx(-5.0 * charge)
    assert result.bounds.upper_kw == pytest.approx(5.0 * discharge)
    expected = {"charge_derating"} if charge < 1 else set()
    assert result.codes == expected | ({"discharge_derating"} if discharge < 1 else set())


def test_a_derating_names_direction_temperature_and_share() -> None:
    (cold,) = check({"temperature_c": 5.0}, limits=LFP).narrowings
    assert cold.text == "battery at 5 °C, charging derated to 25%"


@pytest.mark.parametrize(
    ("celsius", "code"), [(-20.0, "temperature_low"), (50.0, "temperature_high")]
)
def test_no_curve_allows_power_outside_the_hard_limits(celsius: float, code: str) -> None:
    always = ((0.0, 1.0), (10.0, 1.0))
    limits = replace(LFP, charge_derating=always, discharge_derating=always)
    result = check({"temperature_c": celsius}, limits=limits)
    assert result.bounds == HOLD_BOUNDS
    assert result.codes == {code}


def test_a_battery_whose_temperature_is_not_offered_is_not_derated() -> None:
    limits = replace(LFP, not_offered=frozenset({"temperature_c"}))
    assert check({"temperature_c": None}, limits=limits).narrowings == ()


RESERVE = replace(LIMITS, backup_reserve_pct=30.0)


@pytest.mark.parametrize(
    ("soc", "upper", "code"),
    [(5.0, 0.0, "backup_reserve"), (30.0, 0.0, "backup_reserve"), (30.6, 5.0, None)],
)
def test_the_backup_reserve_is_not_discharged_and_may_be_charged(
    soc: float, upper: float, code: str | None
) -> None:
    result = check({"soc_pct": soc}, limits=RESERVE)
    assert result.bounds == Bounds(-5.0, upper)
    assert result.codes == ({code} if code else set())
    assert all("backup reserve of 30 %" in reason.text for reason in result.narrowings)


def test_look_ahead_stops_at_the_backup_reserve() -> None:
    result = check({"soc_pct": 40.0}, limits=RESERVE, outlook=FAST)
    assert result.bounds.upper_kw == pytest.approx(1.0 * ETA * 3)
    assert result.narrowings[0].text == "SoC near the backup reserve of 30 %"


def test_a_reserve_below_the_band_changes_nothing() -> None:
    result = check({"soc_pct": 9.0}, limits=replace(LIMITS, backup_reserve_pct=10.0))
    assert result.codes == {"soc_low"}


def test_device_limits_bound_each_direction() -> None:
    result = check({"charge_limit_kw": 2.0, "discharge_limit_kw": 0.0})
    assert result.bounds == Bounds(-2.0, 0.0)
    assert result.codes == {"device_charge_limit", "device_discharge_limit"}


def test_a_missing_device_limit_closes_its_direction_only() -> None:
    result = check({"charge_limit_kw": None})
    assert result.bounds == Bounds(0.0, 5.0)
    assert result.codes == {"missing_charge_limit"}


@pytest.mark.parametrize(
    ("grid", "battery", "limits", "bounds"),
    [
        (3.0, 0.0, {"export_limit_kw": 4.0}, Bounds(-5.0, 1.0)),
        (5.0, 2.0, {"export_limit_kw": 4.0}, Bounds(-5.0, 1.0)),
        (-3.0, 0.0, {"import_limit_kw": 4.0}, Bounds(-1.0, 5.0)),
        (-3.0, 0.0, {"export_limit_kw": 1.0}, Bounds(-2.0, 4.0)),
        (6.0, 0.0, {"export_limit_kw": 4.0}, Bounds(-5.0, -2.0)),
        (12.0, 0.0, {"export_limit_kw": 4.0}, Bounds(-5.0, -5.0)),
        (-9.0, 0.0, {"import_limit_kw": 5.0}, Bounds(4.0, 5.0)),
    ],
)
def test_grid_limits_count_other_flows(
    grid: float, battery: float, limits: dict[str, float], bounds: Bounds
) -> None:
    site = replace(LIMITS, **limits)  # type: ignore[arg-type]
    result = check({"grid_power_kw": grid, "active_power_kw": battery}, limits=site)
    assert result.bounds.lower_kw == pytest.approx(bounds.lower_kw)
    assert result.bounds.upper_kw == pytest.approx(bounds.upper_kw)


def test_a_connection_without_limits_leaves_the_battery_alone_whatever_the_house_does() -> None:
    site = replace(LIMITS, export_limit_kw=math.inf, import_limit_kw=math.inf)
    result = check({"grid_power_kw": -12.0, "active_power_kw": 0.0}, limits=site)
    assert result.bounds == Bounds(-5.0, 5.0)
    assert result.narrowings == ()


def test_a_grid_limit_never_asks_for_more_than_the_battery_may() -> None:
    site = replace(LIMITS, export_limit_kw=4.0)
    result = check({"grid_power_kw": 8.0, "charge_limit_kw": 1.0}, limits=site)
    assert result.bounds == Bounds(-1.0, -1.0)


def test_a_held_battery_does_not_serve_a_grid_limit() -> None:
    site = replace(LIMITS, export_limit_kw=4.0)
    assert check({"grid_power_kw": 8.0, "soc_pct": None}, limits=site).bounds == HOLD_BOUNDS


def test_without_a_meter_a_tight_limit_bounds_the_battery_and_says_so() -> None:
    site = replace(LIMITS, export_limit_kw=2.0)
    result = check({"grid_power_kw": None}, limits=site)
    assert result.bounds == Bounds(-5.0, 2.0)
    assert [r.code for r in result.narrowings] == ["missing_meter"]
    assert result.narrowings[0].text == "export limit 2 kW, and the meter is not available"


def test_without_a_meter_wide_limits_do_not_matter() -> None:
    assert check({"grid_power_kw": None}).narrowings == ()


@pytest.mark.parametrize(
    ("last", "lower", "upper"),
    [(0.0, -1.0, 1.0), (2.0, -1.0, 3.0), (-2.0, -3.0, 1.0), (4.9, -1.0, 5.0)],
)
def test_growth_is_limited_and_shrinking_is_free(last: float, lower: float, upper: float) -> None:
    slow = replace(LIMITS, ramp_kw_per_s=0.5)
    outlook = replace(OUTLOOK, last_power_kw=last, since_last_s=2.0)
    result = check({}, limits=slow, outlook=outlook)
    assert result.bounds.lower_kw == pytest.approx(lower)
    assert result.bounds.upper_kw == pytest.approx(upper)


@pytest.mark.parametrize(
    "broken",
    [
        Envelope(Bounds(-6.0, 5.0), ()),
        Envelope(Bounds(-5.0, 5.0), envelope(None, LIMITS, OUTLOOK).narrowings),
        Envelope(Bounds(1.0, 5.0), ()),
        Envelope(Bounds(-5.0, 4.0), ()),
        Envelope(Bounds(-5.0, 4.0), (Narrowing("ramp", "", Bounds(-5.0, 3.0)),)),
        Envelope(Bounds(-5.0, 4.0), (Narrowing("implausible_over", "", Bounds(-5.0, 5.0)),)),
    ],
)
def test_broken_envelopes_are_refused(broken: Envelope) -> None:
    with pytest.raises(SafetyError):
        validate_envelope(broken, LIMITS)
