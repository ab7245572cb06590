from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.model import Bounds, Priority
from bessai.model.power import HOLD_BOUNDS

powers = st.floats(min_value=-1e6, max_value=1e6)


@st.composite
def bounds(draw: st.DrawFn) -> Bounds:
    first, second = draw(powers), draw(powers)
    return Bounds(min(first, second), max(first, second))


@given(bounds(), powers)
def test_clamp_lands_inside_and_keeps_what_is_inside(allowed: Bounds, power_kw: float) -> None:
    clamped = allowed.clamp(power_kw)
    assert allowed.lower_kw <= clamped <= allowed.upper_kw
    assert allowed.contains(clamped, tolerance_kw=0.0)
    if allowed.contains(power_kw, tolerance_kw=0.0):
        assert clamped == power_kw


@given(bounds(), powers)
def test_clamp_takes_the_nearest_allowed_power(allowed: Bounds, power_kw: float) -> None:
    distance = abs(allowed.clamp(power_kw) - power_kw)
    assert distance <= abs(allowed.lower_kw - power_kw)
    assert distance <= abs(allowed.upper_kw - power_kw)


@given(bounds(), bounds(), powers)
def test_narrow_is_the_intersection(one: Bounds, other: Bounds, power_kw: float) -> None:
    both = one.narrow(other)
    assert both == other.narrow(one)
    inside_both = one.contains(power_kw, 0.0) and other.contains(power_kw, 0.0)
    if both is None:
        assert not inside_both
        assert one.upper_kw < other.lower_kw or other.upper_kw < one.lower_kw
    else:
        assert both.contains(power_kw, 0.0) == inside_both


@given(bounds(), bounds())
def test_narrowing_never_widens(one: Bounds, other: Bounds) -> None:
    both = one.narrow(other)
    if both is not None:
        assert both.lower_kw >= one.lower_kw
        assert both.upper_kw <= one.upper_kw
        assert both.narrow(one) == both


@given(bounds())
def test_bounds_survive_pickling(allowed: Bounds) -> None:
    assert pickle.loads(pickle.dumps(allowed)) == allowed


@pytest.mark.parametrize(
    ("lower_kw", "upper_kw", "message"),
    [
        (1.0, -1.0, "lower_kw 1.0 is above upper_kw -1.0"),
        (math.nan, 1.0, "must be finite"),
        (-1.0, math.nan, "must be finite"),
        (-math.inf, 1.0, "must be finite"),
        (-1.0, math.inf, "must be finite"),
    ],
)
def test_impossible_bounds_are_refused(lower_kw: float, upper_kw: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bounds(lower_kw, upper_kw)


def test_tolerance_is_small_and_symmetric() -> None:
    allowed = Bounds(-2.0, 3.0)
    assert allowed.contains(3.0 + 1e-10)
    assert allowed.contains(-2.0 - 1e-10)
    assert not allowed.contains(3.001)
    assert not allowed.contains(-2.001)


def test_hold_allows_zero_only() -> None:
    assert HOLD_BOUNDS.clamp(5.0) == 0.0
    assert HOLD_BOUNDS.clamp(-5.0) == 0.0


def test_priorities_are_ordered_as_decided() -> None:
    assert [p.name for p in sorted(Priority, reverse=True)] == [
        "SAFETY",
        "OPERATOR",
        "GRID_OPERATOR",
        "VPP_EVENT",
        "TRADE",
        "SCHEDULE",
        "POLICY",
    ]
