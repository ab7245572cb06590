"""Drop-in price sources: each module with an ``open_source`` function is one market."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from bessai.config import MarketConfig
from bessai.markets.past import past_prices
from bessai.markets.series import PriceSeries
from bessai.plugins import load_plugin
from bessai.ports import PriceSource

__all__ = ["PriceSeries", "open_market", "past_prices"]


def open_market(config: MarketConfig) -> PriceSource:
    """Open the price source that the fleet file names.

    Raises:
        ConfigError: unknown source, node or file.
        MarketError: the file's content cannot be used.
    """
    entry = load_plugin("bessai.markets", config.source, "open_source", field="market.source")
    return cast("Callable[[MarketConfig], PriceSource]", entry)(config)
