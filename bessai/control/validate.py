"""What must be true of a site's state after every cycle, whatever happened."""

from __future__ import annotations

import math

from bessai.control.ledger import CONTAINED_KW, WriteKind
from bessai.control.step import STOPPED, ControlState, Decision, SiteRules
from bessai.errors import SafetyError
from bessai.model import AutonomyLevel
from bessai.safety import nameplate


def validate_state(state: ControlState, rules: SiteRules) -> None:
    """Check the invariants of the control core.

    Raises:
        SafetyError: one of them is broken; it names the rule and the value.
    """
    full, ledger = nameplate(rules.limits), state.ledger
    for name, power_kw in (("written_kw", ledger.written_kw), ("power_kw", state.power_kw)):
        if power_kw is not None and not math.isfinite(power_kw):
            raise SafetyError("is not a number", field=name, value=str(power_kw))
    if ledger.written_kw is not None and not full.contains(ledger.written_kw, CONTAINED_KW):
        raise SafetyError(
            "is beyond the nameplate", field="written_kw", value=str(ledger.written_kw)
        )
    owner = state.ownership
    if owner.may_write and (owner.reason is not None or not owner.proven):
        raise SafetyError("owns the site without proof", field="tenure", value=str(owner))
    if not owner.may_write and owner.reason is None:
        raise SafetyError("only reads without a reason", field="tenure", value=str(owner))
    if state.last is not None:
        validate_decision(state, state.last)


def validate_decision(state: ControlState, decision: Decision) -> None:
    """Check one decision against the state it left.

    Raises:
        SafetyError: one of the invariants is broken.
    """
    bounds, write = decision.allowed.bounds, decision.write
    if not bounds.contains(decision.setpoint.power_kw, CONTAINED_KW):
        raise SafetyError("is outside its bounds", field="setpoint", value=str(decision.setpoint))
    if not decision.setpoint.reason:
        raise SafetyError("has no reason", field="setpoint", value=str(decision.setpoint))
    stopped = STOPPED in decision.allowed.codes
    if stopped and bounds.lower_kw != bounds.upper_kw:
        raise SafetyError("allows power in spite of a stop", field="bounds", value=str(bounds))
    if stopped and decision.autonomy is not AutonomyLevel.SAFE_STOP:
        raise SafetyError("is not a safe stop", field="autonomy", value=decision.autonomy.value)
    if write is None:
        return
    if not bounds.contains(write.power_kw, CONTAINED_KW):
        raise SafetyError("is outside the bounds", field="write", value=str(write))
    if not state.ownership.may_write:
        raise SafetyError("by a process that only reads", field="write", value=str(write))
    if state.ledger.yielding and write.kind is not WriteKind.SAFETY:
        raise SafetyError("while the site yields", field="write", value=str(write))
