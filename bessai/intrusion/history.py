"""Totals at past moments, so that a difference over a window costs the same however long it is."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple


class Mark(NamedTuple):
    """Totals at one moment; NaN where the device did not tell.

    Attributes:
        at: Control time.
        cells_pct: Energy taken from the cells so far, by power; % of the capacity.
        moved_pct: The same without its sign.
        grid_kwh: Energy exported so far, by power.
        counted_kwh: The same by the meter's counters.
    """

    at: float
    soc_pct: float
    cells_pct: float
    moved_pct: float
    grid_kwh: float
    counted_kwh: float
    temperature_c: float


class History:
    """Marks of the last ``span_s`` seconds, one every ``step_s``."""

    __slots__ = ("_marks", "_next_at", "_span_s", "_step_s")

    def __init__(self, span_s: float, step_s: float) -> None:
        self._marks: deque[Mark] = deque()
        self._next_at = -math.inf
        self._span_s = span_s
        self._step_s = step_s

    def add(self, mark: Mark) -> Mark:
        """Take note of a mark where one is due; the reference is the oldest in the window."""
        marks = self._marks
        if mark.at >= self._next_at:
            marks.append(mark)
            self._next_at = mark.at + self._step_s
            while len(marks) > 1 and marks[1].at <= mark.at - self._span_s:
                marks.popleft()
        return marks[0]
