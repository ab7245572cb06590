"""The seasonal price model: past prices in, calibrated quantiles out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import ValidationError

from bessai.errors import ModelError
from bessai.forecast.params import SeasonalParams
from bessai.forecast.quantile import DAY_S, PROBABILITIES, Floats, Grid, calibrated, raw_quantiles
from bessai.model import PastPrices, QuantileForecast

MODEL_FILE: Final = "model.json"
MIN_KNOWN: Final = timedelta(hours=48)
MAX_HORIZON: Final = timedelta(days=14)
RECENT: Final = timedelta(days=7)
STALE_AFTER: Final = timedelta(hours=24)
MISSING_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class SeasonalModel:
    """Empirical seasonal quantiles with conformal margins."""

    params: SeasonalParams

    @property
    def source(self) -> str:
        """Name and version, e.g. ``seasonal crucero_220-2023-12-31``."""
        return f"seasonal {self.params.version}"

    def forecast(self, past: PastPrices, horizon_steps: int) -> QuantileForecast:
        """Forecast ``horizon_steps`` steps; the first one covers ``past.as_of``.

        Raises:
            ModelError: fewer than 48 h of prices are known, the horizon is not within 1 step
                to 14 days, or the step does not divide a day.
        """
        step_s = _checked_step_s(past.step, horizon_steps)
        known = np.flatnonzero(np.isfinite(past.values))
        _check_history(int(known.size), past)
        grid = Grid(past.values, int(past.start.timestamp()), step_s)
        newest, first = int(known[-1]), (past.as_of - past.start) // past.step
        own = (past.node, past.unit) == (self.params.node, self.params.unit)
        # The floor is a rule of the node's own market: elsewhere prices may be negative.
        params = self.params if own else self.params.model_copy(update={"floor": None})
        quantiles, gaps = _quantiles(params, grid, newest, (first, horizon_steps))
        return QuantileForecast(
            issued_at=past.as_of,
            available_at=past.available_at,
            start=past.start + past.step * first,
            step=past.step,
            p10=quantiles[0],
            p50=quantiles[1],
            p90=quantiles[2],
            unit=past.unit,
            source=self.source,
            degraded=self._degraded(past, int(known[0]), newest, gaps),
        )

    def _degraded(self, past: PastPrices, oldest: int, newest: int, gaps: int) -> str | None:
        reasons = _missing(past, oldest, newest) + _too_short(past, oldest, self.params.window_days)
        age = past.as_of - past.available_at
        if age > STALE_AFTER:
            reasons.append(f"newest price was published {_hours(age)} h ago")
        if gaps:
            reasons.append(f"{gaps} steps have no price at their time of day")
        if (past.node, past.unit) != (self.params.node, self.params.unit):
            reasons.append(f"calibrated on {self.params.node} in {self.params.unit}")
        return "; ".join(reasons) or None


def _quantiles(
    params: SeasonalParams, grid: Grid, newest: int, asked: tuple[int, int]
) -> tuple[Floats, int]:
    first, n_steps = asked
    start = np.array([first])
    raw = raw_quantiles(grid, np.array([newest]), start, n_steps, params)
    unknown = np.isnan(raw[1])
    if unknown.any():
        # No day of the window has this time of day: any hour's price is the best guess.
        anywhere = np.nanquantile(grid.values, PROBABILITIES)
        raw = np.where(unknown, anywhere[:, None, None], raw)
    hours = grid.hour_of_day(start[:, None] + np.arange(n_steps))
    return calibrated(raw, hours, params)[:, 0], int(unknown.sum())


def load_price_model(folder: Path) -> SeasonalModel:
    """Load a price model from the folder of a model version.

    Raises:
        ModelError: the file is missing or is not a seasonal model.
    """
    path = folder / MODEL_FILE
    try:
        return SeasonalModel(SeasonalParams.model_validate_json(path.read_bytes()))
    except OSError as error:
        raise ModelError(
            f"price model cannot be read ({error.strerror})",
            field=str(path),
            fix="train one with python -m training.price_model",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or MODEL_FILE
        raise ModelError(
            f"is not a seasonal model: {where} {first['msg']}", field=str(path)
        ) from error


def _checked_step_s(step: timedelta, horizon_steps: int) -> int:
    step_s = step.total_seconds()
    if step_s <= 0 or DAY_S % step_s or step_s != int(step_s):
        raise ModelError("a seasonal model needs a step that divides a day", value=str(step))
    if not 1 <= horizon_steps <= MAX_HORIZON / step:
        raise ModelError("horizon is not within 1 step and 14 days", value=f"{horizon_steps} steps")
    return int(step_s)


def _check_history(known: int, past: PastPrices) -> None:
    if known * past.step < MIN_KNOWN:
        raise ModelError(
            "needs 48 h of past prices",
            field=past.node,
            value=f"{_hours(known * past.step)} h",
            fix="start later, or add earlier prices",
        )


def _missing(past: PastPrices, oldest: int, newest: int) -> list[str]:
    window = past.values[oldest : newest + 1]
    recent = window[-(RECENT // past.step) :]
    gone, gone_recently = int(np.isnan(window).sum()), int(np.isnan(recent).sum())
    if gone_recently or gone > MISSING_SHARE * window.size:
        return [
            f"{gone} of {window.size} past prices are missing, {gone_recently} in the last 7 days"
        ]
    return []


def _too_short(past: PastPrices, oldest: int, window_days: int) -> list[str]:
    history = past.as_of - (past.start + past.step * oldest)
    if history < timedelta(days=window_days):
        return [f"history of {_hours(history)} h is shorter than {window_days} days"]
    return []


def _hours(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 3600:.0f}"
