"""Anything a device may say, and any site it may be said to."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from bessai.model import SiteLimits, Telemetry
from bessai.safety import Outlook
from bessai.units import MonotonicS
from tests.support.site_values import HEALTHY

anything = st.none() | st.floats() | st.floats(-20, 120)
kilowatts = st.floats(0.1, 100)


@st.composite
def telemetries(draw: st.DrawFn) -> Telemetry:
    return replace(
        HEALTHY,
        measured_at=MonotonicS(draw(st.floats(85, 105))),
        soc_pct=draw(anything),
        capacity_kwh=draw(anything),
        active_power_kw=draw(anything),
        grid_power_kw=draw(anything),
        temperature_c=draw(anything),
        charge_limit_kw=draw(anything),
        discharge_limit_kw=draw(anything),
        battery_status=draw(st.sampled_from(["running", "standby", "fault", None, "odd"])),
        alarms=draw(st.sampled_from([(), ("2068 battery abnormal",)])),
    )


@st.composite
def reads(draw: st.DrawFn) -> list[Telemetry]:
    """One to six reads of anything, about a second apart, now and then out of order."""
    *earlier, last = draw(st.lists(telemetries(), min_size=1, max_size=6))
    apart = st.sampled_from([1.0, 1.0, 1.0, 0.0, -3.0, 30.0]) | st.floats(-5, 400)
    now, found = 50.0, []
    for telemetry in earlier:
        found.append(replace(telemetry, measured_at=MonotonicS(now)))
        now += draw(apart)
    return [*found, last]


@st.composite
def curves(draw: st.DrawFn) -> tuple[tuple[float, float], ...]:
    celsius = draw(st.lists(st.integers(-30, 60), min_size=2, max_size=5, unique=True))
    return tuple((float(c), draw(st.floats(0, 1))) for c in sorted(celsius))


@st.composite
def site_limits(draw: st.DrawFn) -> SiteLimits:
    return SiteLimits(
        capacity_kwh=draw(st.none() | kilowatts),
        max_charge_kw=draw(kilowatts),
        max_discharge_kw=draw(kilowatts),
        soc_min_pct=draw(st.floats(0, 49)),
        soc_max_pct=draw(st.floats(50, 100)),
        temperature_min_c=draw(st.floats(-20, 10)),
        temperature_max_c=draw(st.floats(11, 60)),
        export_limit_kw=draw(st.floats(0, 100)),
        import_limit_kw=draw(st.floats(0, 100)),
        round_trip_efficiency_pct=draw(st.floats(10, 100)),
        ramp_kw_per_s=draw(st.floats(0.01, 100)),
        max_age_s=10.0,
        charge_derating=draw(st.none() | curves()),
        discharge_derating=draw(st.none() | curves()),
        backup_reserve_pct=draw(st.just(0.0) | st.floats(0, 49)),
    )


outlooks = st.builds(
    Outlook,
    now=st.just(MonotonicS(100.0)),
    since_last_s=st.floats(0, 10),
    horizon_s=st.floats(0.4, 20),
    speed=st.floats(1, 3600),
    last_power_kw=st.floats(-100, 100),
)
