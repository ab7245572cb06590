"""Back-off, pace and counters."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.control.counters import BUCKETS_S, Tally
from bessai.control.ledger import WriteKind
from bessai.control.link import Backoff, Link
from bessai.control.pace import next_tick
from bessai.control.record import reading
from bessai.units import MonotonicS
from tests.support.site_values import LIMITS, telemetry_at

BACKOFF = Backoff(1.0, 10.0)


def test_waits_double_up_to_the_longest() -> None:
    assert [BACKOFF.wait_s(n, 1.0) for n in range(1, 6)] == [2.0, 4.0, 8.0, 10.0, 10.0]
    assert [BACKOFF.wait_s(n, 0.0) for n in range(1, 6)] == [1.0, 2.0, 4.0, 5.0, 5.0]


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_waits_stay_in_their_range(attempts: int, jitter: float) -> None:
    assert 1.0 <= BACKOFF.wait_s(attempts, jitter) <= 10.0


def test_a_link_remembers_why_it_was_lost_until_it_is_back() -> None:
    link = Link().lost("refused", MonotonicS(5.0), BACKOFF, 0.0)
    assert (link.connected, link.error, link.established) == (False, "refused", 0)
    assert not link.due(MonotonicS(5.9))
    assert link.due(MonotonicS(6.0))
    back = link.gained()
    assert (back.connected, back.error, back.attempts, back.established) == (True, None, 0, 1)
    assert not back.due(MonotonicS(99.0))


@pytest.mark.parametrize(
    ("now", "expected"), [(10.05, 11.0), (11.0, 11.0), (11.4, 12.0), (35.2, 36.0), (10.0, 11.0)]
)
def test_the_next_tick_is_on_the_grid(now: float, expected: float) -> None:
    assert next_tick(MonotonicS(10.0), MonotonicS(now), 1.0) == expected


@given(st.floats(0, 1e6), st.floats(0, 1e3), st.floats(0.2, 5))
def test_the_next_tick_is_never_in_the_past(tick: float, late: float, cycle_s: float) -> None:
    now = MonotonicS(tick + late)
    following = next_tick(MonotonicS(tick), now, cycle_s)
    assert following >= now - 1e-6
    assert following - now <= cycle_s + 1e-6


def test_durations_are_counted_cumulatively() -> None:
    tally = Tally()
    for duration_s in (0.005, 0.02, 0.7, 1.2, 99.0):
        tally.cycle(duration_s, 1.0)
    histogram = tally.counters().cycle_duration
    counts = dict(zip(histogram.upper_s, histogram.counts, strict=True))
    assert histogram.upper_s == BUCKETS_S
    assert (counts[0.005], counts[0.025], counts[1.0], counts[10.0]) == (1, 2, 3, 4)
    assert histogram.total == 5
    assert histogram.sum_s == pytest.approx(100.925)
    assert tally.counters().overruns == 2


def test_counters_are_copies_that_travel() -> None:
    tally = Tally()
    tally.wrote(WriteKind.CHANGE, 4)
    before = tally.counters()
    tally.wrote(WriteKind.CHANGE, 1)
    assert all(type(kind) is str for kind in tally.counters().writes)
    tally.blocked("soc_low", "ramp")
    assert before.writes == {"change": 4}
    assert pickle.loads(pickle.dumps(tally.counters())).writes == {"change": 5}
    assert tally.counters().safety_blocks == {"soc_low": 1, "ramp": 1}


@pytest.mark.parametrize(("age_s", "shown"), [(0.0, True), (10.0, True), (10.1, False)])
def test_a_stale_read_has_no_numbers_left(age_s: float, shown: bool) -> None:
    now = MonotonicS(100.0 + age_s)
    found = reading(telemetry_at(100.0), LIMITS, now)
    assert (found is not None) is shown
    assert found is None or found.age_s == pytest.approx(age_s)


@pytest.mark.parametrize("soc_pct", [-0.1, 100.1, float("nan"), float("inf"), None])
def test_an_impossible_number_is_left_out(soc_pct: float | None) -> None:
    found = reading(telemetry_at(100.0, soc_pct=soc_pct), LIMITS, MonotonicS(100.0))
    assert found is not None
    assert found.soc_pct is None
    assert found.capacity_kwh == 10.0
