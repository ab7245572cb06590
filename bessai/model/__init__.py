"""Domain values: frozen, slotted, in SI-derived units, positive power = discharge/export."""

from bessai.model.clock import MarketClock
from bessai.model.dispatch import DispatchPlan, DispatchRequest
from bessai.model.forecast import QuantileForecast
from bessai.model.ids import DISPATCH_SOURCE, CauseId, ScheduleId, SiteId
from bessai.model.ownership import Grant, Owner, Tenure
from bessai.model.power import Bounds, Narrowing, Priority, Proposal, Setpoint
from bessai.model.prices import PastPrices
from bessai.model.schedule import Interval, Schedule
from bessai.model.site import (
    AutonomyLevel,
    Counters,
    DurationHistogram,
    FleetReply,
    SiteReading,
    SiteSnapshot,
    SiteState,
)
from bessai.model.stop import Freeze, StopOrder, Stops
from bessai.model.telemetry import DeviceIdentity, SiteLimits, Telemetry

__all__ = [
    "DISPATCH_SOURCE",
    "AutonomyLevel",
    "Bounds",
    "CauseId",
    "Counters",
    "DeviceIdentity",
    "DispatchPlan",
    "DispatchRequest",
    "DurationHistogram",
    "FleetReply",
    "Freeze",
    "Grant",
    "Interval",
    "MarketClock",
    "Narrowing",
    "Owner",
    "PastPrices",
    "Priority",
    "Proposal",
    "QuantileForecast",
    "Schedule",
    "ScheduleId",
    "Setpoint",
    "SiteId",
    "SiteLimits",
    "SiteReading",
    "SiteSnapshot",
    "SiteState",
    "StopOrder",
    "Stops",
    "Telemetry",
    "Tenure",
]
