"""Seasonal quantiles for many origins at once: the same arithmetic in training and serving.

The price of a step is described by the prices of the same time of day on earlier days, newer
days counting more, shifted by how high the last day was against its own description.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bessai.forecast.params import SeasonalParams

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PROBABILITIES = (0.1, 0.5, 0.9)
SHRINK = 0.15
RATIO_RANGE = (0.4, 2.5)
HOUR_S = 3600
DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Grid:
    """A price history on a regular grid.

    Attributes:
        values: Shape ``(n_steps,)``; NaN where missing.
        start_s: Unix time of the first step's start.
        step_s: Length of a step; divides a day.
    """

    values: Floats
    start_s: int
    step_s: int

    @property
    def steps_per_day(self) -> int:
        """Settlement steps in 24 hours."""
        return DAY_S // self.step_s

    def hour_of_day(self, index: Ints) -> Ints:
        """UTC hour, 0 to 23, of steps."""
        return (self.start_s + index * self.step_s) % DAY_S // HOUR_S

    def day_type(self, index: Ints, offset_h: float) -> Ints:
        """0 for a work day, 1 for Saturday, 2 for Sunday, after shifting UTC by ``offset_h``."""
        shifted = self.start_s + index * self.step_s + int(offset_h * HOUR_S)
        # 1970-01-01 was a Thursday: with Monday as 0, day 0 is weekday 3.
        return np.maximum((shifted // DAY_S + 3) % 7 - 4, 0)


def raw_quantiles(
    grid: Grid, newest: Ints, first: Ints, n_steps: int, params: SeasonalParams
) -> Floats:
    """Quantiles before calibration.

    Args:
        grid: The history; nothing after ``newest`` is looked at.
        newest: Shape ``(n_origins,)``, index of the newest published step per origin.
        first: Shape ``(n_origins,)``, index of the first step to describe; after ``newest``.
        n_steps: Steps per origin.
        params: The model.

    Returns:
        Shape ``(3, n_origins, n_steps)``: p10, p50, p90; NaN where no day of the window has
        a price at that time of day.
    """
    target = first[:, None] + np.arange(n_steps)
    lead_h = (target - newest[:, None]) * (grid.step_s / HOUR_S)
    seasonal = _seasonal(grid, newest, target, params)
    level, now = _log_ratios(grid, newest, params)
    level_gain = params.level_gain * np.exp(-lead_h / params.level_decay_h)
    now_gain = params.now_gain * np.exp(-lead_h / params.now_decay_h)
    rest = now - params.level_gain * level
    shifted: Floats = seasonal * np.exp(level[:, None] * level_gain + rest[:, None] * now_gain)
    return shifted


def spread(quantiles: Floats) -> Floats:
    """Scale of a margin: the raw band's width, and a little of the day's level where it is 0."""
    level = np.nanmean(np.abs(quantiles[1]), axis=-1, keepdims=True)
    width: Floats = quantiles[2] - quantiles[0] + 0.05 * level
    return width


def calibrated(quantiles: Floats, hours: Ints, params: SeasonalParams) -> Floats:
    """Apply the margins and the floor; the result is monotone.

    Args:
        quantiles: Shape ``(3, n_origins, n_steps)``, raw.
        hours: Shape ``(n_origins, n_steps)``, UTC hour of day of each step.
        params: The model.

    Source: conformalized quantile regression, asymmetrical margins; Romano, Patterson and
        Candes 2019, arXiv:1905.03222.
    """
    scale = spread(quantiles)
    low = quantiles[0] - np.asarray(params.margin_low)[hours] * scale
    high = quantiles[2] + np.asarray(params.margin_high)[hours] * scale
    middle = quantiles[1]
    banded = np.stack([np.minimum(low, middle), middle, np.maximum(high, middle)])
    return banded if params.floor is None else np.maximum(banded, params.floor)


def _seasonal(grid: Grid, newest: Ints, target: Ints, params: SeasonalParams) -> Floats:
    # Lags reach back from the target in whole days; a far target has few or no known near ones,
    # so the window starts at the newest day that any origin can know.
    per_day = grid.steps_per_day
    ahead_days = int(np.max((target - newest[:, None] - 1) // per_day)) if target.size else 0
    lags = np.arange(1, params.window_days + ahead_days + 1)
    source = target[..., None] - lags * per_day
    known = (source <= newest[:, None, None]) & (source >= 0)
    prices = np.where(known, grid.values[np.clip(source, 0, grid.values.size - 1)], np.nan)
    same_type = (
        grid.day_type(source, params.weekday_offset_h)
        == grid.day_type(target, params.weekday_offset_h)[..., None]
    )
    weights = 0.5 ** (lags / params.half_life_days) * np.where(
        same_type, 1, params.other_day_weight
    )
    return weighted_quantiles(prices, weights)


def _log_ratios(grid: Grid, newest: Ints, params: SeasonalParams) -> tuple[Floats, Floats]:
    """Log of (last day, newest price) over the model's own median; ``(n_origins,)`` each."""
    per_day = grid.steps_per_day
    recent = newest[:, None] - np.arange(per_day)[::-1]
    before = recent[:, 0] - 1
    expected = _seasonal(grid, before, recent, params)[1]
    actual = np.where(recent >= 0, grid.values[np.clip(recent, 0, None)], np.nan)
    usable = np.isfinite(actual) & np.isfinite(expected)
    actual, expected = np.where(usable, actual, 0.0), np.where(usable, expected, 0.0)
    # Shrinking by a share of the day's level keeps the ratio free of units and safe near 0.
    count = np.maximum(usable.sum(axis=1), 1)
    shrink = SHRINK * np.abs(expected).sum(axis=1) / count + 1e-9
    level = _log_ratio(actual.sum(axis=1), expected.sum(axis=1), count * shrink)
    now = _log_ratio(actual[:, -1], expected[:, -1], shrink)
    return level, np.where(usable[:, -1], now, params.level_gain * level)


def _log_ratio(actual: Floats, expected: Floats, shrink: Floats) -> Floats:
    ratio = (np.maximum(actual, 0) + shrink) / (np.maximum(expected, 0) + shrink)
    logs: Floats = np.log(np.clip(ratio, *RATIO_RANGE))
    return logs


def weighted_quantiles(values: Floats, weights: Floats) -> Floats:
    """Quantiles 0.1, 0.5 and 0.9 over the last axis, interpolated; NaN values do not count.

    Returns:
        Shape ``(3, ...)``; NaN where all values are NaN.
    """
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, -1)
    share = np.where(np.isfinite(ordered), np.take_along_axis(weights, order, -1), 0.0)
    total = share.sum(axis=-1, keepdims=True)
    position = (np.cumsum(share, axis=-1) - 0.5 * share) / np.where(total > 0, total, 1.0)
    position = np.where(np.isfinite(ordered), position, 2.0)
    last = np.maximum(np.isfinite(ordered).sum(axis=-1) - 1, 0)
    return np.stack([_interpolate(ordered, position, last, p) for p in PROBABILITIES])


def _interpolate(ordered: Floats, position: Floats, last: Ints, probability: float) -> Floats:
    above = np.minimum((position < probability).sum(axis=-1), last)
    below = np.maximum(above - 1, 0)
    x0, x1 = _pick(position, below), _pick(position, above)
    y0, y1 = _pick(ordered, below), _pick(ordered, above)
    gap = np.where(above > below, x1 - x0, 1.0)
    fraction = np.clip((probability - x0) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)
    result: Floats = y0 + np.where(above > below, fraction, 0.0) * (y1 - y0)
    return result


def _pick(values: Floats, index: Ints) -> Floats:
    return np.take_along_axis(values, index[..., None], -1)[..., 0]
