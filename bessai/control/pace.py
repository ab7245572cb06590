"""When the next cycle begins: at a fixed rate, without drift and without catching up."""

from __future__ import annotations

import math

from bessai.units import MonotonicS


def next_tick(tick: MonotonicS, now: MonotonicS, cycle_s: float) -> MonotonicS:
    """The first point of the grid ``tick + n * cycle_s`` (n >= 1) that is not in the past."""
    steps = max(1, math.ceil((now - tick) / cycle_s))
    return MonotonicS(tick + steps * cycle_s)
