"""Whose plan counts now: the fleet's while its lease lives, then the cached one, then none.

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
)
from bessai.units import MonotonicS

MAX_LEASE_S: Final = 60.0
"""No proposal lives longer without being renewed."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the fleet last said, in the site's own control time.

    Attributes:
        schedule: The newest plan; it outlives its lease as the cached one.
        leased_until: Control time until which the fleet stands behind ``schedule``.
        heard_until: Control time until which the last reply counts, with or without a plan.
        proposals: Other live wishes.
    """

    schedule: Schedule | None = None
    leased_until: MonotonicS = NEVER
    heard_until: MonotonicS = NEVER
    proposals: tuple[Proposal, ...] = ()


@dataclass(frozen=True, slots=True)
class Following:
    """The plan's part in this cycle: its proposal, or why there is none."""

    autonomy: AutonomyLevel
    proposal: Proposal | None
    note: str


def receive(before: Orders, reply: FleetReply, site_id: SiteId, now: MonotonicS) -> Orders:
    """Turn a reply, whose times are seconds from receipt, into orders in control time.

    A lease or an expiry over 60 s is cut to 60 s; one that is not a number has ended already.
    A reply without a plan, e.g. of a fleet that just restarted, keeps the cached plan.

    Raises:
        ProtocolError: the schedule belongs to another site.
    """
    schedule, leased_until = reply.schedule, _deadline(now, reply.lease_s)
    if schedule is not None and schedule.site_id != site_id:
        raise ProtocolError(
            "the fleet sent the schedule of another site",
            field="schedule.site_id",
            value=schedule.site_id,
            fix=f"send the one of {site_id}",
        )
    proposals = tuple(replace(p, expires_at=_deadline(now, p.expires_at)) for p in reply.proposals)
    if schedule is None:
        return replace(before, heard_until=leased_until, proposals=proposals)
    return Orders(schedule, leased_until, leased_until, proposals)


def follow(orders: Orders, now: MonotonicS, market_now: datetime, speed: float) -> Following:
    """The schedule's proposal at ``market_now`` and the autonomy level that goes with it.

    Args:
        orders: What the fleet last said.
        now: Control time; the lease is measured with it.
        market_now: Aware UTC; the interval is found with it.
        speed: Market seconds per real second.
    """
    leased, heard = now < orders.leased_until, now < orders.heard_until
    schedule = orders.schedule
    interval = schedule.at(market_now) if schedule is not None else None
    if schedule is None or interval is None:
        gap = "no schedule yet" if schedule is None else "the schedule does not cover now"
        if heard:
            return Following(AutonomyLevel.FLEET, None, gap)
        return Following(AutonomyLevel.HOLD, None, f"the fleet is silent and {gap}")
    ends_in_s = (interval.end - market_now).total_seconds() / speed
    ends_at = _deadline(now, ends_in_s)
    note = f"until {interval.end:%H:%M} UTC"
    if leased:
        proposal = _proposal(schedule, interval, min(ends_at, orders.leased_until))
        return Following(AutonomyLevel.FLEET, proposal, note)
    proposal = _proposal(schedule, interval, ends_at)
    return Following(AutonomyLevel.CACHED_SCHEDULE, proposal, f"{note} by the cached plan")


def _proposal(schedule: Schedule, interval: Interval, expires_at: MonotonicS) -> Proposal:
    return Proposal(
        source=schedule.source,
        priority=Priority.SCHEDULE,
        preferred_kw=interval.power_kw,
        bounds=None,
        expires_at=expires_at,
        cause_id=CauseId(schedule.schedule_id),
    )


def _deadline(now: MonotonicS, duration_s: float) -> MonotonicS:
    if not duration_s > 0:
        return now
    return MonotonicS(now + min(duration_s, MAX_LEASE_S))
