"""Limits of the grid connection, which other flows of the site share with the battery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bessai.model import Bounds, Narrowing, SiteLimits, Telemetry

GRID_CODES: Final = frozenset({"export_limit", "import_limit", "missing_meter"})


def grid_narrowings(telemetry: Telemetry, limits: SiteLimits) -> Iterator[Narrowing]:
    """Keep ``battery + other`` inside the connection, where other = grid - battery power.

    Without a meter the other flow is unknown: a limit tighter than the nameplate then bounds
    the battery by itself, and the reason says so.
    """
    grid, battery = telemetry.grid_power_kw, telemetry.active_power_kw
    metered = grid is not None and battery is not None
    other = grid - battery if grid is not None and battery is not None else 0.0
    full_in, full_out = limits.max_charge_kw, limits.max_discharge_kw
    upper, lower = limits.export_limit_kw - other, -limits.import_limit_kw - other
    if upper < full_out:
        text = f"export limit {limits.export_limit_kw:g} kW"
        yield _reason("export_limit", text, other, metered, Bounds(min(-full_in, upper), upper))
    if lower > -full_in:
        text = f"import limit {limits.import_limit_kw:g} kW"
        yield _reason("import_limit", text, other, metered, Bounds(lower, max(full_out, lower)))


def apply_grid(battery: Bounds, grid: tuple[Narrowing, ...]) -> Bounds:
    """Narrow the battery's bounds; where they miss a grid limit, take the nearest point."""
    for reason in grid:
        nearest = battery.clamp(reason.bounds.clamp(0.0))
        battery = battery.narrow(reason.bounds) or Bounds(nearest, nearest)
    return battery


def _reason(code: str, text: str, other_kw: float, metered: bool, bounds: Bounds) -> Narrowing:
    if not metered:
        return Narrowing("missing_meter", f"{text}, and the meter is not available", bounds)
    return Narrowing(code, f"{text} with {other_kw:+.2f} kW of other flow", bounds)
