"""A price model inside the caller's own process, without a service between."""

from __future__ import annotations

from dataclasses import dataclass

from bessai.forecast.seasonal import SeasonalModel
from bessai.model import PastPrices, QuantileForecast


@dataclass(frozen=True, slots=True)
class LocalForecast:
    """Implements ``ForecastModel`` with a loaded model; an answer takes about a millisecond."""

    model: SeasonalModel

    async def forecast(self, past: PastPrices, horizon_steps: int) -> QuantileForecast:
        """Forecast ``horizon_steps`` steps; the first one covers ``past.as_of``.

        Raises:
            ModelError: too few prices, or an unusable horizon.
        """
        return self.model.forecast(past, horizon_steps)
