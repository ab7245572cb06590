"""Dispatch requests with few words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from bessai.model import DispatchRequest, QuantileForecast, SiteId

NOON = datetime(2024, 5, 20, 12, tzinfo=UTC)


def sure_forecast(prices: Sequence[float], degraded: str | None = None) -> QuantileForecast:
    """A forecast without spread, hourly from noon."""
    values = np.array(prices, dtype=np.float64)
    return QuantileForecast(
        issued_at=NOON,
        available_at=NOON,
        start=NOON,
        step=timedelta(hours=1),
        p10=values,
        p50=values,
        p90=values,
        unit="USD/MWh",
        source="test",
        degraded=degraded,
    )


def request(
    prices: Sequence[float],
    *,
    late_min: float = 0.0,
    degraded: str | None = None,
    **columns: float | Sequence[float],
) -> DispatchRequest:
    """One or more 100 kWh, 50 kW sites of 100 % efficiency without wear, unless said otherwise."""
    values: dict[str, float | Sequence[float]] = {
        "soc_pct": 50.0,
        "capacity_kwh": 100.0,
        "soc_min_pct": 10.0,
        "soc_max_pct": 90.0,
        "max_charge_kw": 50.0,
        "max_discharge_kw": 50.0,
        "round_trip_efficiency_pct": 100.0,
        "wear_cost_per_mwh": 0.0,
    }
    values |= columns
    n = max(np.atleast_1d(value).size for value in values.values())
    return DispatchRequest(
        market_now=NOON + timedelta(minutes=late_min),
        forecast=sure_forecast(prices, degraded),
        currency="USD",
        site_ids=tuple(SiteId(f"site-{k}") for k in range(n)),
        **{name: np.broadcast_to(np.asarray(v, float), (n,)) for name, v in values.items()},
    )
