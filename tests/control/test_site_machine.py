"""The pure core against an exact battery and everybody who may disturb it.

The machine finds and shrinks a short story that breaks a promise; the seeded lives run far more
steps in the same world. What is promised is in ``tests/support/site_world.py``.
"""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from bessai.control.ledger import ForeignPolicy
from bessai.control.ownership import OwnershipRules
from bessai.control.step import SiteRules
from bessai.model import (
    Bounds,
    CauseId,
    FleetReply,
    Interval,
    Priority,
    Proposal,
    Schedule,
    ScheduleId,
)
from bessai.policies.local.self_consumption import SelfConsumption
from bessai.units import MonotonicS
from tests.support.site_chance import FIELDS, live
from tests.support.site_strategies import site_limits
from tests.support.site_values import SITE
from tests.support.site_world import HONEST, Answer, Read, Setting, World

CYCLES_PER_LIFE = 200
MILLION = 1_000_000

powers = st.sampled_from([0.0, 1.0, -1.0, 100.0, -100.0]) | st.floats(-20, 20)
lives_s = st.sampled_from([0.0, 1.0, 5.0, 20.0, 90.0, math.inf, math.nan])
numbers = st.none() | st.floats() | st.floats(-20, 120)
lies = st.dictionaries(st.sampled_from(FIELDS), numbers, min_size=1, max_size=2)


@st.composite
def site_rules(draw: st.DrawFn) -> tuple[SiteRules, float | None]:
    """Any limits; with and without timer, telling and mute, sparing and not, slow and fast."""
    dead_man_s = draw(st.sampled_from([120.0, 20.0, None]))
    rules = SiteRules(
        draw(site_limits()),
        cycle_s=draw(st.sampled_from([1.0, 0.2, 5.0])),
        speed=draw(st.sampled_from([1.0, 600.0])),
        renew_s=None if dead_man_s is None else dead_man_s / 2.0,
        spare_s=draw(st.sampled_from([0.0, 30.0])),
        ownership=OwnershipRules(
            quiet_s=120.0 if dead_man_s is None else dead_man_s,
            ends_by_itself=dead_man_s is not None,
            tells_command=draw(st.booleans()),
        ),
        foreign=draw(st.sampled_from(ForeignPolicy)),
        local=draw(st.sampled_from([None, SelfConsumption()])),
    )
    return rules, dead_man_s


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    one, other = sorted((draw(powers), draw(powers)))
    return Proposal(
        source="somebody",
        priority=draw(st.sampled_from([p for p in Priority if p is not Priority.SAFETY])),
        preferred_kw=draw(powers | st.just(math.nan)),
        bounds=draw(st.none() | st.just(Bounds(one, other))),
        expires_at=MonotonicS(draw(lives_s)),
        cause_id=CauseId("wish"),
    )


class SiteMachine(RuleBasedStateMachine):
    """Every event of the world as a rule."""

    @initialize(
        given=site_rules(),
        capacity=st.floats(0.5, 100),
        soc=st.floats(0, 100),
        metered=st.booleans(),
        alone=st.booleans(),
    )
    def begin(
        self,
        given: tuple[SiteRules, float | None],
        capacity: float,
        soc: float,
        metered: bool,
        alone: bool,
    ) -> None:
        rules, dead_man_s = given
        self.world = World(Setting(rules, capacity, soc, dead_man_s, metered))
        self.world.claims(epoch=1, alone=alone, confirmed_at=MonotonicS(self.world.now))
        self.named = 0

    @rule(write=st.sampled_from([0.05, 0.3, 0.6]), answer=st.sampled_from(Answer))
    def cycle(self, write: float, answer: Answer) -> None:
        self.world.cycle(HONEST, answer, write * self.world.rules.cycle_s)

    @rule(count=st.integers(1, 20), wait=st.floats(0.2, 1.2))
    def quiet_cycles(self, count: int, wait: float) -> None:
        for _ in range(count):
            self.world.confirm()
            self.world.cycle()
            self.world.live(wait * self.world.rules.cycle_s)

    @rule(takes_s=st.sampled_from([0.05, 2.0, 8.0]))
    def read_fails(self, takes_s: float) -> None:
        self.world.cycle(Read(fails=True, takes_s=takes_s))

    @rule(told=lies, frozen=st.booleans())
    def read_lies(self, told: dict[str, object], frozen: bool) -> None:
        self.world.cycle(Read(lies={**told, "frozen": True} if frozen else told))

    @rule(wishes=st.lists(proposals(), max_size=3), lease_s=lives_s, ahead=st.integers(-1, 1))
    def fleet_answers(self, wishes: list[Proposal], lease_s: float, ahead: int) -> None:
        named = tuple(self._named(wish) for wish in wishes)
        epoch = max(0, self.world.orders.epoch + ahead)
        self.world.answer(FleetReply(None, lease_s, named, epoch))

    @rule(powers_kw=st.lists(powers, min_size=1, max_size=3), each_s=st.floats(0.5, 300))
    def fleet_plans(self, powers_kw: list[float], each_s: float) -> None:
        self.named += 1
        start, step = self.world.market_now, timedelta(seconds=each_s * self.world.rules.speed)
        plan = Schedule(
            ScheduleId(f"plan-{self.named}"),
            SITE,
            start,
            tuple(
                Interval(start + n * step, start + (n + 1) * step, power_kw, 50.0)
                for n, power_kw in enumerate(powers_kw)
            ),
            "dispatch",
            0.0,
            "USD",
        )
        self.world.answer(FleetReply(plan, 15.0, (), self.world.orders.epoch))

    @rule(stopped=st.booleans())
    def person_orders(self, stopped: bool) -> None:
        self.world.order(stopped=stopped)

    @rule()
    def guard_freezes(self) -> None:
        self.world.freeze()

    @rule(power_kw=st.none() | powers | st.just(math.nan))
    def somebody_writes(self, power_kw: float | None) -> None:
        self.world.foreign(power_kw)

    @rule(power_kw=st.floats(-30, 30))
    def load_changes(self, power_kw: float) -> None:
        self.world.flow_beside(power_kw)

    @rule(charge_kw=st.floats(0, 30), discharge_kw=st.floats(0, 30))
    def device_narrows(self, charge_kw: float, discharge_kw: float) -> None:
        self.world.device_limits(charge_kw, discharge_kw)

    @rule()
    def connection_is_lost(self) -> None:
        self.world.lose()

    @rule()
    def connection_is_back(self) -> None:
        self.world.connect()

    @rule()
    def doubt_arises(self) -> None:
        self.world.doubt()

    @rule(age_s=st.floats(0, 30))
    def epoch_was_confirmed(self, age_s: float) -> None:
        self.world.claims(confirmed_at=MonotonicS(self.world.now - age_s))

    @rule()
    def others_are_proven_dead(self) -> None:
        self.world.claims(alone=True)

    @rule()
    def newer_owner_claims(self) -> None:
        self.world.claims(superseded=True)

    @rule(seconds=st.sampled_from([0.5, 3.0, 30.0, 130.0, 4000.0]))
    def process_stands_still(self, seconds: float) -> None:
        self.world.stand_still(seconds)

    @rule(seconds=st.floats(0.1, 30))
    def time_passes(self, seconds: float) -> None:
        self.world.live(seconds)

    def _named(self, wish: Proposal) -> Proposal:
        self.named += 1
        return Proposal(
            wish.source,
            wish.priority,
            wish.preferred_kw,
            wish.bounds,
            wish.expires_at,
            CauseId(f"wish-{self.named}"),
        )


TestSite = SiteMachine.TestCase
TestSite.settings = settings(max_examples=60, stateful_step_count=40)


def test_random_lives_keep_every_promise() -> None:
    assert sum(live(seed, 100).steps for seed in range(50)) >= 5000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_steps_keep_every_promise() -> None:
    """Other lives than those of the short run; a broken one names its seed."""
    steps, seed = 0, 1000
    while steps < MILLION:
        seed += 1
        try:
            steps += live(seed, CYCLES_PER_LIFE).steps
        except AssertionError as error:
            raise AssertionError(f"life {seed}: {error}") from error


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_machine_searches_longer() -> None:
    class Longer(SiteMachine):
        """The same with more examples of more steps."""

    long_run = Longer.TestCase
    long_run.settings = settings(max_examples=2000, stateful_step_count=60)
    long_run("runTest").runTest()
