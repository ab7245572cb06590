"""On whose plan a site works: down at once, up again only after a while. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bessai.control.clocks import NEVER
from bessai.model import AutonomyLevel
from bessai.units import MonotonicS

UP_S: Final = 5.0
"""A better level must have been there this long before it is taken again. The fleet's lease of
15 s is the delay of the way down."""

RANK: Final = {level: rank for rank, level in enumerate(reversed(AutonomyLevel))}


@dataclass(frozen=True, slots=True)
class Autonomy:
    """The level, and why it is that.

    Attributes:
        level: Taken level.
        cause: Why it was taken, one phrase.
        since: Control time at which it was taken.
        better_since: Since when a better one has been there without a break, or None.
    """

    level: AutonomyLevel = AutonomyLevel.HOLD
    cause: str = "starting"
    since: MonotonicS = NEVER
    better_since: MonotonicS | None = None


NOT_STARTED: Final = Autonomy()


def next_autonomy(
    before: Autonomy, best: AutonomyLevel, cause: str, now: MonotonicS, *, tenable: bool
) -> Autonomy:
    """The level of this cycle.

    The first level above hold, and the one after a release by a person, are taken at once.

    Args:
        before: The level of the last cycle.
        best: The best level that is there now.
        cause: Why it is the best one.
        now: Control time.
        tenable: Whether the level of the last cycle is still there.
    """
    if best is before.level:
        told = cause if before.since == NEVER else before.cause
        return replace(before, cause=told, better_since=None)
    first = before.since == NEVER or before.level is AutonomyLevel.SAFE_STOP
    if first or not tenable or RANK[best] < RANK[before.level]:
        return Autonomy(best, cause, now)
    since = now if before.better_since is None else before.better_since
    if now - since >= UP_S:
        return Autonomy(best, cause, now)
    return replace(before, better_since=since)
