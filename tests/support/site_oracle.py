"""What must be true of a site, told once more and in other words than the code under test."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from bessai.control.ownership import Claim, OwnershipRules
from bessai.model import Schedule, Telemetry

ASKED_FREE_S = 30.0
NEVER = -math.inf
ROUNDING_KWH = 1e-9


@dataclass(slots=True)
class Proof:
    """Whether anybody could prove that this process is the one owner.

    Attributes:
        settled: The doubt after which ownership was proven last.
        proven: Every other owner was proven dead once, or the device was free for long enough.
        still_since: First read of the unbroken row of reads that showed nobody at work.
    """

    rules: OwnershipRules
    settled: float = NEVER
    proven: bool = False
    last_kw: float | None = None
    still_since: float | None = None
    owner: bool = False

    def read(self, telemetry: Telemetry | None, claim: Claim, doubt_at: float, now: float) -> bool:
        """Take one cycle's read; whether a write is legitimate now."""
        if self.still_since is not None and self.still_since < doubt_at:
            self.still_since = None
        if telemetry is not None:
            self._look(telemetry, doubt_at)
        if claim.superseded:
            self.owner = False
            return False
        if doubt_at > self.settled:
            self.owner = False
        free_s = -1.0 if self.still_since is None else now - self.still_since
        fresh = claim.epoch is not None and claim.confirmed_at >= doubt_at
        told = self.rules.ends_by_itself and self.rules.tells_command
        need_s = min(ASKED_FREE_S, self.rules.quiet_s) if fresh and told else self.rules.quiet_s
        if free_s >= need_s or (fresh and (self.proven or claim.alone)):
            self.owner, self.proven, self.settled = True, True, max(self.settled, doubt_at)
        return self.owner

    def _look(self, telemetry: Telemetry, doubt_at: float) -> None:
        shown = telemetry.commanded_kw if self.rules.tells_command else None
        still = shown is None if self.rules.ends_by_itself else shown == self.last_kw
        self.last_kw = shown
        if not still:
            self.still_since = None
        elif self.still_since is None and telemetry.measured_at >= doubt_at:
            self.still_since = telemetry.measured_at


@dataclass(slots=True)
class Ends:
    """When each wish of the newest answer ends; those of refused answers are not here."""

    by_cause: dict[str, float] = field(default_factory=dict)
    schedule: Schedule | None = None


@dataclass(slots=True)
class Excess:
    """How far the battery may be outside its band, in kWh of the cells.

    The promise of the look-ahead: a decision from a fresh, true read covers the time until two
    cycles after it took effect, if it takes effect within 0.4 cycles. In covered time a battery
    inside its band stays inside, and one outside does not go further. What flows in time that no
    decision covers (a process that stood still, a device that refuses, somebody else's command,
    a read that lied) is the physics of that time and no more.
    """

    allowed_kwh: float = 0.0

    def flowed(self, outwards_kwh: float, excess_kwh: float, *, covered: bool) -> bool:
        """Take one stretch of time; whether the promise holds."""
        if not covered:
            self.allowed_kwh += max(0.0, outwards_kwh)
        kept = excess_kwh <= self.allowed_kwh + ROUNDING_KWH
        if covered or outwards_kwh <= 0:
            self.allowed_kwh = max(0.0, min(self.allowed_kwh, excess_kwh))
        return kept
