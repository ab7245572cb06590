"""What a site tells the fleet, and what the fleet answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bessai.model.ids import SiteId
from bessai.model.ownership import Tenure
from bessai.model.power import Bounds, Narrowing, Proposal, Setpoint
from bessai.model.schedule import Schedule
from bessai.model.stop import NO_STOPS, StopOrder, Stops


class SiteState(StrEnum):
    """Where the site's loop stands.

    ``silent`` is the fleet's word for a site that stopped reporting; a site never says it.
    """

    STARTING = "starting"
    RUNNING = "running"
    HOLDING = "holding"
    FAULT = "fault"
    UNREACHABLE = "unreachable"
    STOPPED = "stopped"
    SILENT = "silent"


class AutonomyLevel(StrEnum):
    """Whose plan the site follows, best first.

    ``safe_stop`` is a rest that only a person ends.
    """

    FLEET = "fleet"
    CACHED_SCHEDULE = "cached_schedule"
    LOCAL_POLICY = "local_policy"
    HOLD = "hold"
    SAFE_STOP = "safe_stop"


@dataclass(frozen=True, slots=True)
class SiteReading:
    """The numbers of a fresh telemetry; absent as a whole when there is none.

    ``age_s`` is the age at the time of the snapshot.
    """

    age_s: float
    soc_pct: float | None
    capacity_kwh: float | None
    active_power_kw: float | None
    grid_power_kw: float | None
    temperature_c: float | None
    exported_wh: int | None
    imported_wh: int | None
    battery_status: str | None
    alarms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DurationHistogram:
    """Cumulative counts per upper bound, as Prometheus wants them.

    Attributes:
        upper_s: Bucket upper bounds in seconds, ascending, without +Inf.
        counts: Observations <= each bound; same length as ``upper_s``.
    """

    upper_s: tuple[float, ...]
    counts: tuple[int, ...]
    total: int
    sum_s: float


@dataclass(frozen=True, slots=True)
class Counters:
    """Monotonic counts since the site's process started."""

    cycles: int
    overruns: int
    read_failures: int
    reconnects: int
    writes: dict[str, int]
    write_failures: int
    verify_failures: int
    stored_writes: int
    safety_blocks: dict[str, int]
    cycle_duration: DurationHistogram


@dataclass(frozen=True, slots=True)
class SiteSnapshot:
    """One report of a site to the fleet.

    Attributes:
        sequence: Grows by one per report; restarts with the process.
        reported_at: Aware UTC wall time of the report.
        market_at: Aware UTC market time of the reading.
        reading: Fresh numbers, or None: then no number may be shown.
        setpoint: What was decided in the last cycle, or None before the first.
        envelope: What safety allowed in the last cycle.
        narrowings: Why it allowed no more.
        error: One line about what is wrong now, or None.
        schedule_age_s: Market age of the cached schedule in seconds, or None without one.
        pid: Process that owns the connection.
        epoch: Its epoch, or 0 before it was granted one.
        tenure: Whether it may write.
        tenure_reason: Why it only reads, or None.
        autonomy_cause: Why the autonomy level is what it is.
        autonomy_since: Aware UTC wall time of the last change of level, or None before the first.
        stops: The operator's and the site's own stops.
        intrusion_score: Anomaly score of the last cycle, or None without a model.
        intrusion: What the intrusion detection says now; empty where nothing is odd.
        intrusion_degraded: Why it works with less than its model, or None.
    """

    site_id: SiteId
    sequence: int
    reported_at: datetime
    market_at: datetime
    state: SiteState
    autonomy: AutonomyLevel
    reading: SiteReading | None
    setpoint: Setpoint | None
    envelope: Bounds | None
    narrowings: tuple[Narrowing, ...]
    error: str | None
    schedule_age_s: float | None
    counters: Counters
    pid: int
    epoch: int = 0
    tenure: Tenure = Tenure.OWNER
    tenure_reason: str | None = None
    autonomy_cause: str = ""
    autonomy_since: datetime | None = None
    stops: Stops = NO_STOPS
    intrusion_score: float | None = None
    intrusion: tuple[str, ...] = ()
    intrusion_degraded: str | None = None


@dataclass(frozen=True, slots=True)
class FleetReply:
    """What the fleet answers to a report.

    Attributes:
        schedule: The plan to follow, or None when there is none yet.
        lease_s: Real seconds (at most 60) for which the plan counts as a live proposal.
        proposals: Other live wishes; ``expires_at`` is seconds from receipt, which the
            receiving site turns into its own control time.
        epoch: Epoch of the fleet actor; a site refuses the answer of an older one.
        stop: The operator's newest order for this site, or None where there never was one.
    """

    schedule: Schedule | None
    lease_s: float
    proposals: tuple[Proposal, ...] = ()
    epoch: int = 0
    stop: StopOrder | None = None
