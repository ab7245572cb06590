from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessai.fleet.split import split_target

POWER = st.floats(min_value=-500, max_value=500, allow_nan=False)
SITES = st.lists(st.tuples(POWER, POWER).map(sorted), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("target", "bounds", "expected", "shortfall"),
    [
        (30.0, [(-50, 50), (-50, 10)], [25.0, 5.0], 0.0),
        (-60.0, [(-50, 50), (-10, 50)], [-50.0, -10.0], 0.0),
        (100.0, [(-50, 50), (-50, 10)], [50.0, 10.0], 40.0),
        (-100.0, [(-50, 50), (0, 10)], [-50.0, 0.0], -50.0),
        (0.0, [(-50, 50), (5, 10)], [-5.0, 5.0], 0.0),
        (10.0, [(0, 0), (0, 0)], [0.0, 0.0], 10.0),
    ],
)
def test_table(
    target: float, bounds: list[tuple[float, float]], expected: list[float], shortfall: float
) -> None:
    lower, upper = np.array(bounds, dtype=np.float64).T
    found = split_target(target, lower, upper)
    assert found.setpoints_kw.tolist() == pytest.approx(expected)
    assert found.shortfall_kw == pytest.approx(shortfall)


@settings(deadline=None)
@given(target=st.floats(min_value=-9000, max_value=9000), sites=SITES)
def test_power_is_conserved_inside_the_bounds_and_no_room_is_left(
    target: float, sites: list[list[float]]
) -> None:
    lower, upper = np.array(sites, dtype=np.float64).T
    found = split_target(target, lower, upper)
    assert np.all(found.setpoints_kw >= lower)
    assert np.all(found.setpoints_kw <= upper)
    assert found.setpoints_kw.sum() + found.shortfall_kw == pytest.approx(target, abs=1e-6)
    reachable = min(max(target, float(lower.sum())), float(upper.sum()))
    assert found.setpoints_kw.sum() == pytest.approx(reachable, abs=1e-6)


@pytest.mark.parametrize(("lower", "upper"), [(np.nan, 1.0), (2.0, 1.0)])
def test_bounds_that_are_none_are_refused(lower: float, upper: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        split_target(1.0, np.array([lower]), np.array([upper]))


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        split_target(1.0, np.zeros(2), np.zeros(3))
