from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bessai.forecast.params import SeasonalParams
from bessai.forecast.quantile import Grid, calibrated, raw_quantiles, weighted_quantiles

PARAMS = SeasonalParams(version="1", node="test", unit="USD/MWh", floor=0.0)
SATURDAY_2024_01_06_S = 1_704_499_200


def test_equal_weights_give_the_midpoint_quantiles() -> None:
    values = np.arange(10.0)
    low, middle, high = weighted_quantiles(values, np.ones(10))
    assert (low, middle, high) == pytest.approx((0.5, 4.5, 8.5))


def test_a_heavy_value_pulls_the_median() -> None:
    middle = weighted_quantiles(np.array([0.0, 10.0, 20.0]), np.array([1.0, 1.0, 20.0]))[1]
    assert middle > 15


def test_missing_values_do_not_count() -> None:
    holes = weighted_quantiles(np.array([np.nan, 3.0, np.nan, 5.0]), np.array([9.0, 1.0, 9.0, 1.0]))
    np.testing.assert_allclose(holes, weighted_quantiles(np.array([3.0, 5.0]), np.ones(2)))
    assert np.isnan(weighted_quantiles(np.array([np.nan, np.nan]), np.ones(2))).all()


@given(
    arrays(np.float64, 12, elements=st.one_of(st.floats(-500, 4000), st.just(np.nan))),
    arrays(np.float64, 12, elements=st.floats(0.01, 1.0)),
)
def test_quantiles_are_ordered_and_inside_the_data(values: np.ndarray, weights: np.ndarray) -> None:
    low, middle, high = weighted_quantiles(values, weights)
    if np.isnan(values).all():
        return
    points = [np.nanmin(values), low, middle, high, np.nanmax(values)]
    assert (np.diff(points) >= -1e-9).all()


def test_day_types_follow_the_calendar() -> None:
    grid = Grid(np.zeros(72), SATURDAY_2024_01_06_S, 3600)
    hours = np.array([0, 23, 24, 47, 48])
    assert grid.day_type(hours, 0.0).tolist() == [1, 1, 2, 2, 0]
    assert grid.day_type(hours, -4.0).tolist() == [0, 1, 1, 2, 2]
    assert grid.hour_of_day(hours).tolist() == [0, 23, 0, 23, 0]


def test_many_origins_at_once_equal_one_by_one() -> None:
    values = np.random.default_rng(3).uniform(0, 200, 24 * 60)
    values[::37] = np.nan
    grid = Grid(values, SATURDAY_2024_01_06_S, 3600)
    first = np.array([900, 1000, 1234])
    together = raw_quantiles(grid, first - 2, first, 24, PARAMS)
    for k in range(first.size):
        cut = Grid(values[: first[k] - 1], grid.start_s, 3600)
        alone = raw_quantiles(cut, first[k : k + 1] - 2, first[k : k + 1], 24, PARAMS)
        np.testing.assert_array_equal(together[:, k], alone[:, 0])


@given(
    arrays(np.float64, (3, 1, 24), elements=st.floats(0, 500)),
    st.floats(-1, 5),
    st.floats(-1, 5),
)
def test_any_margin_keeps_quantiles_ordered_and_above_the_floor(
    raw: np.ndarray, low: float, high: float
) -> None:
    params = PARAMS.model_copy(update={"margin_low": (low,) * 24, "margin_high": (high,) * 24})
    bands = calibrated(np.sort(raw, axis=0), np.arange(24)[None], params)
    assert (bands >= 0).all()
    assert (np.diff(bands, axis=0) >= 0).all()


def test_positive_margins_widen_the_band() -> None:
    raw = np.stack([np.full((1, 24), 90.0), np.full((1, 24), 100.0), np.full((1, 24), 120.0)])
    wide = PARAMS.model_copy(update={"margin_low": (0.5,) * 24, "margin_high": (0.2,) * 24})
    low, middle, high = calibrated(raw, np.arange(24)[None], wide)[:, 0, 0]
    assert (low, middle, high) == pytest.approx((90 - 17.5, 100, 120 + 7))
