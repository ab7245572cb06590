"""Prices as they were known at one moment: the only input of a price model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PastPrices:
    """Settled prices that were published by ``as_of``; a model that sees no more cannot look ahead.

    Attributes:
        as_of: Aware UTC market time of the question.
        available_at: Publication time of the newest price in ``values``.
        start: Start of the first step, aware UTC.
        step: Length of a step.
        values: Shape ``(n_steps,)`` in ``unit``; a missing price is NaN, never 0.
        unit: e.g. ``USD/MWh``.
        node: Market node the prices belong to.

    Raises:
        ValueError: the newest price was published after ``as_of``.
    """

    as_of: datetime
    available_at: datetime
    start: datetime
    step: timedelta
    values: NDArray[np.float64]
    unit: str
    node: str

    def __post_init__(self) -> None:
        if self.values.ndim != 1:
            raise ValueError("values must have the shape (n_steps,)")
        if self.available_at > self.as_of:
            raise ValueError("available_at is after as_of: the prices look ahead")

    @property
    def end(self) -> datetime:
        """End of the last step."""
        return self.start + self.step * int(self.values.shape[0])
