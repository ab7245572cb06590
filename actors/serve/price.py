"""The price model on Ray Serve: 24 h ahead, p10/p50/p90, from past prices alone."""

from __future__ import annotations

from actors.serve.application import application
from bessai.config.load import registry_root
from bessai.forecast import load_price_model
from bessai.model import PastPrices, QuantileForecast
from bessai.modelstore import ModelStore


class PriceModel:
    """Serves the champion of the model store."""

    def __init__(self) -> None:
        folder = ModelStore(registry_root() / "models").champion_folder("price")
        self._model = load_price_model(folder)

    async def forecast(self, past: PastPrices, horizon_steps: int) -> QuantileForecast:
        """Forecast ``horizon_steps`` steps; the first one covers ``past.as_of``.

        Raises:
            ModelError: too few prices, or an unusable horizon.
        """
        return self._model.forecast(past, horizon_steps)


app = application(PriceModel, "PriceModel", max_ongoing_requests=32)
