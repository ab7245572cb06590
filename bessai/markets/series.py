"""Prices on a regular grid: the shared base of the drop-in sources."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from bessai.units import ensure_utc


@dataclass(frozen=True, slots=True)
class PriceSeries:
    """Prices of one node, one value per settlement step; implements ``PriceSource``.

    Attributes:
        start: Start of the first step, aware UTC.
        values: Shape ``(n_steps,)`` in ``unit``; a missing price is NaN, never 0.

    Raises:
        ValueError: ``start`` is naive, ``values`` is not one-dimensional or holds an infinity.
    """

    market: str
    node: str
    currency: str
    unit: str
    start: datetime
    step: timedelta
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        ensure_utc(self.start)
        if self.values.ndim != 1 or bool(np.any(np.isinf(self.values))):
            raise ValueError("values must have the shape (n_steps,) and hold no infinity")
        self.values.setflags(write=False)

    @property
    def coverage(self) -> tuple[datetime, datetime]:
        """``[start, end)`` for which the source holds prices, aware UTC."""
        return self.start, self.start + self.step * int(self.values.size)

    def prices_between(self, start: datetime, end: datetime) -> NDArray[np.float64]:
        """Prices of the steps that overlap ``[start, end)``; NaN where missing or not covered."""
        first = self._index(start)
        last = -((self.start - ensure_utc(end)) // self.step)
        prices = np.full(max(last - first, 0), math.nan)
        low, high = max(first, 0), min(last, self.values.size)
        if low < high:
            prices[low - first : high - first] = self.values[low:high]
        return prices

    def price_at(self, moment: datetime) -> float | None:
        """The price of the step that covers ``moment``, or None where it is missing."""
        index = self._index(moment)
        if not 0 <= index < self.values.size:
            return None
        price = float(self.values[index])
        return None if math.isnan(price) else price

    def _index(self, moment: datetime) -> int:
        return (ensure_utc(moment) - self.start) // self.step
