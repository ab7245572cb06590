"""Small price series with a known shape."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from bessai.markets import PriceSeries

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def series(values: NDArray[np.float64], step: timedelta = HOUR) -> PriceSeries:
    """``values`` from 2024-01-01 on, in USD/MWh at node ``test``."""
    return PriceSeries("test", "test", "USD", "USD/MWh", START, step, values.copy())


def daily_shape(days: int, step: timedelta = HOUR, noise: float = 0.0) -> PriceSeries:
    """Zero from 12 to 20 UTC, 100 otherwise, 200 at 23 UTC, with seeded noise."""
    per_day = timedelta(days=1) // step
    hour = np.arange(days * per_day) * (24 / per_day) % 24
    values = np.where((hour >= 12) & (hour < 20), 0.0, np.where(hour >= 23, 200.0, 100.0))
    wobble = np.random.default_rng(7).normal(0.0, noise, values.size) if noise else 0.0
    return series(np.maximum(values + wobble, 0.0), step)
