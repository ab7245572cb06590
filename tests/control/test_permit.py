"""The last question before each register write."""

from __future__ import annotations

import pytest

from bessai.control.permit import Permit
from bessai.errors import Fenced
from bessai.units import MonotonicS


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> MonotonicS:
        return MonotonicS(self.at)


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def permit(clock: Hand) -> Permit:
    return Permit(clock, gap_s=2.0)


def refused(permit: Permit) -> bool:
    try:
        permit.check()
    except Fenced:
        return True
    return False


def test_it_is_closed_until_the_first_doubt_is_settled(clock: Hand, permit: Permit) -> None:
    assert permit.doubt_at == 100.0
    assert refused(permit)
    permit.allow(MonotonicS(99.9))
    assert refused(permit)
    permit.allow(MonotonicS(100.0))
    assert not refused(permit)


def test_a_gap_is_noticed_by_the_question_before_anybody_else_has_run(
    clock: Hand, permit: Permit
) -> None:
    permit.allow(permit.doubt_at)
    clock.at += 2.0
    assert not refused(permit)
    clock.at += 2.1
    assert refused(permit)
    assert (permit.doubt_at, permit.gaps) == (104.1, 1)
    assert refused(permit), "the question itself settles nothing"


def test_a_beat_after_the_gap_does_not_hide_it(clock: Hand, permit: Permit) -> None:
    permit.allow(permit.doubt_at)
    clock.at += 30.0
    permit.beat()
    permit.beat()
    assert refused(permit)
    permit.allow(MonotonicS(100.0))
    assert refused(permit), "ownership was settled for the doubts before only"
    permit.allow(permit.doubt_at)
    assert not refused(permit)


def test_a_doubt_between_decision_and_write_wins(clock: Hand, permit: Permit) -> None:
    settled = permit.doubt_at
    clock.at += 1.0
    permit.doubt()
    permit.allow(settled)
    assert refused(permit)


def test_beats_more_often_than_the_gap_keep_it_open_for_ever(clock: Hand, permit: Permit) -> None:
    permit.allow(permit.doubt_at)
    for _ in range(1000):
        clock.at += 1.9
        permit.beat()
    assert not refused(permit)
    assert permit.gaps == 0


def test_none_closes_it(permit: Permit) -> None:
    permit.allow(permit.doubt_at)
    permit.allow(None)
    assert refused(permit)
