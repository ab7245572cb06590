"""Who may write: tables over the pure rule."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest

from bessai.control.clocks import NEVER
from bessai.control.ownership import (
    ALONE,
    ANY_FAMILY,
    QUIET_S,
    SEEN_FREE_S,
    UNPROVEN,
    Claim,
    Ownership,
    OwnershipRules,
    next_ownership,
)
from bessai.model import Telemetry, Tenure
from bessai.units import MonotonicS
from tests.support.site_values import telemetry_at

DOUBT = MonotonicS(100.0)
NO_TIMER = OwnershipRules(quiet_s=QUIET_S, ends_by_itself=False)
WRITE_ONLY = OwnershipRules(quiet_s=90.0, ends_by_itself=True, tells_command=False)
MUTE_NO_TIMER = OwnershipRules(quiet_s=QUIET_S, ends_by_itself=False, tells_command=False)
AWAY = Claim(problem="the supervisor: no answer")
MINE = Claim(epoch=2, confirmed_at=DOUBT, alone=True)
RIVAL = Claim(epoch=2, confirmed_at=DOUBT, rival="pid 9 on other")
OWNER = Ownership(Tenure.OWNER, None, settled_at=MonotonicS(90.0), proven=True)
PENDING, PROBATION, UNCONFIRMED = Tenure.PENDING, Tenure.PROBATION, Tenure.UNCONFIRMED


@dataclass
class Watch:
    """Steps one process through reads, one second apart, from just after the doubt."""

    claim: Claim
    standing: Ownership = UNPROVEN
    rules: OwnershipRules = ANY_FAMILY
    doubt_at: MonotonicS = DOUBT
    now: float = DOUBT

    def see(self, held_kw: float | None, seconds: int = 1) -> Tenure:
        for _ in range(seconds):
            self.now += 1.0
            self._step(telemetry_at(self.now, commanded_kw=held_kw))
        return self.standing.tenure

    def see_nothing(self, seconds: int = 1) -> Tenure:
        for _ in range(seconds):
            self.now += 1.0
            self._step(None)
        return self.standing.tenure

    def until_owner(self, held_kw: float | None, limit_s: int = 400) -> int | None:
        for second in range(1, limit_s + 1):
            if self.see(held_kw) is Tenure.OWNER:
                return second
        return None

    def _step(self, telemetry: Telemetry | None) -> None:
        self.standing = next_ownership(
            self.standing, self.claim, self.doubt_at, telemetry, MonotonicS(self.now), self.rules
        )


@pytest.mark.parametrize("rules", [ANY_FAMILY, NO_TIMER, WRITE_ONLY, MUTE_NO_TIMER])
@pytest.mark.parametrize("held_kw", [None, 4.0, math.nan])
def test_proven_alone_it_owns_at_once_whatever_the_device_holds(
    rules: OwnershipRules, held_kw: float | None
) -> None:
    assert Watch(MINE, rules=rules).see(held_kw) is Tenure.OWNER
    assert Watch(ALONE, rules=rules).see_nothing() is Tenure.OWNER


@pytest.mark.parametrize(
    ("claim", "rules", "held_kw", "after_s", "meanwhile"),
    [
        # An earlier owner may live elsewhere: the device must be seen free.
        (RIVAL, ANY_FAMILY, None, SEEN_FREE_S + 1, PROBATION),
        (RIVAL, OwnershipRules(quiet_s=10.0), None, 11, PROBATION),
        (RIVAL, ANY_FAMILY, 4.0, None, PROBATION),
        (RIVAL, ANY_FAMILY, 0.0, None, PROBATION),
        (RIVAL, ANY_FAMILY, math.nan, None, PROBATION),
        # Without a timer of the device, its command must stand still for the whole time.
        (RIVAL, NO_TIMER, None, QUIET_S + 1, PROBATION),
        (RIVAL, NO_TIMER, 4.0, QUIET_S + 2, PROBATION),
        (RIVAL, NO_TIMER, math.nan, None, PROBATION),
        # A family that does not tell: the whole time passes.
        (RIVAL, WRITE_ONLY, None, 91, PROBATION),
        (RIVAL, WRITE_ONLY, 4.0, 91, PROBATION),
        (RIVAL, MUTE_NO_TIMER, None, QUIET_S + 1, PROBATION),
        # Nobody can be asked: free for the whole period, never before.
        (AWAY, ANY_FAMILY, None, QUIET_S + 1, PENDING),
        (AWAY, ANY_FAMILY, 4.0, None, PENDING),
        (AWAY, NO_TIMER, 4.0, QUIET_S + 2, PENDING),
        (AWAY, WRITE_ONLY, None, 91, PENDING),
        (Claim(epoch=2, confirmed_at=MonotonicS(99.0)), ANY_FAMILY, None, 121, UNCONFIRMED),
        (Claim(epoch=2, confirmed_at=MonotonicS(99.0)), ANY_FAMILY, 4.0, None, UNCONFIRMED),
    ],
)
def test_how_long_a_process_that_is_not_proven_alone_only_reads(
    claim: Claim,
    rules: OwnershipRules,
    held_kw: float | None,
    after_s: float | None,
    meanwhile: Tenure,
) -> None:
    watch = Watch(claim, rules=rules)
    assert watch.see(held_kw) is meanwhile
    assert watch.standing.reason
    found = watch.until_owner(held_kw)
    assert found == (None if after_s is None else after_s - 1)


def test_a_device_that_drops_its_command_for_a_moment_is_no_proof() -> None:
    """A full LUNA2000 leaves forced mode; its owner writes again within 20 s."""
    watch = Watch(RIVAL)
    for _ in range(20):
        assert watch.see(4.0, 5) is PROBATION
        assert watch.see(None, 20) is PROBATION


def test_a_writer_without_a_timer_that_changes_its_mind_is_never_overruled() -> None:
    watch = Watch(RIVAL, rules=NO_TIMER)
    for turn in range(10):
        assert watch.see(float(turn), 100) is PROBATION


def test_reads_that_fail_do_not_count_against_the_silence_nor_begin_it() -> None:
    watch = Watch(RIVAL)
    assert watch.see_nothing(300) is PROBATION
    assert watch.see(None) is PROBATION
    assert watch.see_nothing(int(SEEN_FREE_S) - 1) is PROBATION
    assert watch.see_nothing() is Tenure.OWNER


@pytest.mark.parametrize("claim", [MINE, RIVAL, AWAY, Claim(epoch=2)])
def test_an_owner_without_a_doubt_goes_on_whatever_the_authority_says(claim: Claim) -> None:
    watch = Watch(claim, OWNER, doubt_at=OWNER.settled_at)
    assert watch.see(4.0, 1000) is Tenure.OWNER
    assert watch.standing.reason is None


def test_after_a_doubt_an_owner_reads_until_a_later_question_is_answered() -> None:
    watch = Watch(replace(MINE, confirmed_at=MonotonicS(99.9)), OWNER)
    assert watch.see(4.0, 500) is UNCONFIRMED
    watch.claim = MINE
    assert watch.see(4.0) is Tenure.OWNER
    assert watch.standing.settled_at == DOUBT


def test_after_a_doubt_without_an_authority_the_whole_period_counts_from_the_doubt_on() -> None:
    free = replace(OWNER, quiet_since=MonotonicS(0.0))
    watch = Watch(replace(MINE, confirmed_at=MonotonicS(99.9), problem="gone"), free)
    assert watch.see(None) is UNCONFIRMED
    assert watch.until_owner(None) == QUIET_S


def test_what_was_read_before_the_doubt_is_no_proof() -> None:
    late = replace(MINE, confirmed_at=MonotonicS(99.9))
    old = telemetry_at(DOUBT - 0.1, commanded_kw=None)
    standing = next_ownership(OWNER, late, DOUBT, old, MonotonicS(101.0), ANY_FAMILY)
    assert standing.quiet_since is None


def test_a_second_doubt_needs_a_second_answer() -> None:
    watch = Watch(MINE, OWNER)
    assert watch.see(4.0) is Tenure.OWNER
    watch.doubt_at = MonotonicS(watch.now)
    assert watch.see(4.0, 30) is UNCONFIRMED
    watch.claim = replace(MINE, confirmed_at=MonotonicS(watch.now))
    assert watch.see(4.0) is Tenure.OWNER


@pytest.mark.parametrize("before", [UNPROVEN, OWNER])
def test_superseded_is_above_every_proof(before: Ownership) -> None:
    watch = Watch(replace(MINE, superseded=True, rival="pid 9"), before)
    assert watch.see(None, 500) is Tenure.SUPERSEDED
    assert watch.standing.reason == "superseded: pid 9"
    assert not watch.standing.may_write


def test_why_it_only_reads_is_told_to_people() -> None:
    watch = Watch(RIVAL)
    watch.see(4.0)
    assert watch.standing.reason == (
        "an earlier owner may still write: pid 9 on other; the device holds 4 kW"
    )
    assert Watch(AWAY).standing.reason == "no epoch yet"
    watch = Watch(AWAY)
    watch.see_nothing()
    assert watch.standing.reason == "no epoch yet: the supervisor: no answer"
    assert NEVER < DOUBT
