"""Values of one healthy 5 kW, 10 kWh site; a test changes only what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bessai.model import (
    Bounds,
    CauseId,
    Interval,
    Priority,
    Proposal,
    Schedule,
    ScheduleId,
    SiteId,
    SiteLimits,
    Telemetry,
)
from bessai.safety import Outlook
from bessai.units import MonotonicS

SITE = SiteId("alpha")
MARKET_0 = datetime(2024, 6, 3, 12, 0, tzinfo=UTC)

LIMITS = SiteLimits(
    capacity_kwh=10.0,
    max_charge_kw=5.0,
    max_discharge_kw=5.0,
    soc_min_pct=10.0,
    soc_max_pct=95.0,
    temperature_min_c=0.0,
    temperature_max_c=50.0,
    export_limit_kw=5.0,
    import_limit_kw=5.0,
    round_trip_efficiency_pct=90.0,
    ramp_kw_per_s=5.0,
    max_age_s=10.0,
)

HEALTHY = Telemetry(
    site_id=SITE,
    measured_at=MonotonicS(100.0),
    soc_pct=50.0,
    capacity_kwh=10.0,
    active_power_kw=0.0,
    grid_power_kw=0.0,
    temperature_c=25.0,
    charge_limit_kw=5.0,
    discharge_limit_kw=5.0,
    exported_wh=1000,
    imported_wh=2000,
    battery_status="running",
    inverter_status="on_grid",
    commanded_kw=None,
)

OUTLOOK = Outlook(
    now=MonotonicS(100.0), since_last_s=1.0, horizon_s=2.0, speed=1.0, last_power_kw=0.0
)


def telemetry_at(now: float, **changes: object) -> Telemetry:
    """A healthy read at ``now`` with some fields changed."""
    return replace(HEALTHY, measured_at=MonotonicS(now), **changes)  # type: ignore[arg-type]


def schedule(
    powers_kw: Sequence[float],
    start: datetime = MARKET_0,
    step: timedelta = timedelta(hours=1),
    site_id: SiteId = SITE,
) -> Schedule:
    """One interval per power."""
    intervals = tuple(
        Interval(start + i * step, start + (i + 1) * step, power, 50.0)
        for i, power in enumerate(powers_kw)
    )
    return Schedule(ScheduleId("plan-1"), site_id, start, intervals, "dispatch", 0.0, "USD")


def proposal(
    priority: Priority,
    preferred_kw: float,
    bounds: tuple[float, float] | None = None,
    expires_at: float = 200.0,
) -> Proposal:
    """A wish whose source and cause are named after its priority."""
    name = priority.name.lower()
    return Proposal(
        source=name,
        priority=priority,
        preferred_kw=preferred_kw,
        bounds=None if bounds is None else Bounds(*bounds),
        expires_at=MonotonicS(expires_at),
        cause_id=CauseId(f"{name}-1"),
    )
