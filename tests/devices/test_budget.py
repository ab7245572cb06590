"""Writes to memory that wears out: counted, limited, remembered over a restart."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.config.profile import WriteBudget
from bessai.devices.budget import Budget
from bessai.units import MonotonicS

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = WriteBudget(per_day=3, min_interval_s=30.0)


class Clocks:
    """Both clocks; a test moves them together or apart."""

    def __init__(self) -> None:
        self.monotonic_s = 100.0
        self.utc = START

    def now(self) -> MonotonicS:
        return MonotonicS(self.monotonic_s)

    def wall(self) -> datetime:
        return self.utc

    def pass_s(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.utc += timedelta(seconds=seconds)

    def budget(self, path: Path | None = None, limits: WriteBudget = LIMITS) -> Budget:
        return Budget(limits, now=self.now, wall=self.wall, path=path)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def spend(budget: Budget, clocks: Clocks, name: str, times: int, every_s: float = 60.0) -> None:
    for _ in range(times):
        budget.spend(name)
        clocks.pass_s(every_s)


def test_a_spent_budget_refuses_and_says_when_it_is_free(clocks: Clocks) -> None:
    budget = clocks.budget()
    spend(budget, clocks, "limit", 3)
    assert budget.left("limit") == 0
    refusal = budget.check(["mode", "limit"])
    assert refusal is not None
    assert "limit: was written 3 times in 24 h; 3 are allowed" in refusal
    assert "in 1437 min" in refusal
    assert budget.check(["mode"]) is None


def test_writes_older_than_a_day_no_longer_count(clocks: Clocks) -> None:
    budget = clocks.budget()
    spend(budget, clocks, "limit", 3, every_s=3600.0)
    clocks.pass_s(21 * 3600.0 - 1)
    assert budget.left("limit") == 0
    clocks.pass_s(1)
    assert budget.left("limit") == 1
    assert budget.check(["limit"]) is None


def test_two_writes_of_one_register_keep_their_distance(clocks: Clocks) -> None:
    budget = clocks.budget()
    budget.spend("limit")
    clocks.pass_s(29.0)
    assert "every 30 s" in (budget.check(["limit"]) or "")
    assert budget.check(["mode"]) is None
    clocks.pass_s(1.0)
    assert budget.check(["limit"]) is None


def test_the_way_to_rest_is_never_refused_but_counted(clocks: Clocks) -> None:
    budget = clocks.budget()
    for _ in range(4):
        assert budget.check(["limit"], to_rest=True) is None
        budget.spend("limit")
    assert budget.spent("limit") == 4
    assert budget.left("limit") == 0
    assert budget.over == ("limit",)
    clocks.pass_s(86_400.0)
    assert not budget.over


def test_the_count_survives_a_restart(clocks: Clocks, tmp_path: Path) -> None:
    path = tmp_path / "north.json"
    spend(clocks.budget(path), clocks, "limit", 3)
    clocks.monotonic_s = 5.0
    again = clocks.budget(path)
    assert again.left("limit") == 0
    assert again.left("mode") == 3
    assert [p.name for p in tmp_path.iterdir()] == ["north.json"]


@pytest.mark.parametrize("text", ["", "{", '{"writes": {"limit": "x"}}', "\0\0\0", "[]"])
def test_an_unreadable_file_counts_as_spent_for_a_day(
    clocks: Clocks, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "north.json"
    path.write_text(text)
    budget = clocks.budget(path)
    assert "delete it to begin a new count" in caplog.text
    assert budget.check(["limit"]) is not None
    assert budget.check(["limit"], to_rest=True) is None
    assert budget.over == ()
    clocks.pass_s(86_400.0)
    assert budget.check(["limit"]) is None
    budget.spend("limit")
    assert list(json.loads(path.read_text())["writes"]) == ["limit"]


def test_a_file_that_cannot_be_written_is_told_once_and_stops_nothing(
    clocks: Clocks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gone" / "north.json"
    budget = clocks.budget(path)
    budget.spend("limit")
    budget.spend("limit")
    assert caplog.text.count("is not saved") == 1
    assert budget.spent("limit") == 2
    path.parent.mkdir()
    budget.spend("limit")
    assert len(json.loads(path.read_text())["writes"]["limit"]) == 3


def test_a_wall_clock_set_back_does_not_lock_a_register_for_ever(clocks: Clocks) -> None:
    budget = clocks.budget()
    clocks.utc = START + timedelta(days=3000)
    spend(budget, clocks, "limit", 3)
    clocks.utc = START
    assert budget.left("limit") == 0
    clocks.pass_s(86_400.0)
    assert budget.left("limit") == 3


@given(st.lists(st.tuples(st.integers(0, 30_000), st.booleans()), max_size=60))
def test_no_day_has_more_writes_than_allowed_unless_to_rest(
    steps: list[tuple[int, bool]],
) -> None:
    clocks = Clocks()
    budget = clocks.budget()
    ordinary: list[float] = []
    for pause_s, to_rest in steps:
        clocks.pass_s(pause_s)
        if budget.check(["limit"], to_rest=to_rest) is None:
            budget.spend("limit")
            if not to_rest:
                ordinary.append(clocks.monotonic_s)
    for at in ordinary:
        assert sum(at - 86_400 < other <= at for other in ordinary) <= LIMITS.per_day
    assert all(b - a >= LIMITS.min_interval_s for a, b in pairwise(ordinary))
