"""What the control loop tells the decision record, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bessai.control.ledger import Write
from bessai.control.step import ControlState, CycleInput, Decision, SiteRules
from bessai.model.outcome import ApplyOutcome
from bessai.units import MonotonicS


class DecisionLog(Protocol):
    """The control loop's side of the decision record; all but ``close`` return at once.

    Call them in the order in which things happen, from one thread. Each state that is handed on
    must come from ``decide``, ``settle`` or ``ControlState.after_loss``: a replay has no other way.
    """

    def lost(self) -> None:
        """The connection is gone: the next cycle begins with ``after_loss()`` of its state."""
        ...

    def decided(
        self,
        before: ControlState,
        rules: SiteRules,
        cycle: CycleInput,
        after: ControlState,
        decision: Decision,
    ) -> None:
        """``after, decision = decide(before, rules, cycle)`` was done."""
        ...

    def settled(self, write: Write, outcome: ApplyOutcome, now: MonotonicS) -> None:
        """``state = settle(state, write, outcome, now)`` was done in the cycle decided last."""
        ...

    def close(self, timeout_s: float = 2.0) -> None:
        """Store what waits; blocks for at most ``timeout_s``."""
        ...


class NoLog:
    """Records nothing."""

    def lost(self) -> None:
        """Forget it."""

    def decided(
        self,
        before: ControlState,
        rules: SiteRules,
        cycle: CycleInput,
        after: ControlState,
        decision: Decision,
    ) -> None:
        """Forget it."""

    def settled(self, write: Write, outcome: ApplyOutcome, now: MonotonicS) -> None:
        """Forget it."""

    def close(self, timeout_s: float = 2.0) -> None:
        """Nothing waits."""


@dataclass(frozen=True, slots=True)
class Decided:
    """One cycle.

    Attributes:
        number: Grows by one per cycle of this process, recorded or not.
        wall: Aware UTC.
        lost: The connection was lost before this cycle.
        before: The state that was handed to ``decide``, after the loss.
        after: The state that it returned.
    """

    number: int
    wall: datetime
    lost: bool
    before: ControlState
    rules: SiteRules
    cycle: CycleInput
    after: ControlState
    decision: Decision


@dataclass(frozen=True, slots=True)
class Settled:
    """What the device answered to the write of one cycle."""

    number: int
    write: Write
    outcome: ApplyOutcome
    now: MonotonicS


Entry = Decided | Settled
