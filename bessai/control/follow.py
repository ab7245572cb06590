"""Whose plan counts now: the fleet's while its lease lives, the cached one, or the site's own.

A schedule is never extrapolated: outside its intervals there is no plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from bessai.control.clocks import NEVER
from bessai.errors import ProtocolError
from bessai.model import (
    AutonomyLevel,
    CauseId,
    FleetReply,
    Interval,
    Priority,
    Proposal,
    Schedule,
    SiteId,
    StopOrder,
)
from bessai.units import MonotonicS

MAX_LEASE_S: Final = 60.0
"""No proposal lives longer without being renewed."""

LOCAL_SOURCE: Final = "local"
LOCAL_LIFE_S: Final = 1.0
"""The local policy is asked anew in each cycle."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the fleet last said, in the site's own control time.

    Attributes:
        schedule: The newest plan; it outlives its lease as the cached one.
        leased_until: Control time until which the fleet stands behind ``schedule``.
        heard_until: Control time until which the last reply counts, with or without a plan.
        proposals: Other live wishes.
        epoch: Highest epoch of a fleet actor heard so far.
        stop: The operator's newest order that was heard, or None.
    """

    schedule: Schedule | None = None
    leased_until: MonotonicS = NEVER
    heard_until: MonotonicS = NEVER
    proposals: tuple[Proposal, ...] = ()
    epoch: int = 0
    stop: StopOrder | None = None


def receive(before: Orders, reply: FleetReply, site_id: SiteId, now: MonotonicS) -> Orders:
    """Turn a reply, whose times are seconds from receipt, into orders in control time.

    A lease or an expiry over 60 s is cut to 60 s; one that is not a number has ended already.
    A reply without a plan, e.g. of a fleet that just restarted, keeps the cached plan.

    Raises:
        ProtocolError: the schedule belongs to another site, or an older fleet actor answered.
    """
    if reply.epoch < before.epoch:
        raise ProtocolError(
            "an older fleet actor answered",
            field="epoch",
            value=str(reply.epoch),
            fix=f"end it; epoch {before.epoch} is the newest",
        )
    schedule, leased_until = reply.schedule, _deadline(now, reply.lease_s)
    if schedule is not None and schedule.site_id != site_id:
        raise ProtocolError(
            "the fleet sent the schedule of another site",
            field="schedule.site_id",
            value=schedule.site_id,
            fix=f"send the one of {site_id}",
        )
    proposals = tuple(replace(p, expires_at=_deadline(now, p.expires_at)) for p in reply.proposals)
    stop = before.stop if reply.stop is None else reply.stop
    if schedule is None:
        return replace(
            before, heard_until=leased_until, proposals=proposals, epoch=reply.epoch, stop=stop
        )
    return Orders(schedule, leased_until, leased_until, proposals, reply.epoch, stop)


@dataclass(frozen=True, slots=True)
class Following:
    """The plan's part in this cycle: its proposal, or why there is none."""

    proposal: Proposal | None
    note: str


@dataclass(frozen=True, slots=True)
class Sources:
    """Every plan that is there in one cycle.

    Attributes:
        interval: Interval of the newest schedule that covers now, or None.
        leased: The fleet stands behind it.
        heard: The fleet has answered lately.
        local_kw: What the local policy wishes, or None where there is none.
        stopped: Why a person must release the battery first; empty where nothing stops it.
    """

    schedule: Schedule | None
    interval: Interval | None
    leased: bool
    heard: bool
    local_kw: float | None
    stopped: str

    def has(self, level: AutonomyLevel) -> bool:
        """Whether a level can be worked on."""
        match level:
            case AutonomyLevel.SAFE_STOP:
                return bool(self.stopped)
            case AutonomyLevel.FLEET:
                return self.leased if self.interval is not None else self.heard
            case AutonomyLevel.CACHED_SCHEDULE:
                return self.interval is not None
            case AutonomyLevel.LOCAL_POLICY:
                return self.local_kw is not None
            case AutonomyLevel.HOLD:
                return True

    def best(self) -> AutonomyLevel:
        """The best level that is there; a stop is above all."""
        if self.stopped:
            return AutonomyLevel.SAFE_STOP
        return next(level for level in AutonomyLevel if self.has(level))

    def cause(self, level: AutonomyLevel) -> str:
        """Why ``level`` is the best one, as a phrase."""
        match level:
            case AutonomyLevel.SAFE_STOP:
                return self.stopped
            case AutonomyLevel.FLEET:
                return "the fleet answers"
            case AutonomyLevel.CACHED_SCHEDULE:
                return "the fleet is silent" if not self.heard else "the fleet has no plan yet"
            case _:
                return f"the fleet is silent and {self.gap}"

    @property
    def gap(self) -> str:
        """Why no interval covers now."""
        return "no schedule yet" if self.schedule is None else "the schedule does not cover now"


def sources(
    orders: Orders,
    now: MonotonicS,
    market_now: datetime,
    *,
    local_kw: float | None = None,
    stopped: str = "",
) -> Sources:
    """What there is to follow at ``now``.

    Args:
        orders: What the fleet last said.
        now: Control time; leases are measured with it.
        market_now: Aware UTC; the interval is found with it.
        local_kw: Wish of the local policy.
        stopped: Why a person must release the battery first.
    """
    schedule = orders.schedule
    return Sources(
        schedule=schedule,
        interval=None if schedule is None else schedule.at(market_now),
        leased=now < orders.leased_until,
        heard=now < orders.heard_until,
        local_kw=local_kw,
        stopped=stopped,
    )


def follow(
    level: AutonomyLevel,
    found: Sources,
    orders: Orders,
    now: MonotonicS,
    market_now: datetime,
    speed: float,
) -> Following:
    """The proposal of ``level``, with a note for people.

    Args:
        level: Level to work on.
        found: What there is to follow.
        orders: What the fleet last said.
        now: Control time.
        market_now: Aware UTC.
        speed: Market seconds per real second.
    """
    schedule, interval = found.schedule, found.interval
    scheduled = level in (AutonomyLevel.FLEET, AutonomyLevel.CACHED_SCHEDULE)
    if scheduled and schedule is not None and interval is not None:
        ends_at = _deadline(now, (interval.end - market_now).total_seconds() / speed)
        note = f"until {interval.end:%H:%M} UTC"
        if level is AutonomyLevel.FLEET:
            return Following(_planned(schedule, interval, min(ends_at, orders.leased_until)), note)
        return Following(_planned(schedule, interval, ends_at), f"{note} by the cached plan")
    if level is AutonomyLevel.LOCAL_POLICY and found.local_kw is not None:
        return Following(_local(found.local_kw, now), "while nobody plans")
    idle = found.gap if level is AutonomyLevel.FLEET else found.cause(level)
    return Following(None, idle)


def _planned(schedule: Schedule, interval: Interval, expires_at: MonotonicS) -> Proposal:
    return Proposal(
        source=schedule.source,
        priority=Priority.SCHEDULE,
        preferred_kw=interval.power_kw,
        bounds=None,
        expires_at=expires_at,
        cause_id=CauseId(schedule.schedule_id),
    )


def _local(power_kw: float, now: MonotonicS) -> Proposal:
    return Proposal(
        source=LOCAL_SOURCE,
        priority=Priority.POLICY,
        preferred_kw=power_kw,
        bounds=None,
        expires_at=_deadline(now, LOCAL_LIFE_S),
        cause_id=CauseId(LOCAL_SOURCE),
    )


def _deadline(now: MonotonicS, duration_s: float) -> MonotonicS:
    if not duration_s > 0:
        return now
    return MonotonicS(now + min(duration_s, MAX_LEASE_S))
