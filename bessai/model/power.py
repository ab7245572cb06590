"""Bounds, proposals and setpoints: safety makes bounds, others narrow them or choose inside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from bessai.model.ids import CauseId
from bessai.units import MonotonicS


@dataclass(frozen=True, slots=True)
class Bounds:
    """Allowed active power now, in kW AC, + discharge/export, - charge/import.

    Raises:
        ValueError: a limit is not finite or the lower one is above the upper one.
    """

    lower_kw: float
    upper_kw: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lower_kw) and math.isfinite(self.upper_kw)):
            raise ValueError(f"bounds must be finite, got [{self.lower_kw}, {self.upper_kw}]")
        if self.lower_kw > self.upper_kw:
            raise ValueError(f"lower_kw {self.lower_kw} is above upper_kw {self.upper_kw}")

    def clamp(self, power_kw: float) -> float:
        """The allowed power nearest to ``power_kw``."""
        return min(max(power_kw, self.lower_kw), self.upper_kw)

    def narrow(self, other: Bounds) -> Bounds | None:
        """The part that both allow, or None where nothing is."""
        lower, upper = max(self.lower_kw, other.lower_kw), min(self.upper_kw, other.upper_kw)
        return Bounds(lower, upper) if lower <= upper else None

    def contains(self, power_kw: float, tolerance_kw: float = 1e-9) -> bool:
        """Whether ``power_kw`` is allowed."""
        return self.lower_kw - tolerance_kw <= power_kw <= self.upper_kw + tolerance_kw


HOLD_BOUNDS = Bounds(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Narrowing:
    """One reason why less than the nameplate is allowed.

    Attributes:
        code: Short machine name, e.g. ``soc_low``; the ``reason`` label of the metric.
        text: What a person reads, with values and units.
        bounds: The limit this reason set by itself.
    """

    code: str
    text: str
    bounds: Bounds


class Priority(IntEnum):
    """Who wins: a higher value narrows, a lower one chooses inside."""

    POLICY = 10
    SCHEDULE = 20
    TRADE = 30
    VPP_EVENT = 40
    GRID_OPERATOR = 50
    OPERATOR = 60
    SAFETY = 100


@dataclass(frozen=True, slots=True)
class Proposal:
    """A wish that narrows or chooses; it never commands.

    Attributes:
        source: Who proposes, e.g. ``dispatch``.
        priority: See :class:`Priority`.
        preferred_kw: Wished power, + discharge.
        bounds: What the proposer allows lower priorities, or None.
        expires_at: Control time after which the proposal has no effect.
        cause_id: Runs from the cause (event, schedule) to the register write.
    """

    source: str
    priority: Priority
    preferred_kw: float
    bounds: Bounds | None
    expires_at: MonotonicS
    cause_id: CauseId


@dataclass(frozen=True, slots=True)
class Setpoint:
    """What the site decided for this cycle.

    Attributes:
        power_kw: Active power to command, + discharge.
        source: Source of the winning proposal, or ``hold``.
        reason: One sentence for people: why this power.
        cause_id: Cause of the winning proposal, if any.
    """

    power_kw: float
    source: str
    reason: str
    cause_id: CauseId | None
