"""What every price source must keep; a new module in ``bessai/markets`` is tested unasked."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from bessai.config import MarketConfig
from bessai.errors import MarketError
from bessai.markets import open_market, past_prices
from bessai.plugins import known_plugins
from bessai.ports import PriceSource

NAMES = known_plugins("bessai.markets", "open_source")
SAMPLE = "timestamp_utc,price_usd_per_mwh\n" + "".join(
    f"2024-01-{day:02}T{hour:02}:00Z,{'' if hour == 5 else 10 * hour}\n"
    for day in (1, 2, 3)
    for hour in range(24)
)


@pytest.fixture(params=NAMES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> PriceSource:
    """The market as a fleet file opens it; one that reads a file gets three days."""
    path = tmp_path / "sample.csv"
    path.write_text(SAMPLE, encoding="utf-8")
    return open_market(MarketConfig(source=request.param, path=str(path)))


def test_the_known_markets_are_found() -> None:
    assert {"chile_cen", "csv"} <= set(NAMES)


def test_it_says_what_its_prices_are(source: PriceSource) -> None:
    start, end = source.coverage
    assert start.utcoffset() == end.utcoffset() == timedelta(0)
    assert (end - start) % source.step == timedelta(0)
    assert timedelta(days=1) % source.step == timedelta(0)
    assert re.fullmatch("[A-Z]{3}", source.currency)
    assert source.unit == f"{source.currency}/MWh"
    assert source.market
    assert source.node


def test_a_price_is_the_same_whichever_way_it_is_asked(source: PriceSource) -> None:
    start, end = source.coverage
    end = min(end, start + timedelta(days=3))
    values = source.prices_between(start, end)
    assert values.shape == ((end - start) // source.step,)
    assert np.isfinite(values).any()
    one_by_one = [source.price_at(start + k * source.step) for k in range(values.size)]
    np.testing.assert_array_equal([np.nan if p is None else p for p in one_by_one], values)
    late = start + source.step - timedelta(microseconds=1)
    assert source.price_at(late) == source.price_at(start)


def test_what_is_not_covered_is_missing_and_never_zero(source: PriceSource) -> None:
    start, end = source.coverage
    assert source.price_at(start - timedelta(microseconds=1)) is None
    assert source.price_at(end) is None
    assert np.isnan(source.prices_between(end, end + 2 * source.step)).tolist() == [True, True]


def test_nothing_is_known_before_it_is_published(source: PriceSource) -> None:
    start, _ = source.coverage
    as_of, delay = start + timedelta(days=2), timedelta(hours=3)
    past = past_prices(source, as_of, delay)
    assert past.available_at <= as_of
    assert past.end + delay <= as_of
    with pytest.raises(MarketError, match="no price known"):
        past_prices(source, start, delay)
