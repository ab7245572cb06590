"""What the HTTP API says about a fleet: the wire models shared by the API, the page and the CLI.

A number that is not known now is null, never a stale value and never 0.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bessai.model import AutonomyLevel, SiteState, Tenure

BY_MAX: Final = 60
REASON_MAX: Final = 200


class View(BaseModel):
    """Base of all wire models."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClockView(View):
    """Market time now; ``simulated`` is true for a replay."""

    market_now: datetime
    speed: float
    simulated: bool


class BoundsView(View):
    """Allowed power, + discharge/export."""

    lower_kw: float
    upper_kw: float


class NarrowingView(View):
    """One reason why safety allows no more."""

    code: str
    text: str
    lower_kw: float
    upper_kw: float


class EarningsView(View):
    """Settled energy and money since the fleet began; ``unpriced_kwh`` met a price gap."""

    currency: str
    amount: float
    exported_kwh: float
    imported_kwh: float
    unpriced_kwh: float


class CountersView(View):
    """Counts since the site's process started."""

    cycles: int
    overruns: int
    read_failures: int
    reconnects: int
    writes: dict[str, int]
    write_failures: int
    verify_failures: int
    stored_writes: int
    safety_blocks: dict[str, int]


def _one_line(text: str) -> str:
    """The text with single blanks.

    Raises:
        ValueError: it is empty, longer than a line, or holds control characters.
    """
    if len(text.strip().splitlines()) > 1:
        raise ValueError("must be one line")
    line = " ".join(text.split())
    if not line:
        raise ValueError("must not be empty")
    if not line.isprintable():
        raise ValueError("holds characters that cannot be printed")
    return line


class StopRequest(View):
    """Body of a stop or a release: who orders it, and why."""

    by: Annotated[str, Field(min_length=1, max_length=BY_MAX), AfterValidator(_one_line)]
    reason: Annotated[str, Field(min_length=1, max_length=REASON_MAX), AfterValidator(_one_line)]


class StopOrderView(View):
    """A stored order; the site hears of it with its next report."""

    site_id: str
    revision: int
    stopped: bool
    by: str
    reason: str
    at: datetime


class StopOrdersView(View):
    """One order per site, in the order of the fleet file."""

    orders: list[StopOrderView]


class StopView(View):
    """The newest word about a site's stop.

    ``active`` is false after a release. ``freeze`` is a stop that the site ordered by itself.
    ``revision`` is that of the operator's newest order, 0 where there never was one.
    ``obeyed`` is true while a live report of the site shows just this: for a stop, that it
    commands its device to rest. Whether the battery follows is in ``active_power_kw``.
    """

    active: bool
    kind: Literal["operator", "freeze"]
    by: str
    reason: str
    at: datetime
    revision: int
    obeyed: bool


class SiteView(View):
    """One site now.

    ``autonomy_since`` and ``stop.at`` are wall time. ``schedule_age_s`` is in market seconds.
    ``tenure`` says whether the site's process may write to the device: only an ``owner`` may.
    """

    site_id: str
    profile: str
    address: str
    state: SiteState
    autonomy: AutonomyLevel | None
    autonomy_cause: str | None
    autonomy_since: datetime | None
    stop: StopView | None
    epoch: int | None
    tenure: Tenure | None
    tenure_reason: str | None
    intrusion_score: float | None
    intrusion: list[str]
    error: str | None
    soc_pct: float | None
    capacity_kwh: float | None
    active_power_kw: float | None
    grid_power_kw: float | None
    temperature_c: float | None
    battery_status: str | None
    alarms: list[str]
    setpoint_kw: float | None
    setpoint_source: str | None
    setpoint_reason: str | None
    cause_id: str | None
    bounds: BoundsView | None
    narrowings: list[NarrowingView]
    reading_age_s: float | None
    reported_age_s: float | None
    schedule_age_s: float | None
    earnings: EarningsView
    counters: CountersView | None
    pid: int | None


class FlexibilityView(View):
    """What the reporting sites could do now, as positive numbers."""

    up_kw: float
    down_kw: float
    energy_up_kwh: float
    energy_down_kwh: float


class FleetView(View):
    """Totals over the sites that report now; sums leave out what is not known.

    ``plan_version`` grows whenever schedules or the forecast change.
    """

    fleet_id: str
    as_of: datetime
    clock: ClockView
    sites_total: int
    sites_reporting: int
    sites_by_state: dict[str, int]
    capacity_kwh: float | None
    energy_kwh: float | None
    soc_pct: float | None
    active_power_kw: float | None
    grid_power_kw: float | None
    flexibility: FlexibilityView | None
    price_now: float | None
    price_unit: str
    earnings: EarningsView
    plan_version: int
    plan_error: str | None


class SitesView(View):
    """All sites."""

    as_of: datetime
    clock: ClockView
    sites: list[SiteView]


class LiveView(View):
    """Payload of the ``snapshot`` server-sent event, about once a second."""

    fleet: FleetView
    sites: list[SiteView]


class IntervalView(View):
    """One step of a schedule, [start, end)."""

    start: datetime
    end: datetime
    power_kw: float
    soc_end_pct: float


class ScheduleView(View):
    """The plan of one site."""

    site_id: str
    schedule_id: str
    issued_at: datetime
    source: str
    expected_revenue: float
    currency: str
    intervals: list[IntervalView]


class SchedulesView(View):
    """The plans of all sites that have one."""

    plan_version: int
    schedules: list[ScheduleView]


class PricePointView(View):
    """A settled price; null where the market published none."""

    start: datetime
    price: float | None


class PriceStepView(View):
    """One step of the forecast."""

    start: datetime
    p10: float
    p50: float
    p90: float


class ForecastView(View):
    """A forecast with its origin."""

    issued_at: datetime
    available_at: datetime
    source: str
    degraded: str | None
    steps: list[PriceStepView]


class PriceView(View):
    """Past 24 h of settled prices and the forecast of the next 24 h."""

    market: str
    node: str
    unit: str
    currency: str
    step_s: float
    market_now: datetime
    history: list[PricePointView]
    forecast: ForecastView | None


class HistoryPointView(View):
    """One sample of what a site really did."""

    market_at: datetime
    soc_pct: float | None
    active_power_kw: float | None
    setpoint_kw: float | None


class HistoryView(View):
    """Samples of one site over the last market day."""

    site_id: str
    points: list[HistoryPointView]


class StatusView(View):
    """Fleet, versions and addresses on one page.

    ``fallbacks`` names every part that answers with less than its best link.
    """

    fleet_id: str
    version: str
    started_at: datetime
    clock: ClockView
    market: str
    node: str
    currency: str
    sites_total: int
    sites_by_state: dict[str, int]
    price_source: str | None
    dispatch_source: str | None
    fallbacks: list[str]
    dashboard_url: str | None


class HealthCheckView(View):
    """One part of the health answer."""

    name: str
    ok: bool
    detail: str


class HealthView(View):
    """``ok``, ``degraded`` or ``down``; HTTP 503 only for ``down``."""

    status: str
    checks: list[HealthCheckView]


class VersionView(View):
    """Versions of what runs."""

    bessai: str
    ray: str
    python: str


class ProblemView(View):
    """An error answer: one line, with the fix where there is one."""

    error: str
    field: str | None = None
    fix: str | None = None
