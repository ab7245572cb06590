"""Ends a process whose event loop or control cycle stands still, so that it is started afresh."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

POLL_S: Final = 0.5
LOOP_STUCK_S: Final = 10.0
CYCLE_STUCK_S: Final = 60.0
"""Longer than the longest cycle that ends by itself: 20 s to connect, 10 s to read, 10 s to write
and as much again for what is in flight."""


class Watchdog:
    """A thread that counts its own polls without a sign of life.

    It counts polls and not time: while the whole process is stopped (SIGSTOP, a paused machine)
    nothing is counted, and a process that wakes up is not killed for having slept.

    Args:
        end: Ends the process; called once, from the thread, with what stands still.
        loop_stuck_s: Real seconds without a beat of the event loop.
        cycle_stuck_s: Real seconds without the end of a cycle.
        poll_s: Real seconds between polls.
    """

    def __init__(
        self,
        end: Callable[[str], None],
        *,
        loop_stuck_s: float = LOOP_STUCK_S,
        cycle_stuck_s: float = CYCLE_STUCK_S,
        poll_s: float = POLL_S,
    ) -> None:
        self._end = end
        self._limits = {"event loop": loop_stuck_s, "control cycle": cycle_stuck_s}
        self._poll_s = poll_s
        self._signs = dict.fromkeys(self._limits, 0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._stop.set()

    def beat(self) -> None:
        """The event loop runs."""
        self._signs["event loop"] += 1

    def cycled(self) -> None:
        """A control cycle ended."""
        self._signs["control cycle"] += 1

    def _watch(self) -> None:
        seen = dict(self._signs)
        still = dict.fromkeys(self._limits, 0)
        while not self._stop.wait(self._poll_s):
            for part, limit_s in self._limits.items():
                still[part] = still[part] + 1 if self._signs[part] == seen[part] else 0
                seen[part] = self._signs[part]
                if still[part] * self._poll_s >= limit_s:
                    self._end(f"the {part} has stood still for {limit_s:g} s")
                    return
