"""A plan in market time: half-open, sorted, non-overlapping intervals."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from bessai.model.ids import ScheduleId, SiteId


@dataclass(frozen=True, slots=True)
class Interval:
    """One step of a schedule over ``[start, end)``.

    Attributes:
        power_kw: Mean AC power at the grid connection, + discharge.
        soc_end_pct: Expected state of charge at ``end``.
    """

    start: datetime
    end: datetime
    power_kw: float
    soc_end_pct: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """What one site is expected to do.

    Attributes:
        source: Who made it, e.g. ``dispatch``.
        expected_revenue: Money expected over the horizon, net of wear, in ``currency``.

    Raises:
        ValueError: the intervals overlap, are unsorted or naive.
    """

    schedule_id: ScheduleId
    site_id: SiteId
    issued_at: datetime
    intervals: tuple[Interval, ...]
    source: str
    expected_revenue: float
    currency: str

    def __post_init__(self) -> None:
        for interval in self.intervals:
            if interval.start.tzinfo is None or interval.end <= interval.start:
                raise ValueError(f"interval {interval.start}..{interval.end} is naive or empty")
        for before, after in pairwise(self.intervals):
            if after.start < before.end:
                raise ValueError(f"intervals overlap at {after.start.isoformat()}")

    def at(self, market_now: datetime) -> Interval | None:
        """The interval that covers ``market_now``, or None outside the plan."""
        index = bisect_right(self.intervals, market_now, key=lambda i: i.start) - 1
        if index < 0:
            return None
        found = self.intervals[index]
        return found if market_now < found.end else None
