"""Time of one 24 h forecast with the shipped champion, past prices included.

Run ``python benchmarks/bench_forecast.py``; prints milliseconds.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import numpy as np

from bessai.config import MarketConfig
from bessai.config.load import registry_root
from bessai.forecast import load_price_model
from bessai.markets import open_market, past_prices
from bessai.modelstore import ModelStore


def main() -> None:
    source = open_market(MarketConfig())
    model = load_price_model(ModelStore(registry_root() / "models").champion_folder("price"))
    origin = datetime(2024, 1, 15, tzinfo=UTC)
    times = []
    for k in range(500):
        began = time.perf_counter()
        model.forecast(past_prices(source, origin + timedelta(hours=k), timedelta(hours=1)), 24)
        times.append(time.perf_counter() - began)
    p50, p99 = np.percentile(np.array(times) * 1000, (50, 99))
    print(f"forecast of 24 steps: median {p50:.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()
