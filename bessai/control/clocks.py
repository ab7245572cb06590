"""The clocks of one site, handed in so that a test can hold them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bessai.units import MonotonicS

NEVER: Final = MonotonicS(float("-inf"))
"""Control time of something that has not happened."""


_CONTROL_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The boot clock goes on while the machine sleeps, as the battery does."""


def monotonic_now() -> MonotonicS:
    """Control time of this host."""
    return MonotonicS(time.clock_gettime(_CONTROL_CLOCK))


def wall_now() -> datetime:
    """Wall time, aware UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clocks:
    """Control time, wall time and the jitter of waits.

    Attributes:
        now: Monotonic real seconds; the same clock that stamps the telemetry.
        wall: Aware UTC; market time is derived from it.
        jitter: A number in [0, 1).
    """

    now: Callable[[], MonotonicS] = monotonic_now
    wall: Callable[[], datetime] = wall_now
    jitter: Callable[[], float] = random.random
