"""The last question before each register write: does this process still own the site?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bessai.errors import Fenced
from bessai.units import MonotonicS

GAP_CYCLES: Final = 2.0
"""A process that did not run for longer than this many cycles stood still."""


class Permit:
    """Closed while the process is not the owner, and closed by itself after a gap.

    A process that was stopped (SIGSTOP, a paused machine) wakes up in the middle of anything,
    also between two register writes. So it beats while it lives, and whoever asks after a gap is
    refused, before the loop itself has had time to notice.

    Args:
        now: Control time; it must go on while the machine sleeps.
        gap_s: Real seconds without a beat after which the process stood still.

    Attributes:
        doubt_at: Control time of the last event after which ownership must be confirmed.
        gaps: How often the process stood still.
    """

    def __init__(self, now: Callable[[], MonotonicS], gap_s: float) -> None:
        self._now = now
        self._gap_s = gap_s
        self._beat_at = now()
        self._open = False
        self.doubt_at = self._beat_at
        self.gaps = 0

    def beat(self) -> None:
        """The process lives; call it several times per gap."""
        now = self._now()
        if now - self._beat_at > self._gap_s:
            self.gaps += 1
            self.doubt()
        self._beat_at = now

    def doubt(self) -> None:
        """Somebody else may own the site now: ask before the next write."""
        self.doubt_at = self._now()
        self._open = False

    def allow(self, doubts_settled_to: MonotonicS | None) -> None:
        """Open it where ownership is settled for all doubts so far; None closes it."""
        self._open = doubts_settled_to is not None and doubts_settled_to >= self.doubt_at

    def check(self) -> None:
        """Ask for one register write.

        Raises:
            Fenced: this process may not write now.
        """
        self.beat()
        if not self._open:
            raise Fenced("not written: this process is not known to own the site now")
