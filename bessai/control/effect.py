"""Whether the battery does what was written: a register that reads back is not yet power."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from bessai.control.ledger import Ledger
from bessai.model import Bounds, SiteLimits, Telemetry
from bessai.units import MonotonicS

EFFECT_S: Final = 10.0
"""Real seconds a device may take until its power follows a new command, where no profile says."""

TOLERANCE_SHARE: Final = 0.03
TOLERANCE_OF_COMMAND: Final = 0.10
TAPER_PCT: Final = 5.0
"""This near to a limit of the state of charge the device may taper or cut off by itself."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Progress of one command.

    Attributes:
        target_kw: The command watched, or None before the first.
        since: Control time at which the power was first seen not to follow; None while it does.
        failed: It was waited for too long.
    """

    target_kw: float | None = None
    since: MonotonicS | None = None
    failed: bool = False


def watch(
    effect: Effect,
    ledger: Ledger,
    telemetry: Telemetry,
    limits: SiteLimits,
    *,
    within_s: float = EFFECT_S,
) -> Effect:
    """The next state of the watch after a fresh read."""
    target = ledger.written_kw
    if target is None or ledger.quarrel or telemetry.measured_at <= ledger.written_at:
        return Effect(target)
    watched = effect.target_kw
    if watched is None or abs(target - watched) > tolerance_kw(target, limits):
        effect = Effect(target)
    if follows(target, telemetry, limits):
        return Effect(effect.target_kw)
    since = telemetry.measured_at if effect.since is None else effect.since
    return Effect(effect.target_kw, since, telemetry.measured_at - since >= within_s)


def follows(target_kw: float, telemetry: Telemetry, limits: SiteLimits) -> bool:
    """Whether the measured power is the command, or less for a reason the device shows."""
    measured = telemetry.active_power_kw
    if measured is None:
        return True
    tolerance = tolerance_kw(target_kw, limits)
    expected = _device_bounds(telemetry, limits).clamp(target_kw)
    if abs(measured - expected) <= tolerance:
        return True
    between = min(0.0, target_kw) - tolerance <= measured <= max(0.0, target_kw) + tolerance
    return between and _near_limit(target_kw, telemetry, limits)


def tolerance_kw(target_kw: float, limits: SiteLimits) -> float:
    """How far power may be off a command before it counts as not following."""
    peak = max(limits.max_charge_kw, limits.max_discharge_kw)
    return max(TOLERANCE_SHARE * peak, TOLERANCE_OF_COMMAND * abs(target_kw))


def _device_bounds(telemetry: Telemetry, limits: SiteLimits) -> Bounds:
    charge, discharge = telemetry.charge_limit_kw, telemetry.discharge_limit_kw
    return Bounds(
        -_limit_kw(charge, limits.max_charge_kw), _limit_kw(discharge, limits.max_discharge_kw)
    )


def _limit_kw(told_kw: float | None, own_kw: float) -> float:
    """What the device tells, where that is a number."""
    return own_kw if told_kw is None or not math.isfinite(told_kw) else max(0.0, told_kw)


def _near_limit(target_kw: float, telemetry: Telemetry, limits: SiteLimits) -> bool:
    soc = telemetry.soc_pct
    if soc is None:
        return True
    if target_kw > 0:
        return soc <= limits.soc_min_pct + TAPER_PCT
    return soc >= limits.soc_max_pct - TAPER_PCT
