"""Prices for the bed: real Chilean days, pressed into two hours each, so that plans move power.

A day of real prices has one charge and one discharge; at a speed that leaves the device's timer
its meaning, a battery would rest for most of a campaign.
"""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from bessai.config import MarketConfig
from bessai.markets import open_market

STEP: Final = timedelta(minutes=15)
HOURS_PER_STEP: Final = 3
BEFORE: Final = timedelta(days=32)
AFTER: Final = timedelta(days=3)


def write_prices(path: Path, starts_at: datetime) -> None:
    """Steps of a quarter of an hour around ``starts_at``, each the mean of 3 real hours."""
    source = open_market(MarketConfig())
    count = (BEFORE + AFTER) // STEP
    begin = source.coverage[0].replace(hour=0, minute=0) + timedelta(days=1)
    hours = source.prices_between(begin, begin + timedelta(hours=count * HOURS_PER_STEP))
    means = np.nanmean(np.asarray(hours).reshape(count, HOURS_PER_STEP), axis=1)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("timestamp_utc", "price_usd_per_mwh"))
        first = starts_at - BEFORE
        for number, price in enumerate(means):
            rows.writerow(((first + number * STEP).isoformat(), f"{price:.3f}"))
