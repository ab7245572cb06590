"""The question the fleet asks a dispatch model: one call carries many sites as columns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from bessai.model.forecast import QuantileForecast
from bessai.model.ids import SiteId
from bessai.model.schedule import Schedule

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DispatchRequest:
    """State and limits of ``n_sites`` batteries at ``market_now``; each column is ``(n_sites,)``.

    Attributes:
        market_now: Aware UTC; the part of the first step before it is gone.
        forecast: Prices of the horizon; its first step covers ``market_now``.
        currency: ISO 4217 code of the money in the answer.
        soc_pct, capacity_kwh: Where each battery stands.
        soc_min_pct, soc_max_pct: Band the plan must stay in, where it starts inside.
        max_charge_kw, max_discharge_kw: AC limits as positive numbers, grid limits included.
        round_trip_efficiency_pct: AC to AC, split evenly over both ways.
        wear_cost_per_mwh: Cost of each AC MWh discharged, in ``currency``.

    Raises:
        ValueError: a column has another length than ``site_ids``, or holds a NaN.
    """

    market_now: datetime
    forecast: QuantileForecast
    currency: str
    site_ids: tuple[SiteId, ...]
    soc_pct: Column
    capacity_kwh: Column
    soc_min_pct: Column
    soc_max_pct: Column
    max_charge_kw: Column
    max_discharge_kw: Column
    round_trip_efficiency_pct: Column
    wear_cost_per_mwh: Column

    def __post_init__(self) -> None:
        n = len(self.site_ids)
        for column in fields(self)[4:]:
            values: Column = getattr(self, column.name)
            if values.shape != (n,) or not bool(np.all(np.isfinite(values))):
                raise ValueError(f"{column.name} must hold {n} finite numbers")


@dataclass(frozen=True, slots=True)
class DispatchPlan:
    """One schedule per site of the request, in its order.

    Attributes:
        degraded: Why a lesser method or model answered, or None.
    """

    schedules: tuple[Schedule, ...]
    source: str
    degraded: str | None = None
