from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bessai.model import DispatchRequest, PastPrices, QuantileForecast, SiteId

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
Column = NDArray[np.float64]


def forecast(p10: Column, p50: Column, p90: Column, available_at: datetime) -> QuantileForecast:
    return QuantileForecast(NOW, available_at, NOW, HOUR, p10, p50, p90, "USD/MWh", "test 1")


def flat(value: float, n: int = 3) -> Column:
    return np.full(n, value)


def test_forecast_counts_its_steps() -> None:
    assert forecast(flat(1), flat(2), flat(3), NOW).n_steps == 3


@given(st.lists(st.floats(-1e3, 1e4), min_size=3, max_size=3))
def test_crossing_quantiles_are_refused(values: list[float]) -> None:
    p10, p50, p90 = values
    if p10 <= p50 <= p90:
        assert forecast(flat(p10), flat(p50), flat(p90), NOW).n_steps == 3
    else:
        with pytest.raises(ValueError, match="quantiles cross"):
            forecast(flat(p10), flat(p50), flat(p90), NOW)


def test_a_forecast_without_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        forecast(flat(1), flat(np.nan), flat(3), NOW)


def test_a_forecast_with_mixed_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        forecast(flat(1), flat(2, n=4), flat(3), NOW)
    with pytest.raises(ValueError, match="one shape"):
        forecast(np.ones((1, 3)), np.ones((1, 3)), np.ones((1, 3)), NOW)


def test_a_forecast_cannot_look_ahead() -> None:
    with pytest.raises(ValueError, match="looks ahead"):
        forecast(flat(1), flat(2), flat(3), NOW + timedelta(seconds=1))


def past(values: Column, available_at: datetime) -> PastPrices:
    return PastPrices(NOW, available_at, NOW - 4 * HOUR, HOUR, values, "USD/MWh", "node")


def test_past_prices_know_their_end_and_keep_a_gap_a_gap() -> None:
    prices = past(np.array([10.0, np.nan, 0.0]), NOW)
    assert prices.end == NOW - HOUR
    assert np.isnan(prices.values[1])
    assert prices.values[2] == 0.0


def test_past_prices_cannot_look_ahead() -> None:
    with pytest.raises(ValueError, match="look ahead"):
        past(flat(1), NOW + timedelta(seconds=1))


def test_past_prices_are_one_column() -> None:
    with pytest.raises(ValueError, match="shape"):
        past(np.ones((2, 2)), NOW)


COLUMNS = [field.name for field in dataclasses.fields(DispatchRequest)[4:]]


def request(n_sites: int, **changed: Column) -> DispatchRequest:
    columns = {name: np.full(n_sites, 50.0) for name in COLUMNS} | changed
    ids = tuple(SiteId(f"s{n}") for n in range(n_sites))
    prices = forecast(flat(1), flat(2), flat(3), NOW)
    return DispatchRequest(NOW, prices, "USD", ids, *columns.values())


@pytest.mark.parametrize("field", COLUMNS)
@pytest.mark.parametrize("wrong", [[1.0], [1.0, np.nan], [1.0, np.inf], [[1.0, 2.0]]])
def test_every_column_of_a_request_is_checked(field: str, wrong: list[float]) -> None:
    assert request(2).soc_pct.shape == (2,)
    with pytest.raises(ValueError, match=f"{field} must hold 2 finite numbers"):
        request(2, **{field: np.array(wrong)})


def test_a_request_for_no_site_is_valid() -> None:
    assert request(0).site_ids == ()
