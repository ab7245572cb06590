"""One cycle of one site as a value: what was seen and wished goes in, what to do comes out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from bessai.control.arbitrate import arbitrate, blockers, choose
from bessai.control.effect import EFFECT_S, Effect, watch
from bessai.control.follow import Orders, follow
from bessai.control.ledger import (
    Ledger,
    Write,
    WriteRules,
    after_failure,
    after_success,
    decide_write,
    observe,
)
from bessai.model import AutonomyLevel, Setpoint, SiteLimits, Telemetry
from bessai.model.outcome import Applied, ApplyOutcome, PartiallyApplied, Rejected
from bessai.safety import Envelope, Outlook, envelope, nameplate, validate_envelope
from bessai.units import MonotonicS

HORIZON_CYCLES = 2.0
"""A setpoint acts until the next cycle's write, which may come almost a cycle late."""


@dataclass(frozen=True, slots=True)
class SiteRules:
    """What does not change while a site runs.

    Attributes:
        limits: What the site file allows.
        cycle_s: Real seconds between cycles.
        speed: Market seconds per real second.
        renew_s: Real seconds after which a command is renewed for the device's own timer, or None
            where it has none.
        effect_s: Real seconds in which the device's power follows a command.
        spare_s: See :class:`WriteRules`.
    """

    limits: SiteLimits
    cycle_s: float
    speed: float
    renew_s: float | None
    effect_s: float = EFFECT_S
    spare_s: float = 0.0

    @property
    def writes(self) -> WriteRules:
        """The part that the write ledger needs."""
        full = nameplate(self.limits)
        return WriteRules(max(-full.lower_kw, full.upper_kw), self.renew_s, self.spare_s, full)


@dataclass(frozen=True, slots=True)
class CycleInput:
    """What one cycle knows.

    Attributes:
        now: Control time.
        market_now: Aware UTC market time.
        telemetry: Read in this cycle, or None where the read failed.
        orders: What the fleet last said.
        resumed: The process stood still before this cycle: somebody else may have taken over,
            so it only reads.
    """

    now: MonotonicS
    market_now: datetime
    telemetry: Telemetry | None
    orders: Orders
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What one cycle decided.

    Attributes:
        write: The command to send, or None where nothing needs to be written.
        blocked: Codes of the safety reasons that did not allow the wish.
        external: A foreign command was seen for the first time.
        effect_failed: The battery was found not to follow for the first time.
        coasting: The read failed, and the last good one is not stale yet: nothing changes.
    """

    setpoint: Setpoint
    allowed: Envelope
    autonomy: AutonomyLevel
    write: Write | None
    blocked: tuple[str, ...] = ()
    external: bool = False
    effect_failed: bool = False
    coasting: bool = False


@dataclass(frozen=True, slots=True)
class ControlState:
    """What one cycle hands to the next.

    Attributes:
        power_kw: Setpoint that is in force as far as is known.
        decided_at: Control time of the last decision from a fresh read.
        seen: The last good read, whose age makes it stale.
        write_error: Why the last write failed, or None.
    """

    power_kw: float = 0.0
    decided_at: MonotonicS | None = None
    seen: Telemetry | None = None
    ledger: Ledger = field(default_factory=Ledger)
    effect: Effect = field(default_factory=Effect)
    last: Decision | None = None
    write_error: str | None = None


def decide(
    state: ControlState, rules: SiteRules, cycle: CycleInput
) -> tuple[ControlState, Decision]:
    """Decide one cycle.

    A failed read changes nothing until the last good one is stale; then the site holds.

    Raises:
        SafetyError: an invariant of the envelope is broken.
    """
    if cycle.telemetry is None and state.last is not None and _recent(state, rules, cycle.now):
        return state, _coast(state.last, rules, cycle)
    observed = _observed(state, rules, cycle)
    allowed = envelope(observed.seen, rules.limits, _outlook(observed, rules, cycle.now))
    validate_envelope(allowed, rules.limits)
    decision = replace(
        _decision(observed, rules, cycle, allowed),
        external=observed.ledger.quarrel and not state.ledger.quarrel,
        effect_failed=observed.effect.failed and not state.effect.failed,
    )
    waits = cycle.resumed or rules.spare_s > 0 or observed.ledger.failures > 0
    power_kw = _in_force_kw(observed.ledger, decision, waits=waits)
    return replace(observed, power_kw=power_kw, decided_at=cycle.now, last=decision), decision


def settle(
    state: ControlState, write: Write, outcome: ApplyOutcome, now: MonotonicS
) -> ControlState:
    """The state after the device answered a write."""
    match outcome:
        case Applied():
            ledger = after_success(state.ledger, write, now, outcome.power_kw)
            return replace(state, ledger=ledger, write_error=None)
        case PartiallyApplied():
            return _refused(state, f"{outcome.failed_point}: {outcome.error}", now, partial=True)
        case Rejected():
            return _refused(state, outcome.error, now, partial=False)


def _refused(state: ControlState, error: str, now: MonotonicS, *, partial: bool) -> ControlState:
    ledger = after_failure(state.ledger, now, partial=partial)
    in_force_kw = 0.0 if ledger.written_kw is None else ledger.written_kw
    return replace(state, ledger=ledger, power_kw=in_force_kw, write_error=error)


def _in_force_kw(ledger: Ledger, decision: Decision, *, waits: bool) -> float:
    """The setpoint, except while a write has to wait: then the older command still acts."""
    if waits and decision.write is None:
        return 0.0 if ledger.written_kw is None else ledger.written_kw
    return decision.setpoint.power_kw


def _coast(last: Decision, rules: SiteRules, cycle: CycleInput) -> Decision:
    plan = follow(cycle.orders, cycle.now, cycle.market_now, rules.speed)
    return Decision(last.setpoint, last.allowed, plan.autonomy, write=None, coasting=True)


def _recent(state: ControlState, rules: SiteRules, now: MonotonicS) -> bool:
    seen = state.seen
    return seen is not None and now - seen.measured_at <= rules.limits.max_age_s


def _observed(state: ControlState, rules: SiteRules, cycle: CycleInput) -> ControlState:
    if cycle.telemetry is None:
        return state
    ledger = observe(state.ledger, cycle.telemetry, rules.writes)
    effect = watch(state.effect, ledger, cycle.telemetry, rules.limits, within_s=rules.effect_s)
    return replace(state, seen=cycle.telemetry, ledger=ledger, effect=effect)


def _outlook(state: ControlState, rules: SiteRules, now: MonotonicS) -> Outlook:
    """Look two cycles ahead, longer where the last cycles were slow.

    A cycle that came a little early still grants a whole cycle of ramp: cycles keep a grid.
    """
    since_s = rules.cycle_s if state.decided_at is None else now - state.decided_at
    pace_s = since_s if since_s <= rules.limits.max_age_s else rules.cycle_s
    return Outlook(
        now=now,
        since_last_s=min(max(since_s, rules.cycle_s), 2 * rules.cycle_s),
        horizon_s=HORIZON_CYCLES * max(rules.cycle_s, pace_s),
        speed=rules.speed,
        last_power_kw=state.power_kw,
    )


def _decision(
    state: ControlState, rules: SiteRules, cycle: CycleInput, allowed: Envelope
) -> Decision:
    plan = follow(cycle.orders, cycle.now, cycle.market_now, rules.speed)
    planned = () if plan.proposal is None else (plan.proposal,)
    notes = {proposal.cause_id: plan.note for proposal in planned}
    choice = choose((*cycle.orders.proposals, *planned), cycle.now)
    setpoint = arbitrate(choice, allowed, notes, idle=plan.note)
    wish_kw = 0.0 if choice is None else choice.power_kw
    ledger, power_kw = state.ledger, setpoint.power_kw
    write = decide_write(ledger, power_kw, allowed.bounds, cycle.now, rules.writes)
    write = None if cycle.resumed else write
    return Decision(setpoint, allowed, plan.autonomy, write, blockers(allowed, wish_kw))
