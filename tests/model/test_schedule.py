from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.model import Interval, Schedule, ScheduleId, SiteId

START = datetime(2024, 3, 1, tzinfo=UTC)


def schedule(*intervals: Interval) -> Schedule:
    return Schedule(ScheduleId("s"), SiteId("a"), START, intervals, "dispatch", 0.0, "USD")


def interval(start_min: float, end_min: float, power_kw: float = 1.0) -> Interval:
    minute = timedelta(minutes=1)
    return Interval(START + start_min * minute, START + end_min * minute, power_kw, 50.0)


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Sorted, non-overlapping spans in minutes, with gaps between some of them."""
    steps = draw(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=12))
    found: list[tuple[int, int]] = []
    moment = 0
    for gap, length in steps:
        found.append((moment + gap, moment + gap + length))
        moment += gap + length
    return found


@given(spans(), st.integers(-10, 1500))
def test_at_finds_the_covering_interval_or_nothing(
    minutes: list[tuple[int, int]], at_min: int
) -> None:
    plan = schedule(*(interval(a, b, float(n)) for n, (a, b) in enumerate(minutes)))
    found = plan.at(START + timedelta(minutes=at_min))
    expected = [n for n, (a, b) in enumerate(minutes) if a <= at_min < b]
    assert ([] if found is None else [int(found.power_kw)]) == expected


def test_an_interval_is_half_open() -> None:
    plan = schedule(interval(0, 60, 1.0), interval(60, 120, 2.0))
    hour = START + timedelta(hours=1)
    at_boundary, before = plan.at(hour), plan.at(hour - timedelta(microseconds=1))
    assert at_boundary is not None
    assert at_boundary.power_kw == 2.0
    assert before is not None
    assert before.power_kw == 1.0
    assert plan.at(hour + timedelta(hours=1)) is None


def test_an_empty_plan_covers_nothing() -> None:
    assert schedule().at(START) is None


@pytest.mark.parametrize(
    "intervals",
    [
        (interval(0, 60), interval(59, 120)),
        (interval(60, 120), interval(0, 60)),
        (interval(0, 60), interval(0, 60)),
    ],
)
def test_overlapping_or_unsorted_intervals_are_refused(intervals: tuple[Interval, ...]) -> None:
    with pytest.raises(ValueError, match="overlap"):
        schedule(*intervals)


@pytest.mark.parametrize("end_min", [0, -1])
def test_an_empty_interval_is_refused(end_min: int) -> None:
    with pytest.raises(ValueError, match="naive or empty"):
        schedule(interval(0, end_min))


def test_a_naive_interval_is_refused() -> None:
    start = START.replace(tzinfo=None)
    with pytest.raises(ValueError, match="naive or empty"):
        schedule(Interval(start, start + timedelta(hours=1), 0.0, 50.0))
