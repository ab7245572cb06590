"""A price forecast that knows when it was known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class QuantileForecast:
    """Quantiles of a price, one value per settlement step.

    Attributes:
        issued_at: When it was made; nothing published later was used.
        available_at: Publication time of the newest price that it used.
        start: Start of the first step, aware UTC.
        step: Length of a step.
        p10, p50, p90: Shape ``(n_steps,)`` in ``unit``, with p10 <= p50 <= p90.
        unit: e.g. ``USD/MWh``.
        source: Name and version of the model link that answered.
        degraded: Why a lesser link or fewer data answered, or None.
    """

    issued_at: datetime
    available_at: datetime
    start: datetime
    step: timedelta
    p10: NDArray[np.float64]
    p50: NDArray[np.float64]
    p90: NDArray[np.float64]
    unit: str
    source: str
    degraded: str | None = None

    def __post_init__(self) -> None:
        if not self.p10.shape == self.p50.shape == self.p90.shape or self.p50.ndim != 1:
            raise ValueError("p10, p50 and p90 must share one shape (n_steps,)")
        if not bool(np.all(self.p10 <= self.p50) and np.all(self.p50 <= self.p90)):
            raise ValueError("quantiles cross or are not numbers")
        if self.available_at > self.issued_at:
            raise ValueError("available_at is after issued_at: the forecast looks ahead")

    @property
    def n_steps(self) -> int:
        """Number of settlement steps."""
        return int(self.p50.shape[0])
