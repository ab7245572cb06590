"""Whose plan a site works on: down at once, up after a while."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bessai.control.autonomy import NOT_STARTED, UP_S, Autonomy, next_autonomy
from bessai.model import AutonomyLevel
from bessai.units import MonotonicS

FLEET, CACHED = AutonomyLevel.FLEET, AutonomyLevel.CACHED_SCHEDULE
LOCAL, HOLD, STOP = AutonomyLevel.LOCAL_POLICY, AutonomyLevel.HOLD, AutonomyLevel.SAFE_STOP


def play(*bests: AutonomyLevel, start: Autonomy = NOT_STARTED, gone: bool = False) -> list[str]:
    """One second per best level; a lower level is there too, unless it is ``gone``."""
    state, levels = start, []
    for second, best in enumerate(bests):
        now = MonotonicS(100.0 + second)
        state = next_autonomy(state, best, f"because of {best.value}", now, tenable=not gone)
        levels.append(state.level.value)
    return levels


@pytest.mark.parametrize("best", list(AutonomyLevel))
def test_the_first_level_is_taken_at_once(best: AutonomyLevel) -> None:
    assert play(best) == [best.value]


@pytest.mark.parametrize("worse", [CACHED, LOCAL, HOLD, STOP])
def test_the_way_down_is_at_once(worse: AutonomyLevel) -> None:
    assert play(FLEET, worse) == [FLEET.value, worse.value]


@pytest.mark.parametrize("worse", [CACHED, LOCAL, HOLD])
def test_the_way_up_waits_and_a_break_begins_it_anew(worse: AutonomyLevel) -> None:
    waits = int(UP_S)
    assert play(FLEET, worse, *[FLEET] * waits)[1:] == [worse.value] * (1 + waits)
    assert play(FLEET, worse, *[FLEET] * (waits + 1))[-1] == FLEET.value
    broken = [*[FLEET] * waits, worse, *[FLEET] * waits]
    assert set(play(FLEET, worse, *broken)[1:]) == {worse.value}


def test_a_start_that_holds_until_it_hears_the_fleet_does_not_wait_longer() -> None:
    assert play(HOLD, HOLD, FLEET) == [HOLD.value, HOLD.value, FLEET.value]


def test_a_level_that_is_gone_is_left_at_once_also_upwards() -> None:
    assert play(LOCAL, FLEET, gone=True) == [LOCAL.value, FLEET.value]


def test_a_release_by_a_person_takes_effect_at_once() -> None:
    assert play(FLEET, STOP, FLEET) == [FLEET.value, STOP.value, FLEET.value]


def test_a_link_that_flaps_changes_the_level_a_few_times_only() -> None:
    flapping = [FLEET, CACHED] * 500
    levels = play(*flapping)
    assert sum(a != b for a, b in pairwise(levels)) == 1


def test_each_level_carries_its_cause_and_its_begin() -> None:
    holds = next_autonomy(NOT_STARTED, HOLD, "nobody plans", MonotonicS(5.0), tenable=True)
    assert (holds.level, holds.cause) == (HOLD, "nobody plans")
    first = next_autonomy(holds, FLEET, "it answers", MonotonicS(6.0), tenable=True)
    assert (first.level, first.cause, first.since) == (FLEET, "it answers", 6.0)
    same = next_autonomy(first, FLEET, "another reason", MonotonicS(9.0), tenable=True)
    assert (same.cause, same.since) == ("it answers", 6.0)
