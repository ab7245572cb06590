"""Choosing and judging a seasonal model on rolling origins, all origins at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product

import numpy as np

from bessai.errors import ModelError
from bessai.forecast.params import HOURS_PER_DAY, SeasonalParams
from bessai.forecast.quantile import (
    PROBABILITIES,
    Floats,
    Grid,
    Ints,
    calibrated,
    raw_quantiles,
    spread,
)
from bessai.ports import PriceSource

HORIZON = timedelta(hours=24)
# 7 steps share no factor with 24, so origins visit every hour of day.
ORIGIN_STRIDE = 7
CHUNK = 512
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Split:
    """Half-open training and test periods; the test period is never seen in training."""

    train_start: datetime
    train_end: datetime
    test_start: datetime
    test_end: datetime


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores over all origins and leads of a period, in the price's unit where they have one."""

    mae: float
    pinball: float
    coverage: float
    below: float
    above: float
    mae_naive_24h: float
    mae_naive_168h: float
    n_forecasts: int

    def metrics(self) -> dict[str, float]:
        """Names with units to values, for a card and a report."""
        return {
            "mae_per_mwh": round(self.mae, 3),
            "mae_naive_24h_per_mwh": round(self.mae_naive_24h, 3),
            "mae_naive_168h_per_mwh": round(self.mae_naive_168h, 3),
            "pinball_per_mwh": round(self.pinball, 3),
            "coverage_p10_p90_pct": round(self.coverage * 100, 2),
            "below_p10_pct": round(self.below * 100, 2),
            "above_p90_pct": round(self.above * 100, 2),
            "n_forecasts": float(self.n_forecasts),
        }


@dataclass(frozen=True, slots=True)
class _Task:
    """All questions of a period: which step is newest, which ones are asked, what came."""

    grid: Grid
    newest: Ints
    first: Ints
    n_steps: int

    @property
    def targets(self) -> Ints:
        steps: Ints = self.first[:, None] + np.arange(self.n_steps)
        return steps

    @property
    def actual(self) -> Floats:
        return self.grid.values[self.targets]

    @property
    def hours(self) -> Ints:
        return self.grid.hour_of_day(self.targets)

    def raw(self, params: SeasonalParams) -> Floats:
        parts = [
            raw_quantiles(self.grid, newest, first, self.n_steps, params)
            for newest, first in self._chunks()
        ]
        return np.concatenate(parts, axis=1)

    def _chunks(self) -> Iterator[tuple[Ints, Ints]]:
        for at in range(0, self.first.size, CHUNK):
            yield self.newest[at : at + CHUNK], self.first[at : at + CHUNK]


def choose(
    source: PriceSource, split: Split, version: str, delay: timedelta, say: Say
) -> SeasonalParams:
    """Window, weights and margins that did best on the training period.

    Raises:
        ModelError: the training period has too few prices.
    """
    task = _task(source, split.train_start, split.train_end, delay, ORIGIN_STRIDE)
    best = _start(source, task.grid.values, version)
    score = pinball(task.raw(best), task.actual)
    if not np.isfinite(score):
        raise ModelError("the training period has too few prices", field=source.node)
    say(f"  {task.first.size} origins, pinball {score:.3f} to begin with")
    for stage in _stages():
        for change in stage:
            candidate = best.model_copy(update=change)
            found = pinball(task.raw(candidate), task.actual)
            if found < score:
                best, score = candidate, found
        say(f"  pinball {score:.3f} with {_shown(best, stage[0])}")
    return _with_margins(task, best)


def evaluate(
    source: PriceSource, params: SeasonalParams, start: datetime, end: datetime, delay: timedelta
) -> Evaluation:
    """Score ``params`` on ``[start, end)`` beside the two naive forecasts, from every hour."""
    task = _task(source, start, end, delay, 1)
    bands = calibrated(task.raw(params), task.hours, params)
    actual = task.actual
    known = np.isfinite(actual) & np.isfinite(bands[1])
    below, above = (actual < bands[0])[known].mean(), (actual > bands[2])[known].mean()
    return Evaluation(
        mae=_mae(bands[1], actual),
        pinball=pinball(bands, actual),
        coverage=float(1 - below - above),
        below=float(below),
        above=float(above),
        mae_naive_24h=_mae(_naive(task, 1), actual),
        mae_naive_168h=_mae(_naive(task, 7), actual),
        n_forecasts=int(task.first.size),
    )


def pinball(quantiles: Floats, actual: Floats) -> float:
    """Mean pinball loss over the three quantiles; steps without a price do not count.

    Source: Koenker and Bassett 1978, doi:10.2307/1913643.
    """
    losses = [
        np.maximum(p * (actual - q), (p - 1) * (actual - q))
        for p, q in zip(PROBABILITIES, quantiles, strict=True)
    ]
    loss = np.stack(losses)
    return float(np.nanmean(loss)) if np.isfinite(loss).any() else float("nan")


def _task(
    source: PriceSource, start: datetime, end: datetime, delay: timedelta, stride: int
) -> _Task:
    origin, step = source.coverage[0], source.step
    step_s, n_steps = int(step.total_seconds()), int(HORIZON / step)
    values = source.prices_between(origin, end)
    first = np.arange((start - origin) // step, values.size - n_steps + 1, stride)
    gap = 1 + int(-(-delay // step))
    return _Task(Grid(values, int(origin.timestamp()), step_s), first - gap, first, n_steps)


def _start(source: PriceSource, prices: Floats, version: str) -> SeasonalParams:
    known = prices[np.isfinite(prices)]
    if known.size == 0:
        raise ModelError("the training period has no prices", field=source.node)
    return SeasonalParams(
        version=version,
        node=source.node,
        unit=source.unit,
        floor=0.0 if known.min() >= 0 else None,
    )


def _stages() -> list[list[dict[str, object]]]:
    windows = product((21, 28, 42), (3.0, 4.0, 5.0, 7.0))
    days = product((0.4, 0.55, 0.7, 1.0), (0.0, -4.0))
    levels = product((0.4, 0.6, 0.8), (12.0, 18.0, 30.0))
    nows = product((0.0, 0.3, 0.5, 0.8), (2.0, 3.0, 5.0))
    return [
        [{"window_days": n, "half_life_days": h} for n, h in windows],
        [{"other_day_weight": w, "weekday_offset_h": o} for w, o in days],
        [{"level_gain": g, "level_decay_h": d} for g, d in levels],
        [{"now_gain": g, "now_decay_h": d} for g, d in nows],
    ]


def _shown(params: SeasonalParams, names: dict[str, object]) -> str:
    return ", ".join(f"{name} {getattr(params, name):g}" for name in names)


def _with_margins(task: _Task, params: SeasonalParams) -> SeasonalParams:
    """Margins per hour of day, so that 10 % fall below p10 and 10 % above p90 in training."""
    raw, actual, hours = task.raw(params), task.actual, task.hours
    scale = spread(raw)
    usable = np.isfinite(actual) & np.isfinite(raw[0])
    low = _margins(((raw[0] - actual) / scale)[usable], hours[usable])
    high = _margins(((actual - raw[2]) / scale)[usable], hours[usable])
    return params.model_copy(update={"margin_low": low, "margin_high": high})


def _margins(scores: Floats, hours: Ints) -> tuple[float, ...]:
    margins = []
    for hour in range(HOURS_PER_DAY):
        mine = scores[hours == hour]
        # Finite-sample rank of conformal prediction: ceil((n + 1) 0.9) of n.
        level = min(np.ceil((mine.size + 1) * 0.9) / max(mine.size, 1), 1.0)
        margins.append(round(float(np.quantile(mine, level)), 4) if mine.size else 0.0)
    return tuple(margins)


def _naive(task: _Task, days: int) -> Floats:
    """The price ``days`` days before, or the newest earlier one that was published by then."""
    values = np.full(task.targets.shape, np.nan)
    for back in (days + 1, days):
        source = task.targets - back * task.grid.steps_per_day
        known = (source <= task.newest[:, None]) & (source >= 0)
        values = np.where(known, task.grid.values[np.clip(source, 0, None)], values)
    return values


def _mae(forecast: Floats, actual: Floats) -> float:
    return float(np.nanmean(np.abs(forecast - actual)))
