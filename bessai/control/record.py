"""What a site tells about itself: state, error line and snapshot, with no stale number in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from bessai.control.arbitrate import HOLD_SOURCE
from bessai.control.link import Link
from bessai.control.step import STOPPED, ControlState, Decision
from bessai.model import (
    AutonomyLevel,
    Bounds,
    Narrowing,
    Setpoint,
    SiteLimits,
    SiteReading,
    SiteState,
    Telemetry,
)
from bessai.safety import PLAUSIBLE_CODES, usable_capacity_kwh
from bessai.units import MonotonicS

FAULT_CODES: Final = PLAUSIBLE_CODES | {"alarm", "battery_status", "inverter_status", "implausible"}
"""Reasons to hold that are faults of the equipment."""


@dataclass(frozen=True, slots=True)
class Record:
    """The outcome of the last cycle, from which snapshots are made.

    Attributes:
        telemetry: What was read in that cycle, or None.
        setpoint: What was decided, or None where nothing can be commanded.
    """

    state: SiteState = SiteState.STARTING
    autonomy: AutonomyLevel = AutonomyLevel.HOLD
    telemetry: Telemetry | None = None
    setpoint: Setpoint | None = None
    envelope: Bounds | None = None
    narrowings: tuple[Narrowing, ...] = ()
    error: str | None = None


def record(
    link: Link,
    decision: Decision,
    control: ControlState,
    telemetry: Telemetry | None,
    read_error: str | None,
) -> Record:
    """Sum up one cycle."""
    owner = control.ownership
    state = site_state(link, decision, owns=owner.may_write)
    commands = owner.may_write and state not in (SiteState.UNREACHABLE, SiteState.STARTING)
    reads_only = None if owner.reason is None else f"only reads: {owner.reason}"
    return Record(
        state=state,
        autonomy=decision.autonomy,
        telemetry=telemetry,
        setpoint=decision.setpoint if commands else None,
        envelope=decision.allowed.bounds,
        narrowings=decision.allowed.narrowings,
        error=link.error
        or reads_only
        or _read_problem(read_error, control)
        or _problem(decision, control),
    )


def site_state(link: Link, decision: Decision, *, owns: bool) -> SiteState:
    """Where the site stands after a cycle."""
    if not link.connected:
        return SiteState.UNREACHABLE if link.error else SiteState.STARTING
    holds = decision.allowed.holds
    if any(reason.code in FAULT_CODES for reason in holds):
        return SiteState.FAULT
    if holds or not owns or decision.setpoint.source == HOLD_SOURCE:
        return SiteState.HOLDING
    return SiteState.RUNNING


def reading(telemetry: Telemetry, limits: SiteLimits, now: MonotonicS) -> SiteReading | None:
    """The numbers of a read that is not stale yet; impossible ones are left out."""
    age_s = now - telemetry.measured_at
    if age_s > limits.max_age_s:
        return None
    soc = _finite(telemetry.soc_pct)
    capacity = _finite(usable_capacity_kwh(telemetry, limits))
    return SiteReading(
        age_s=max(0.0, age_s),
        soc_pct=soc if soc is not None and 0 <= soc <= 100 else None,
        capacity_kwh=capacity if capacity is not None and capacity > 0 else None,
        active_power_kw=_finite(telemetry.active_power_kw),
        grid_power_kw=_finite(telemetry.grid_power_kw),
        temperature_c=_finite(telemetry.temperature_c),
        exported_wh=telemetry.exported_wh,
        imported_wh=telemetry.imported_wh,
        battery_status=telemetry.battery_status,
        alarms=telemetry.alarms,
    )


def _read_problem(read_error: str | None, control: ControlState) -> str | None:
    if read_error is None or control.write_error is None:
        return read_error
    return f"{read_error}; command not accepted: {control.write_error}"


def _problem(decision: Decision, control: ControlState) -> str | None:
    # A stop is wanted, and shown as what it is; what else is wrong still counts.
    faults = [reason.text for reason in decision.allowed.holds if reason.code != STOPPED]
    if faults:
        return "holding: " + "; ".join(faults)
    if control.write_error is not None:
        return f"command not accepted: {control.write_error}"
    if control.effect.failed and control.seen is not None:
        return _not_following(control.seen, control)
    if control.ledger.quarrel:
        answer = "; left alone" if control.ledger.yielding else ""
        return "somebody else controls the inverter: " + external_text(control) + answer
    return None


def external_text(control: ControlState) -> str:
    """What the device holds instead of the command of this site."""
    held, ours = control.ledger.held_kw, control.ledger.written_kw
    shown = "no forced command" if held is None else f"{held:g} kW"
    return f"it holds {shown}" + ("" if ours is None else f", {ours:.2f} kW was commanded")


def _not_following(seen: Telemetry, control: ControlState) -> str:
    target = control.effect.target_kw or 0.0
    return f"battery does not follow: {target:.2f} kW commanded, {seen.active_power_kw} kW measured"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
