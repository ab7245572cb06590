"""From telemetry and limits to the power that is allowed now, with every reason for less.

The envelope is the last word of a site: whatever a fleet, a market or a model proposes is
clamped into it. It is a pure function, so each rule can be tested as a row of a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bessai.errors import SafetyError
from bessai.model import Bounds, Narrowing, SiteLimits, Telemetry
from bessai.model.power import HOLD_BOUNDS
from bessai.safety.charge import soc_narrowings
from bessai.safety.derating import temperature_narrowings
from bessai.safety.grid import GRID_CODES, apply_grid, grid_narrowings
from bessai.safety.holds import hold_reasons
from bessai.safety.outlook import Outlook
from bessai.safety.plausible import OVER_CODE, Trace, over_note, plausible_holds, unseen_pct

NOTHING_KNOWN: Final = Trace()

DIRECTION_CODES: Final = frozenset(
    {"soc_low", "soc_high", "soc_lookahead", "backup_reserve", "ramp"}
    | {"charge_derating", "discharge_derating"}
    | {"device_charge_limit", "device_discharge_limit"}
    | {"missing_charge_limit", "missing_discharge_limit"}
    | {OVER_CODE}
)
"""Reasons that limit a direction, or nothing; every code outside this set and the grid's holds."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is allowed now.

    0 kW is always inside, except where a grid limit with other flows at the connection asks
    for power: then it is the nearest power that the battery limits allow.
    """

    bounds: Bounds
    narrowings: tuple[Narrowing, ...]

    @property
    def codes(self) -> frozenset[str]:
        """Codes of all reasons."""
        return frozenset(reason.code for reason in self.narrowings)

    @property
    def holds(self) -> tuple[Narrowing, ...]:
        """The reasons for which the battery must rest."""
        return tuple(r for r in self.narrowings if r.code not in DIRECTION_CODES | GRID_CODES)


def envelope(
    telemetry: Telemetry | None,
    limits: SiteLimits,
    outlook: Outlook,
    trace: Trace = NOTHING_KNOWN,
) -> Envelope:
    """Derive the allowed power; missing, old or impossible values never count as safe.

    Args:
        telemetry: The newest read, or None where there is none.
        limits: What the site file allows.
        outlook: Control time, look-ahead and the setpoint in force.
        trace: What earlier reads tell, with ``telemetry`` observed already.
    """
    holds = hold_reasons(telemetry, limits, outlook, plausible_holds(trace))
    if holds or telemetry is None:
        return Envelope(HOLD_BOUNDS, holds)
    battery = tuple(_battery_narrowings(telemetry, limits, outlook, trace))
    allowed = nameplate(limits)
    for reason in battery:
        allowed = allowed.narrow(reason.bounds) or HOLD_BOUNDS
    grid = tuple(grid_narrowings(telemetry, limits))
    return Envelope(apply_grid(allowed, grid), (*battery, *grid))


def nameplate(limits: SiteLimits) -> Bounds:
    """The widest bounds a site ever has."""
    return Bounds(-limits.max_charge_kw, limits.max_discharge_kw)


def validate_envelope(result: Envelope, limits: SiteLimits) -> None:
    """Check the invariants that every envelope must keep.

    Raises:
        SafetyError: wider than the nameplate or than a reason that does not concern the grid,
            narrower than the nameplate without a reason, power in spite of a reason to hold, or
            0 kW excluded for another reason than the grid limits.
    """
    bounds, full = result.bounds, nameplate(limits)
    _check_reasons(result, full)
    if bounds.lower_kw < full.lower_kw or bounds.upper_kw > full.upper_kw:
        raise SafetyError("envelope is wider than the nameplate", value=str(bounds))
    if result.holds and bounds != HOLD_BOUNDS:
        raise SafetyError(f"envelope allows power in spite of {result.holds[0].code}")
    if not bounds.contains(0.0) and not result.codes & GRID_CODES:
        raise SafetyError("envelope excludes 0 kW without a grid limit", value=str(bounds))


def _check_reasons(result: Envelope, full: Bounds) -> None:
    bounds, limiting = result.bounds, tuple(r for r in result.narrowings if r.code != OVER_CODE)
    if bounds != full and not limiting:
        raise SafetyError("envelope is narrow without a reason", value=str(bounds))
    for reason in limiting:
        limit = reason.bounds
        wider = bounds.lower_kw < limit.lower_kw or bounds.upper_kw > limit.upper_kw
        if wider and reason.code not in GRID_CODES:
            raise SafetyError(f"envelope is wider than {reason.code} allows", value=str(bounds))


def _battery_narrowings(
    telemetry: Telemetry, limits: SiteLimits, outlook: Outlook, trace: Trace
) -> Iterator[Narrowing]:
    unseen = unseen_pct(trace, telemetry.soc_pct)
    yield from soc_narrowings(telemetry, limits, outlook, unseen)
    yield from temperature_narrowings(telemetry, limits)
    yield from _device_limits(telemetry, limits)
    yield from _ramp(limits, outlook)
    yield from over_note(trace, outlook.now, nameplate(limits))


def _device_limits(telemetry: Telemetry, limits: SiteLimits) -> Iterator[Narrowing]:
    full = nameplate(limits)
    charge, discharge = telemetry.charge_limit_kw, telemetry.discharge_limit_kw
    if charge is None:
        text = "the device does not tell how much it can charge"
        yield Narrowing("missing_charge_limit", text, Bounds(0.0, full.upper_kw))
    elif charge < limits.max_charge_kw:
        text = f"the device accepts at most {charge:g} kW"
        yield Narrowing("device_charge_limit", text, Bounds(-charge, full.upper_kw))
    if discharge is None:
        text = "the device does not tell how much it can discharge"
        yield Narrowing("missing_discharge_limit", text, Bounds(full.lower_kw, 0.0))
    elif discharge < limits.max_discharge_kw:
        text = f"the device delivers at most {discharge:g} kW"
        yield Narrowing("device_discharge_limit", text, Bounds(full.lower_kw, discharge))


def _ramp(limits: SiteLimits, outlook: Outlook) -> Iterator[Narrowing]:
    growth_kw = limits.ramp_kw_per_s * max(0.0, outlook.since_last_s)
    full, last = nameplate(limits), outlook.last_power_kw
    lower = max(full.lower_kw, min(0.0, last) - growth_kw)
    upper = min(full.upper_kw, max(0.0, last) + growth_kw)
    if lower > full.lower_kw or upper < full.upper_kw:
        text = f"ramp of {limits.ramp_kw_per_s:g} kW/s"
        yield Narrowing("ramp", text, Bounds(min(lower, 0.0), max(upper, 0.0)))
