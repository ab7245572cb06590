"""Cycles of one site as its control loop would hand them to a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bessai.control.follow import Orders, receive
from bessai.control.logbook.entries import DecisionLog
from bessai.control.step import ControlState, CycleInput, SiteRules, decide, settle
from bessai.model import FleetReply, Schedule
from bessai.model.outcome import Applied, ApplyOutcome
from bessai.units import MonotonicS
from tests.support.site_values import LIMITS, MARKET_0, SITE, schedule, telemetry_at

RULES = SiteRules(LIMITS, cycle_s=1.0, speed=1.0, renew_s=60.0)
START = datetime(2026, 1, 1, tzinfo=UTC)


class Wall:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class Tape:
    """Runs a healthy site cycle by cycle, one second apart, and tells each to a record.

    Attributes:
        plan: What the fleet wants.
        alarms: What the battery complains about.
        answer: What the device answers to a write; None as the device that does all.
    """

    def __init__(self, log: DecisionLog, wall: Wall, rules: SiteRules = RULES) -> None:
        self.log, self.wall, self.rules = log, wall, rules
        self.plan: Schedule = schedule([4.0] * 24)
        self.alarms: tuple[str, ...] = ()
        self.answer: ApplyOutcome | None = None
        self._state = ControlState()
        self._now = 100.0
        self._held_kw: float | None = None

    def run(self, cycles: int) -> None:
        for _ in range(cycles):
            self._cycle()

    def lose(self) -> None:
        self._state = self._state.after_loss()
        self.log.lost()

    def _cycle(self) -> None:
        self._now += 1.0
        self.wall.now += timedelta(seconds=1)
        now = MonotonicS(self._now)
        power_kw = (self._held_kw or 0.0) + (self._now % 7) * 0.001
        seen = telemetry_at(
            self._now - 0.05,
            alarms=self.alarms,
            commanded_kw=self._held_kw,
            active_power_kw=power_kw,
            grid_power_kw=power_kw,
        )
        orders = receive(Orders(), FleetReply(self.plan, 15.0), SITE, now)
        market_now = MARKET_0 + timedelta(seconds=self._now - 100.0)
        cycle = CycleInput(now, market_now, seen, orders)
        before = self._state
        self._state, decision = decide(before, self.rules, cycle)
        self.log.decided(before, self.rules, cycle, self._state, decision)
        if decision.write is not None:
            done = self.answer or Applied(decision.write.power_kw, writes=4)
            self._state = settle(self._state, decision.write, done, now)
            self.log.settled(decision.write, done, now)
            self._held_kw = decision.write.power_kw if isinstance(done, Applied) else self._held_kw


class Calls:
    """Keeps what a tape told, so that it can be told again without its cost."""

    def __init__(self) -> None:
        self.said: list[tuple[str, tuple[object, ...]]] = []

    def lost(self) -> None:
        self.said.append(("lost", ()))

    def decided(self, *args: object) -> None:
        self.said.append(("decided", args))

    def settled(self, *args: object) -> None:
        self.said.append(("settled", args))

    def close(self, timeout_s: float = 2.0) -> None:
        """There is nothing to close."""

    def tell(self, log: DecisionLog, wall: Wall, begin: int, end: int) -> None:
        """Tell a part of it again, a second per cycle."""
        for name, args in self.said[begin:end]:
            wall.now += timedelta(seconds=name == "decided")
            getattr(log, name)(*args)


def plans(count: int) -> Iterator[Schedule]:
    """Plans of which no two are equal."""
    for number in range(count):
        yield replace(schedule([4.0 - number * 0.001] * 24), expected_revenue=float(number))
