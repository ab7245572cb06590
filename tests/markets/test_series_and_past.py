from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.errors import MarketError
from bessai.markets import past_prices
from tests.support.prices import HOUR, START, daily_shape, series

DAY = timedelta(days=1)


def test_outside_the_coverage_is_missing() -> None:
    source = series(np.array([1.0, 2.0]))
    assert source.price_at(START - timedelta(seconds=1)) is None
    assert source.price_at(START + 2 * HOUR) is None
    np.testing.assert_equal(
        source.prices_between(START - HOUR, START + 3 * HOUR), [np.nan, 1.0, 2.0, np.nan]
    )


def test_a_price_of_zero_is_a_price() -> None:
    assert series(np.array([0.0])).price_at(START) == 0.0


def test_slices_cover_every_step_they_touch() -> None:
    source = series(np.array([1.0, 2.0, 3.0]))
    half = timedelta(minutes=30)
    assert source.prices_between(START + half, START + HOUR + half).tolist() == [1.0, 2.0]
    assert source.prices_between(START + HOUR, START + HOUR).size == 0
    assert source.prices_between(START + 2 * HOUR, START).size == 0


def test_values_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        series(np.array([1.0])).values[0] = 2.0


def test_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        series(np.array([1.0])).price_at(datetime(2024, 1, 1))  # noqa: DTZ001  # the point


@pytest.mark.parametrize(
    ("as_of", "delay", "known"),
    [
        (10 * HOUR, HOUR, 9),
        (10 * HOUR - timedelta(seconds=1), HOUR, 8),
        (10 * HOUR, timedelta(0), 10),
        (10 * HOUR, timedelta(minutes=90), 8),
    ],
)
def test_only_published_prices_are_known(as_of: timedelta, delay: timedelta, known: int) -> None:
    past = past_prices(series(np.arange(100.0)), START + as_of, delay, DAY)
    assert past.end == START + known * HOUR
    assert past.values[-1] == known - 1
    assert past.available_at == past.end + delay


def test_available_at_belongs_to_the_newest_price_that_exists() -> None:
    values = np.arange(48.0)
    values[20:24] = np.nan
    past = past_prices(series(values), START + DAY, timedelta(0), DAY)
    assert past.end == START + DAY
    assert past.available_at == START + 20 * HOUR


def test_nothing_known_yet_says_where_prices_are() -> None:
    with pytest.raises(MarketError, match=r"no price known.*2024-01-01"):
        past_prices(series(np.arange(48.0)), START + HOUR, HOUR)
    with pytest.raises(MarketError, match="no price known"):
        past_prices(series(np.arange(48.0)), START + timedelta(days=90), HOUR)


@given(
    minute=st.integers(3 * 24 * 60, 9 * 24 * 60),
    delay_min=st.integers(0, 72 * 60),
    step_min=st.sampled_from([15, 30, 60]),
)
def test_no_step_is_known_before_its_publication(
    minute: int, delay_min: int, step_min: int
) -> None:
    source = daily_shape(10, timedelta(minutes=step_min))
    as_of, delay = START + timedelta(minutes=minute), timedelta(minutes=delay_min)
    if minute - delay_min < step_min:
        return
    past = past_prices(source, as_of, delay, DAY)
    assert past.end + delay <= as_of
    assert past.end + source.step + delay > as_of
    assert past.values.size == DAY // source.step
