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
from bessai.safety.grid import GRID_CODES, apply_grid, grid_narrowings
from bessai.safety.holds import hold_reasons
from bessai.safety.outlook import Outlook

DERATING_K: Final = 5.0
"""Power falls linearly to 0 over the last 5 K before a temperature limit."""

DIRECTION_CODES: Final = frozenset(
    {"soc_low", "soc_high", "soc_lookahead", "temperature_derating", "ramp"}
    | {"device_charge_limit", "device_discharge_limit"}
    | {"missing_charge_limit", "missing_discharge_limit"}
)
"""Reasons that limit a direction; every code outside this set and the grid's holds the battery."""


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


def envelope(telemetry: Telemetry | None, limits: SiteLimits, outlook: Outlook) -> Envelope:
    """Derive the allowed power; missing, old or impossible values never count as safe.

    Args:
        telemetry: The newest read, or None where there is none.
        limits: What the site file allows.
        outlook: Control time, look-ahead and the setpoint in force.
    """
    holds = hold_reasons(telemetry, limits, outlook)
    if holds or telemetry is None:
        return Envelope(HOLD_BOUNDS, holds)
    battery = tuple(_battery_narrowings(telemetry, limits, outlook))
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
        SafetyError: wider than the nameplate, power in spite of a reason to hold, or 0 kW
            excluded for another reason than the grid limits.
    """
    bounds, full = result.bounds, nameplate(limits)
    if bounds.lower_kw < full.lower_kw or bounds.upper_kw > full.upper_kw:
        raise SafetyError("envelope is wider than the nameplate", value=str(bounds))
    if result.holds and bounds != HOLD_BOUNDS:
        raise SafetyError(f"envelope allows power in spite of {result.holds[0].code}")
    if not bounds.contains(0.0) and not result.codes & GRID_CODES:
        raise SafetyError("envelope excludes 0 kW without a grid limit", value=str(bounds))


def _battery_narrowings(
    telemetry: Telemetry, limits: SiteLimits, outlook: Outlook
) -> Iterator[Narrowing]:
    yield from soc_narrowings(telemetry, limits, outlook)
    yield from _temperature(telemetry, limits)
    yield from _device_limits(telemetry, limits)
    yield from _ramp(limits, outlook)


def _temperature(telemetry: Telemetry, limits: SiteLimits) -> Iterator[Narrowing]:
    celsius = telemetry.temperature_c
    if celsius is None:
        return
    margin_k = min(celsius - limits.temperature_min_c, limits.temperature_max_c - celsius)
    share = max(0.0, margin_k / DERATING_K)
    if share < 1.0:
        full = nameplate(limits)
        text = f"battery at {celsius:g} °C, derated to {share:.0%}"
        bounds = Bounds(full.lower_kw * share, full.upper_kw * share)
        yield Narrowing("temperature_derating", text, bounds)


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
