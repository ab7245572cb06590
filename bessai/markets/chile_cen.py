"""Chile: real marginal costs of the Coordinador Eléctrico Nacional, from the bundled copy.

Source: Coordinador Eléctrico Nacional, "Costo Marginal Real" (public information); how the
bundled copy was made is in ``data/README.md``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bessai.config import MarketConfig
from bessai.config.load import data_root
from bessai.errors import ConfigError, MarketError
from bessai.markets.series import PriceSeries

DEFAULT_NODE: Final = "crucero_220"
FILES: Final = {DEFAULT_NODE: "cl_cmg_crucero220_2022_2024.parquet"}
STEP: Final = timedelta(hours=1)
CENTS_PER_USD: Final = 100.0


def open_source(config: MarketConfig) -> PriceSeries:
    """Load the bundled prices of ``config.node``, by default Crucero 220 kV.

    Raises:
        ConfigError: no bundled file for that node.
        MarketError: the file is missing or damaged.
    """
    node = DEFAULT_NODE if config.node is None else config.node
    if node not in FILES:
        raise ConfigError(
            "is not a node that is bundled for chile_cen",
            field="market.node",
            value=repr(node),
            fix=f"use one of {', '.join(sorted(FILES))}, or source: csv with a file of your own",
        )
    start, values = _load(bundled_path(node))
    return PriceSeries("chile_cen", node, "USD", "USD/MWh", start, STEP, values)


def bundled_path(node: str) -> Path:
    """Path of the bundled file of a known node."""
    return data_root() / FILES[node]


def _load(path: Path) -> tuple[datetime, NDArray[np.float64]]:
    try:
        table = pl.read_parquet(path, columns=["timestamp_utc", "price_usd_cents_per_mwh"])
    except (OSError, pl.exceptions.PolarsError) as error:
        text = str(error).splitlines()[0]
        raise MarketError(
            f"bundled prices cannot be read ({text})", field=str(path), fix="reinstall the data"
        ) from error
    hours = table["timestamp_utc"].dt.epoch("s").to_numpy() // 3600
    values = np.full(int(hours[-1] - hours[0]) + 1, np.nan)
    values[hours - hours[0]] = table["price_usd_cents_per_mwh"].to_numpy() / CENTS_PER_USD
    return datetime.fromtimestamp(int(hours[0]) * 3600, UTC), values
