"""Whether this process may write: one owner per site, proven and not assumed. Pure.

Ray starts a lost actor again but does not end the old one: after a node froze, two actors drove
one site for 75 s. So a new owner writes only when every earlier one is proven dead, or when the
device shows that nobody commands it: a forced command that no one renews ends within the
device's own dead-man period. An owner that stood still, or lost its connection, asks again
before it writes. Where nobody can be asked, the device must be seen free for the whole period.

An owner whose authority is merely away goes on: the site is sovereign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from bessai.control.clocks import NEVER
from bessai.model import Telemetry, Tenure
from bessai.units import MonotonicS

QUIET_S: Final = 120.0
"""How long a command must stand unchanged where the device has no timer that would end it."""

SEEN_FREE_S: Final = 30.0
"""How long a device must be seen without a command, although the newest epoch is ours: some drop a
command by themselves. An owner that lives hears of the epoch within 13 s (a question every 10 s,
3 s for its answer), and writes a dropped command again within 20 s."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the authority and this machine said last.

    Attributes:
        epoch: Granted epoch, or None before the first grant.
        confirmed_at: Control time at which the last confirmed question was *asked*.
        alone: Every earlier owner is proven dead, by the lock of its machine.
        superseded: Somebody holds a newer epoch.
        rival: Who may still write, for people; None where nobody is known.
        problem: Why the authority does not answer, or None.
    """

    epoch: int | None = None
    confirmed_at: MonotonicS = NEVER
    alone: bool = False
    superseded: bool = False
    rival: str | None = None
    problem: str | None = None


ALONE: Final = Claim(epoch=0, confirmed_at=MonotonicS(math.inf), alone=True)
"""For a site that cannot have another owner."""


@dataclass(frozen=True, slots=True)
class OwnershipRules:
    """What the device family allows to conclude.

    Attributes:
        quiet_s: Real seconds after which a command that nobody renews has ended: the device's
            dead-man period; without one, see :data:`QUIET_S`.
        ends_by_itself: The device has a dead-man timer.
        tells_command: The device shows the command it holds.
    """

    quiet_s: float = QUIET_S
    ends_by_itself: bool = True
    tells_command: bool = True


ANY_FAMILY: Final = OwnershipRules()


@dataclass(frozen=True, slots=True)
class Ownership:
    """Standing of this process after a cycle.

    Attributes:
        tenure: Whether it may write.
        reason: Why it only reads, or None.
        settled_at: Doubts up to this control time are settled.
        proven: The absence of earlier owners was proven.
        quiet_since: Since when the device has been seen free, or its command unchanged.
        held_kw: Command seen last; None is no forced command.
    """

    tenure: Tenure = Tenure.PENDING
    reason: str | None = "no epoch yet"
    settled_at: MonotonicS = NEVER
    proven: bool = False
    quiet_since: MonotonicS | None = None
    held_kw: float | None = None

    @property
    def may_write(self) -> bool:
        """Whether this process is the one owner."""
        return self.tenure is Tenure.OWNER


UNPROVEN: Final = Ownership()


def next_ownership(
    before: Ownership,
    claim: Claim,
    doubt_at: MonotonicS,
    telemetry: Telemetry | None,
    now: MonotonicS,
    rules: OwnershipRules,
) -> Ownership:
    """The standing in this cycle.

    Args:
        before: The standing in the last one.
        claim: What is known of epochs.
        doubt_at: Control time of the last event after which the epoch must be confirmed: the
            process stood still, or the connection was lost.
        telemetry: This cycle's read, or None.
        now: Control time.
        rules: What the device family allows to conclude.
    """
    if claim.superseded:
        return replace(before, tenure=Tenure.SUPERSEDED, reason=_with(claim.rival, "superseded"))
    doubted = doubt_at > before.settled_at
    seen = _watched(before, doubt_at, telemetry, rules)
    if before.tenure is Tenure.OWNER and not doubted:
        return seen
    confirmed = claim.epoch is not None and claim.confirmed_at >= doubt_at
    proven = before.proven or claim.alone
    if confirmed and (proven or _free(seen, now, rules, asked=True)):
        return replace(seen, tenure=Tenure.OWNER, reason=None, settled_at=doubt_at, proven=True)
    if not confirmed and _free(seen, now, rules, asked=False):
        return replace(seen, tenure=Tenure.OWNER, reason=None, settled_at=doubt_at, proven=True)
    tenure = _waiting(claim, confirmed=confirmed)
    return replace(seen, tenure=tenure, reason=_why(tenure, claim, seen))


def _watched(
    before: Ownership, doubt_at: MonotonicS, telemetry: Telemetry | None, rules: OwnershipRules
) -> Ownership:
    """Follow what the device holds; what was seen before a doubt does not count."""
    since = before.quiet_since
    if since is not None and since < doubt_at:
        since = None
    if telemetry is None:
        return replace(before, quiet_since=since)
    held = telemetry.commanded_kw if rules.tells_command else None
    at_rest = held is None if rules.ends_by_itself else held == before.held_kw
    if not at_rest:
        since = None
    elif since is None and telemetry.measured_at >= doubt_at:
        since = telemetry.measured_at
    return replace(before, quiet_since=since, held_kw=held)


def _free(seen: Ownership, now: MonotonicS, rules: OwnershipRules, *, asked: bool) -> bool:
    """Whether the device shows that nobody commands it.

    A device that tells its command and ends it by itself, and holds none, was not commanded for
    a whole period, unless it dropped the command: :data:`SEEN_FREE_S`. With nobody to ask, the
    whole period is waited for.
    """
    if seen.quiet_since is None:
        return False
    shows = asked and rules.ends_by_itself and rules.tells_command
    wait_s = min(SEEN_FREE_S, rules.quiet_s) if shows else rules.quiet_s
    return now - seen.quiet_since >= wait_s


def _waiting(claim: Claim, *, confirmed: bool) -> Tenure:
    if claim.epoch is None:
        return Tenure.PENDING
    return Tenure.PROBATION if confirmed else Tenure.UNCONFIRMED


def _why(tenure: Tenure, claim: Claim, seen: Ownership) -> str:
    held = "" if seen.held_kw is None else f"; the device holds {seen.held_kw:g} kW"
    match tenure:
        case Tenure.PROBATION:
            return _with(claim.rival, "an earlier owner may still write") + held
        case Tenure.PENDING:
            return _with(claim.problem, "no epoch yet") + held
        case _:
            return _with(claim.problem, "its epoch is not confirmed yet") + held


def _with(detail: str | None, text: str) -> str:
    return text if detail is None else f"{text}: {detail}"
