"""Totals and flexibility over the columns; a hundred thousand sites take milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bessai.fleet.state import STATES, FleetState

Column = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Flexibility:
    """What the sites could do now, as positive numbers; up is more export.

    Attributes:
        up_kw, down_kw: Room between the present power and the envelope.
        energy_up_kwh: AC energy that can be exported down to the lower SoC limits.
        energy_down_kwh: AC energy that can be taken up to the upper SoC limits.
    """

    up_kw: float
    down_kw: float
    energy_up_kwh: float
    energy_down_kwh: float


@dataclass(frozen=True, slots=True)
class FleetTotals:
    """Sums over the sites that report now; None where no site knows the number.

    Attributes:
        soc_pct: Weighted by capacity.
        flexibility: Over the sites with a fresh reading and an envelope.
    """

    sites_total: int
    sites_reporting: int
    sites_by_state: dict[str, int]
    capacity_kwh: float | None
    energy_kwh: float | None
    soc_pct: float | None
    active_power_kw: float | None
    grid_power_kw: float | None
    flexibility: Flexibility | None


def aggregate(state: FleetState) -> FleetTotals:
    """Totals of the fleet as its columns stand."""
    reporting = state.reporting()
    counts = np.bincount(state.state_code, minlength=len(STATES))
    energy_kwh = state.capacity_kwh * state.soc_pct / 100.0
    both = reporting & np.isfinite(energy_kwh)
    stored, of = _sum(energy_kwh, both), _sum(state.capacity_kwh, both)
    return FleetTotals(
        sites_total=len(state.site_ids),
        sites_reporting=int(reporting.sum()),
        sites_by_state={str(s): int(n) for s, n in zip(STATES, counts, strict=True) if n},
        capacity_kwh=_sum(state.capacity_kwh, reporting),
        energy_kwh=stored,
        soc_pct=100.0 * stored / of if stored is not None and of else None,
        active_power_kw=_sum(state.active_power_kw, reporting),
        grid_power_kw=_sum(state.grid_power_kw, reporting),
        flexibility=flexibility(state),
    )


def flexibility(state: FleetState) -> Flexibility | None:
    """Flexibility of the sites whose power, envelope and energy are known; None without one.

    The round trip's loss is split evenly over both ways. A direction that the envelope closes
    has no energy either. A stopped site, and one that may not write to its device, has none.
    """
    power, lower, upper = state.active_power_kw, state.lower_kw, state.upper_kw
    known = state.plannable() & state.writes
    known = known & np.isfinite(power) & np.isfinite(lower) & np.isfinite(upper)
    if not known.any():
        return None
    one_way = np.sqrt(state.round_trip_efficiency_pct / 100.0)
    per_pct = state.capacity_kwh / 100.0
    above = np.maximum(state.soc_pct - state.soc_min_pct, 0.0) * per_pct * one_way
    below = np.maximum(state.soc_max_pct - state.soc_pct, 0.0) * per_pct / one_way
    with np.errstate(invalid="ignore"):
        may_export, may_import = known & (upper > 0), known & (lower < 0)
    return Flexibility(
        up_kw=float(np.maximum(upper - power, 0.0)[known].sum()),
        down_kw=float(np.maximum(power - lower, 0.0)[known].sum()),
        energy_up_kwh=float(above[may_export].sum()),
        energy_down_kwh=float(below[may_import].sum()),
    )


def _sum(column: Column, mask: Mask) -> float | None:
    known = mask & np.isfinite(column)
    return float(column[known].sum()) if known.any() else None
