"""The state of one connection: when it was lost, why, and when to try again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bessai.control.clocks import NEVER
from bessai.units import MonotonicS

MAX_DOUBLINGS: Final = 16
"""Keeps ``2**attempts`` small; the longest wait is reached long before."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Shortest and longest wait between attempts, in real seconds."""

    min_s: float
    max_s: float

    def wait_s(self, attempts: int, jitter: float) -> float:
        """Wait after failed attempt number ``attempts`` (from 1).

        The wait doubles up to ``max_s``; ``jitter`` in [0, 1) spreads it over its upper half, so
        that a fleet does not come back in one moment.
        """
        full_s = min(self.max_s, self.min_s * 2.0 ** min(attempts, MAX_DOUBLINGS))
        return max(self.min_s, full_s * (0.5 + 0.5 * jitter))


@dataclass(frozen=True, slots=True)
class Link:
    """Whether the device is connected.

    Attributes:
        connected: The device was identified and has answered since.
        established: How often a connection was made.
        attempts: Failed attempts in a row.
        retry_at: Control time of the next attempt.
        error: Why there is no connection, or None.
    """

    connected: bool = False
    established: int = 0
    attempts: int = 0
    retry_at: MonotonicS = NEVER
    error: str | None = None

    def gained(self) -> Link:
        """A device was identified."""
        return Link(connected=True, established=self.established + 1)

    def lost(self, cause: str, now: MonotonicS, backoff: Backoff, jitter: float) -> Link:
        """No device, or no answer any more."""
        attempts = self.attempts + 1
        retry_at = MonotonicS(now + backoff.wait_s(attempts, jitter))
        return Link(False, self.established, attempts, retry_at, cause)

    def due(self, now: MonotonicS) -> bool:
        """Whether to try to connect now."""
        return not self.connected and now >= self.retry_at
