"""One cycle of one site as a value: what was seen and wished goes in, what to do comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from bessai.control.arbitrate import arbitrate, blockers, choose
from bessai.control.autonomy import NOT_STARTED, Autonomy, next_autonomy
from bessai.control.clocks import NEVER
from bessai.control.effect import EFFECT_S, Effect, watch
from bessai.control.follow import Following, Orders, follow, sources
from bessai.control.ledger import (
    ForeignPolicy,
    Ledger,
    Write,
    WriteRules,
    after_failure,
    after_success,
    decide_write,
    observe,
)
from bessai.control.ownership import (
    ALONE,
    ANY_FAMILY,
    UNPROVEN,
    Claim,
    Ownership,
    OwnershipRules,
    next_ownership,
)
from bessai.model import (
    AutonomyLevel,
    Narrowing,
    Setpoint,
    SiteLimits,
    Stops,
    Telemetry,
)
from bessai.model.outcome import Applied, ApplyOutcome, PartiallyApplied, Rejected
from bessai.model.power import HOLD_BOUNDS
from bessai.model.stop import NO_STOPS
from bessai.ports import LocalPolicy
from bessai.safety import (
    Envelope,
    Outlook,
    Trace,
    envelope,
    nameplate,
    validate_envelope,
)
from bessai.safety import observe as observe_trace
from bessai.safety.envelope import NOTHING_KNOWN
from bessai.units import MonotonicS

STOPPED: Final = "stopped"
"""Code of the narrowing by a stop that a person must release."""

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
        ownership: What the device family allows to conclude about other owners.
        foreign: What to do about a command that is not ours.
        local: What the site does by itself while nobody plans for it, or None to hold.
    """

    limits: SiteLimits
    cycle_s: float
    speed: float
    renew_s: float | None
    effect_s: float = EFFECT_S
    spare_s: float = 0.0
    ownership: OwnershipRules = ANY_FAMILY
    foreign: ForeignPolicy = ForeignPolicy.REASSERT
    local: LocalPolicy | None = None

    @property
    def writes(self) -> WriteRules:
        """The part that the write ledger needs."""
        full = nameplate(self.limits)
        peak_kw = max(-full.lower_kw, full.upper_kw)
        return WriteRules(peak_kw, self.renew_s, self.spare_s, full, self.foreign)


@dataclass(frozen=True, slots=True)
class CycleInput:
    """What one cycle knows.

    Attributes:
        now: Control time.
        market_now: Aware UTC market time.
        telemetry: Read in this cycle, or None where the read failed.
        orders: What the fleet last said.
        claim: What is known of this process's epoch.
        doubt_at: Control time of the last event after which the epoch must be confirmed: the
            process stood still, or the connection was lost.
        stops: The operator's and the site's own stops.
        stops_known: Whether ``stops`` is all there is; the local policy waits for that.
    """

    now: MonotonicS
    market_now: datetime
    telemetry: Telemetry | None
    orders: Orders
    claim: Claim = ALONE
    doubt_at: MonotonicS = NEVER
    stops: Stops = NO_STOPS
    stops_known: bool = True


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

    def without_write(self) -> Decision:
        """The same by a process that only reads."""
        return replace(self, write=None)


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
    trace: Trace = NOTHING_KNOWN
    ownership: Ownership = UNPROVEN
    autonomy: Autonomy = NOT_STARTED

    def after_loss(self) -> ControlState:
        """What is left to believe when the connection was lost: nothing about the device."""
        return ControlState(
            ledger=self.ledger.after_loss(),
            trace=self.trace,
            ownership=self.ownership,
            autonomy=self.autonomy,
        )


def decide(
    state: ControlState, rules: SiteRules, cycle: CycleInput
) -> tuple[ControlState, Decision]:
    """Decide one cycle.

    After a failed read nothing grows; once the last good one is stale the site holds. What expires
    meanwhile is gone all the same.

    Raises:
        SafetyError: an invariant of the envelope is broken.
    """
    state = replace(state, ownership=_ownership(state, rules, cycle))
    last = state.last
    if last is not None and _coasts(state, rules, cycle):
        planned, plan = _plan(state, rules, cycle, state.seen)
        _, setpoint = _setpoint(cycle, last.allowed, plan)
        if _same_wish(setpoint, last.setpoint):
            level = planned.autonomy.level
            # What was written then need not be allowed now, e.g. after a doubt.
            planned = replace(planned, last=last.without_write())
            return planned, Decision(last.setpoint, last.allowed, level, write=None, coasting=True)
    observed = _observed(state, rules, cycle)
    observed, plan = _plan(observed, rules, cycle, cycle.telemetry)
    allowed = _allowed(observed, rules, cycle)
    validate_envelope(allowed, rules.limits)
    decision = replace(
        _decision(observed, rules, cycle, allowed, plan),
        external=observed.ledger.quarrel and not state.ledger.quarrel,
        effect_failed=observed.effect.failed and not state.effect.failed,
    )
    ledger = observed.ledger
    waits = rules.spare_s > 0 or ledger.failures > 0 or ledger.yielding
    waits = waits or not observed.ownership.may_write
    power_kw = _in_force_kw(ledger, decision, waits=waits)
    return replace(observed, power_kw=power_kw, decided_at=cycle.now, last=decision), decision


def fresh_for_s(state: ControlState, rules: SiteRules, write: Write, now: MonotonicS) -> float:
    """Real seconds in which a command may be sent; rest needs no fresh data."""
    max_age_s = rules.limits.max_age_s
    if state.seen is None or write.power_kw == 0:
        return max_age_s
    return state.seen.measured_at + max_age_s - now


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
        return _number(ledger.written_kw if ledger.held_kw is None else ledger.held_kw)
    return decision.setpoint.power_kw


def _number(power_kw: float | None) -> float:
    """A command register may hold what is no number; then nothing is known to be in force."""
    return power_kw if power_kw is not None and math.isfinite(power_kw) else 0.0


def _coasts(state: ControlState, rules: SiteRules, cycle: CycleInput) -> bool:
    fresh_enough = cycle.telemetry is None and _recent(state, rules, cycle.now)
    return fresh_enough and not cycle.stops.active


def _ownership(state: ControlState, rules: SiteRules, cycle: CycleInput) -> Ownership:
    return next_ownership(
        state.ownership, cycle.claim, cycle.doubt_at, cycle.telemetry, cycle.now, rules.ownership
    )


def _plan(
    state: ControlState, rules: SiteRules, cycle: CycleInput, telemetry: Telemetry | None
) -> tuple[ControlState, Following]:
    """The level of this cycle and what it proposes."""
    local_kw = None
    if rules.local is not None and telemetry is not None and cycle.stops_known:
        local_kw = rules.local.power_kw(telemetry, rules.limits)
    orders, now, market_now = cycle.orders, cycle.now, cycle.market_now
    found = sources(orders, now, market_now, local_kw=local_kw, stopped=cycle.stops.text())
    best, before = found.best(), state.autonomy
    autonomy = next_autonomy(before, best, found.cause(best), now, tenable=found.has(before.level))
    plan = follow(autonomy.level, found, orders, now, market_now, rules.speed)
    return replace(state, autonomy=autonomy), plan


def _allowed(state: ControlState, rules: SiteRules, cycle: CycleInput) -> Envelope:
    """The envelope; a stop is a reason to rest like any other, and comes first."""
    allowed = envelope(state.seen, rules.limits, _outlook(state, rules, cycle), state.trace)
    if not cycle.stops.active:
        return allowed
    stop = Narrowing(STOPPED, cycle.stops.text(), HOLD_BOUNDS)
    return Envelope(HOLD_BOUNDS, (stop, *allowed.narrowings))


def _recent(state: ControlState, rules: SiteRules, now: MonotonicS) -> bool:
    seen = state.seen
    return seen is not None and now - seen.measured_at <= rules.limits.max_age_s


def _observed(state: ControlState, rules: SiteRules, cycle: CycleInput) -> ControlState:
    if cycle.telemetry is None:
        return state
    ledger = observe(state.ledger, cycle.telemetry, rules.writes, cycle.stops)
    effect = watch(state.effect, ledger, cycle.telemetry, rules.limits, within_s=rules.effect_s)
    trace = observe_trace(state.trace, cycle.telemetry, rules.limits, rules.speed)
    return replace(state, seen=cycle.telemetry, ledger=ledger, effect=effect, trace=trace)


def _outlook(state: ControlState, rules: SiteRules, cycle: CycleInput) -> Outlook:
    """Look two cycles ahead, longer where the last cycles were slow.

    A cycle that came a little early still grants a whole cycle of ramp: cycles keep a grid. One
    that read nothing grants none. Where the device holds another command than ours, or none, power
    grows from there.
    """
    now = cycle.now
    since_s = rules.cycle_s if state.decided_at is None else now - state.decided_at
    pace_s = since_s if since_s <= rules.limits.max_age_s else rules.cycle_s
    ramp_s = min(max(since_s, rules.cycle_s), 2 * rules.cycle_s)
    return Outlook(
        now=now,
        since_last_s=0.0 if cycle.telemetry is None else ramp_s,
        horizon_s=HORIZON_CYCLES * max(rules.cycle_s, pace_s),
        speed=rules.speed,
        last_power_kw=_known_kw(state, rules.writes),
    )


def _known_kw(state: ControlState, rules: WriteRules) -> float:
    """What the device does as far as it tells: another command than ours, none, or ours."""
    ledger, written = state.ledger, state.ledger.written_kw
    if written is None or ledger.quarrel:
        return _number(ledger.held_kw)
    return state.power_kw if abs(state.power_kw - written) <= rules.change_kw else written


def _decision(
    state: ControlState, rules: SiteRules, cycle: CycleInput, allowed: Envelope, plan: Following
) -> Decision:
    wish_kw, setpoint = _setpoint(cycle, allowed, plan)
    ledger, power_kw = state.ledger, setpoint.power_kw
    write = decide_write(ledger, power_kw, allowed.bounds, cycle.now, rules.writes)
    decision = Decision(setpoint, allowed, state.autonomy.level, write, blockers(allowed, wish_kw))
    return decision if state.ownership.may_write else decision.without_write()


def _setpoint(cycle: CycleInput, allowed: Envelope, plan: Following) -> tuple[float, Setpoint]:
    """What is wished in kW, and what becomes of it."""
    planned = () if plan.proposal is None else (plan.proposal,)
    notes = {proposal.cause_id: plan.note for proposal in planned}
    live = () if cycle.stops.active else (*cycle.orders.proposals, *planned)
    choice = choose(live, cycle.now)
    return 0.0 if choice is None else choice.power_kw, arbitrate(
        choice, allowed, notes, idle=plan.note
    )


def _same_wish(one: Setpoint, other: Setpoint) -> bool:
    return (one.power_kw, one.source, one.cause_id) == (
        other.power_kw,
        other.source,
        other.cause_id,
    )
