"""Somebody else commands the inverter: answered by policy, never by a fight, safety always."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from bessai.control.follow import Orders, receive
from bessai.control.ledger import MAX_ANSWERS, UNDISTURBED_S, ForeignPolicy, Write, WriteKind
from bessai.control.step import ControlState, CycleInput, SiteRules, decide, settle
from bessai.control.validate import validate_state
from bessai.model import FleetReply, StopOrder, Stops
from bessai.model.outcome import Applied, PartiallyApplied
from bessai.model.stop import NO_STOPS
from bessai.units import MonotonicS
from tests.support.site_time import WALL_0
from tests.support.site_values import LIMITS, MARKET_0, SITE, schedule, telemetry_at

REASSERT, YIELD, ALARM = ForeignPolicy.REASSERT, ForeignPolicy.YIELD, ForeignPolicy.ALARM
HOUR = 3600
Foreigner = Callable[[int], float | str | None]
"""What somebody else does in each second: a power, ``release`` or nothing (None)."""


def nobody(_second: int) -> None:
    return


@dataclass
class Site:
    """A site and its device, one cycle per second; the other one writes between two cycles."""

    policy: ForeignPolicy
    plan_kw: float = 4.0
    dead_man_s: float = 120.0
    rules: SiteRules = field(init=False)
    reply: FleetReply = field(init=False)
    state: ControlState = field(default_factory=ControlState)
    held: float | None = None
    armed_at: float = -math.inf
    now: float = 100.0
    soc_pct: float = 50.0
    discharge_limit_kw: float = 5.0
    stops: Stops = NO_STOPS
    partial: bool = False
    lossy: bool = False
    writes: list[tuple[float, Write]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reply = FleetReply(schedule([self.plan_kw] * 24), 15.0)
        self.rules = SiteRules(LIMITS, cycle_s=1.0, speed=1.0, renew_s=60.0, foreign=self.policy)

    def run(self, seconds: int, other: Foreigner = nobody) -> list[Write]:
        before = len(self.writes)
        for second in range(seconds):
            self._second(other(second))
        return [write for _, write in self.writes[before:]]

    def _second(self, wish: float | str | None) -> None:
        self.now += 1.0
        if self.now - self.armed_at >= self.dead_man_s:
            self.held = None
        if wish == "release":
            self.held = None
        elif wish is not None:
            self.held, self.armed_at = float(wish), self.now
        if self.lossy:
            self.state = self.state.after_loss()
        power_kw = 0.0 if self.held is None or not abs(self.held) <= 5.0 else self.held
        self.soc_pct -= power_kw / HOUR * 10.0
        seen = telemetry_at(
            self.now,
            commanded_kw=self.held,
            soc_pct=self.soc_pct,
            discharge_limit_kw=self.discharge_limit_kw,
            active_power_kw=power_kw,
            grid_power_kw=power_kw,
        )
        orders = receive(Orders(), self.reply, SITE, MonotonicS(self.now))
        cycle = CycleInput(
            MonotonicS(self.now),
            MARKET_0 + timedelta(seconds=self.now - 100.0),
            seen,
            orders,
            stops=self.stops,
        )
        self.state, decision = decide(self.state, self.rules, cycle)
        validate_state(self.state, self.rules)
        if decision.write is None:
            return
        self.writes.append((self.now, decision.write))
        outcome: Applied | PartiallyApplied = Applied(decision.write.power_kw, 4)
        if self.partial:
            outcome = PartiallyApplied(3, "forced_command", "reads back 0")
        else:
            self.held, self.armed_at = decision.write.power_kw, self.now
        self.state = settle(self.state, decision.write, outcome, MonotonicS(self.now))

    def stop(self, revision: int) -> None:
        self.stops = self.stops.heard(StopOrder(revision, True, "Ana", "smoke", WALL_0))

    def release(self, revision: int) -> None:
        self.stops = self.stops.heard(StopOrder(revision, False, "Ana", "clear", WALL_0))


def settled(policy: ForeignPolicy, **changes: float) -> Site:
    site = Site(policy)
    for name, value in changes.items():
        assert hasattr(site, name)
        setattr(site, name, value)
    site.run(3)
    assert site.held == site.plan_kw
    return site


def always(power_kw: float) -> Foreigner:
    return lambda _second: power_kw


def in_turn(power_kw: float, on_s: int, off_s: int) -> Foreigner:
    return lambda second: power_kw if second % (on_s + off_s) < on_s else "release"


@pytest.mark.parametrize(("policy", "answers"), [(REASSERT, MAX_ANSWERS), (YIELD, 0), (ALARM, 0)])
def test_a_writer_that_writes_every_second_is_answered_so_often(
    policy: ForeignPolicy, answers: int
) -> None:
    site = settled(policy)
    writes = site.run(1000, always(-3.0))
    assert [write.kind for write in writes] == [WriteKind.EXTERNAL] * answers
    assert site.held == -3.0


@pytest.mark.parametrize("policy", [REASSERT, YIELD])
def test_when_the_other_one_leaves_the_site_comes_back_by_itself(policy: ForeignPolicy) -> None:
    site = settled(policy)
    site.run(600, always(-3.0))
    assert site.run(int(UNDISTURBED_S + site.dead_man_s) + 2)
    assert site.held == 4.0


def test_an_alarm_is_left_alone_until_a_person_releases_the_site() -> None:
    site = settled(ALARM)
    site.run(10, always(-3.0))
    assert site.run(1000) == []
    assert site.state.ledger.yielding
    site.release(1)
    site.run(2)
    assert site.held == 4.0
    site.run(10, always(-3.0))
    site.run(1000)
    assert site.held is None, "the release of before does not count for the next one"


ATTACKS = {
    "each second": always(-3.0),
    "command and release in turn": in_turn(-3.0, 1, 1),
    "command, then a long pause": in_turn(-3.0, 1, 40),
    "releases only": lambda _second: "release",
    "two powers in turn": lambda second: -3.0 if second % 2 else 2.0,
    "every power in turn": lambda second: (second % 100) / 10 - 5,
    "just ours and another in turn": lambda second: 4.0 if second % 2 else 3.0,
    "every half minute": lambda second: -3.0 if second % 30 == 0 else None,
    "every two minutes": lambda second: -3.0 if second % 120 == 0 else None,
}

RELEASING = frozenset({"releases only", "command, then a long pause"})


@pytest.mark.parametrize("lossy", [False, True], ids=["", "lossy"])
@pytest.mark.parametrize("attack", list(ATTACKS))
@pytest.mark.parametrize("policy", [REASSERT, YIELD, ALARM])
def test_no_writer_makes_this_site_fight(policy: ForeignPolicy, attack: str, lossy: bool) -> None:
    fight(policy, attack, lossy=lossy, seconds=200)


@pytest.mark.slow
@pytest.mark.parametrize("lossy", [False, True], ids=["", "lossy"])
@pytest.mark.parametrize("attack", list(ATTACKS))
@pytest.mark.parametrize("policy", [REASSERT, YIELD, ALARM])
def test_no_writer_makes_this_site_fight_for_an_hour(
    policy: ForeignPolicy, attack: str, lossy: bool
) -> None:
    fight(policy, attack, lossy=lossy, seconds=HOUR)


def fight(policy: ForeignPolicy, attack: str, *, lossy: bool, seconds: int) -> None:
    """``lossy``: the device closes our connection for each of theirs."""
    site = settled(policy)
    site.lossy = lossy
    writes = site.run(seconds, ATTACKS[attack])
    ours = [write for write in writes if write.kind is not WriteKind.RENEW]
    # Ours that is gone is written again each 10 s; an answer to somebody is rarer.
    every_s = 10 if attack in RELEASING else UNDISTURBED_S
    assert len(ours) <= seconds / every_s + MAX_ANSWERS
    assert not any(write.kind is WriteKind.SAFETY for write in ours)


@pytest.mark.parametrize("policy", [REASSERT, YIELD, ALARM])
def test_a_lost_connection_does_not_end_a_dispute(policy: ForeignPolicy) -> None:
    site = settled(policy)
    site.run(120, always(-3.0))
    site.state = site.state.after_loss()
    assert site.run(100, always(-3.0)) == []


@pytest.mark.parametrize("policy", [REASSERT, YIELD, ALARM])
def test_a_foreign_command_that_is_not_safe_is_undone_under_every_policy(
    policy: ForeignPolicy,
) -> None:
    site = settled(policy)
    site.run(60, always(3.0))
    site.discharge_limit_kw = 1.0
    for _ in range(100):
        (write,) = site.run(1, always(3.0))
        assert (write.kind, write.power_kw) == (WriteKind.SAFETY, 1.0)


@pytest.mark.parametrize("policy", [REASSERT, YIELD, ALARM])
def test_what_one_may_do_by_its_ramp_is_no_matter_of_safety(policy: ForeignPolicy) -> None:
    site = Site(policy, plan_kw=0.0)
    site.rules = replace(site.rules, limits=replace(LIMITS, ramp_kw_per_s=0.1))
    site.run(3)
    writes = site.run(600, lambda second: -3.0 if second % 2 else 3.0)
    assert len(writes) <= MAX_ANSWERS
    assert not any(write.kind is WriteKind.SAFETY for write in writes)


@pytest.mark.parametrize("policy", [REASSERT, YIELD, ALARM])
def test_a_stop_holds_however_long_somebody_else_was_yielded_to(policy: ForeignPolicy) -> None:
    """The other one leaves, and no timer of the device may end the rest."""
    site = settled(policy)
    site.run(120, always(-3.0))
    site.stop(1)
    site.run(1)
    for _ in range(400):
        site.run(1)
        assert site.held == 0.0
    site.run(5, lambda _second: "release")
    site.run(12)
    assert site.held == 0.0


@pytest.mark.parametrize("policy", [REASSERT, YIELD, ALARM])
def test_a_partial_write_in_a_dispute_is_no_way_out_of_it(policy: ForeignPolicy) -> None:
    site = settled(policy)
    site.run(60, always(3.0))
    site.discharge_limit_kw, site.partial = 1.0, True
    assert len(site.run(5, always(3.0))) == 5
    site.discharge_limit_kw, site.partial = 5.0, False
    assert site.run(100, always(3.0)) == []


def test_a_command_that_is_no_number_is_undone_and_harms_nothing() -> None:
    site = settled(REASSERT)
    for strange in (math.nan, math.inf, -math.inf, 1e308):
        site.run(3, always(strange))
        site.run(int(UNDISTURBED_S) + 2)
        assert site.held == 4.0


def test_after_a_dropped_command_power_grows_by_the_ramp_again() -> None:
    site = Site(REASSERT)
    site.rules = replace(site.rules, limits=replace(LIMITS, ramp_kw_per_s=0.5))
    site.run(20)
    assert site.held == 4.0
    site.held = None
    (write,) = site.run(1)
    assert write.power_kw == pytest.approx(0.5)
