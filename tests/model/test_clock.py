from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.model import MarketClock
from bessai.units import ensure_utc

WALL = datetime(2026, 1, 5, 12, tzinfo=UTC)
MARKET = datetime(2023, 7, 1, tzinfo=UTC)
speeds = st.floats(min_value=0.1, max_value=3600)
seconds = st.floats(min_value=-86_400, max_value=86_400)


@given(speeds)
def test_market_time_starts_where_it_is_told(speed: float) -> None:
    assert MarketClock(MARKET, WALL, speed).market_at(WALL) == MARKET


@given(speeds, seconds, seconds)
def test_market_time_runs_at_its_speed(speed: float, one_s: float, other_s: float) -> None:
    clock = MarketClock(MARKET, WALL, speed)
    first = clock.market_at(WALL + timedelta(seconds=one_s))
    second = clock.market_at(WALL + timedelta(seconds=other_s))
    expected_s = (other_s - one_s) * speed
    assert (second - first).total_seconds() == pytest.approx(expected_s, abs=0.01)


@given(speeds, seconds, seconds)
def test_market_time_never_runs_backwards(speed: float, one_s: float, other_s: float) -> None:
    clock = MarketClock(MARKET, WALL, speed)
    early, late = sorted((one_s, other_s))
    assert clock.market_at(WALL + timedelta(seconds=early)) <= clock.market_at(
        WALL + timedelta(seconds=late)
    )


@given(speeds, st.floats(min_value=0, max_value=1e6))
def test_real_seconds_undo_the_speed(speed: float, duration_s: float) -> None:
    clock = MarketClock(MARKET, WALL, speed)
    real_s = clock.real_s(timedelta(seconds=duration_s))
    assert real_s * speed == pytest.approx(duration_s, abs=1e-4)


def test_a_market_day_at_speed_600_takes_2_4_minutes() -> None:
    assert MarketClock(MARKET, WALL, 600.0).real_s(timedelta(days=1)) == pytest.approx(144.0)


def test_a_wall_time_of_another_zone_is_the_same_moment() -> None:
    clock = MarketClock(MARKET, WALL, 60.0)
    santiago = WALL.astimezone(timezone(timedelta(hours=-3)))
    assert clock.market_at(santiago) == clock.market_at(WALL)


def test_live_market_time_is_wall_time() -> None:
    before = datetime.now(UTC)
    now = MarketClock.live().now()
    assert before <= now <= datetime.now(UTC)
    assert now.utcoffset() == timedelta(0)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_clock_that_stands_still_or_runs_back_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed must be positive"):
        MarketClock(MARKET, WALL, speed)


@pytest.mark.parametrize(
    ("market", "wall"), [(MARKET.replace(tzinfo=None), WALL), (MARKET, WALL.replace(tzinfo=None))]
)
def test_naive_times_are_refused(market: datetime, wall: datetime) -> None:
    with pytest.raises(ValueError, match="aware"):
        MarketClock(market, wall)


@given(st.datetimes(min_value=datetime(1990, 1, 1), timezones=st.timezones()))  # noqa: DTZ001
def test_ensure_utc_keeps_the_moment(moment: datetime) -> None:
    result = ensure_utc(moment)
    assert result.utcoffset() == timedelta(0)
    assert result.timestamp() == moment.timestamp()


def test_ensure_utc_refuses_to_guess_a_zone() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        ensure_utc(datetime(2026, 1, 1))  # noqa: DTZ001
