"""Random sites and random lives for them; the same seed lives the same life."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random

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
from tests.support.site_values import LIMITS, SITE
from tests.support.site_world import HONEST, Answer, Read, Setting, World

ODD_NUMBERS = (None, math.nan, math.inf, -math.inf, 0.0, -1.0, 1e308, -1e308, 5e-324, 1e6, 101.0)
FIELDS = (
    "soc_pct",
    "capacity_kwh",
    "active_power_kw",
    "grid_power_kw",
    "temperature_c",
    "charge_limit_kw",
    "discharge_limit_kw",
    "commanded_kw",
)
LASTING = (0.01, 0.5, 3.0, 20.0, 90.0, math.inf)


def random_setting(dice: Random) -> Setting:
    """Any site: both speeds, with and without timer, telling and mute, sparing and not."""
    capacity = dice.choice([2.0, 10.0, 40.0])
    low = dice.choice([0.0, 5.0, 20.0])
    high = dice.choice([80.0, 95.0, 100.0])
    limits = replace(
        LIMITS,
        capacity_kwh=dice.choice([None, capacity, capacity * 0.9, capacity * 3]),
        max_charge_kw=dice.choice([1.0, 5.0, 12.0]),
        max_discharge_kw=dice.choice([1.0, 5.0, 12.0]),
        soc_min_pct=low,
        soc_max_pct=high,
        backup_reserve_pct=dice.choice([0.0, 0.0, 30.0]),
        export_limit_kw=dice.choice([0.0, 2.0, 5.0, math.inf]),
        import_limit_kw=dice.choice([0.0, 2.0, 5.0, math.inf]),
        ramp_kw_per_s=dice.choice([0.05, 0.5, 5.0]),
        round_trip_efficiency_pct=dice.choice([60.0, 90.0, 100.0]),
    )
    dead_man_s = dice.choice([None, 20.0, 120.0, 120.0])
    return Setting(
        SiteRules(
            limits,
            cycle_s=dice.choice([0.2, 1.0, 1.0, 5.0]),
            speed=dice.choice([1.0, 600.0]),
            renew_s=None if dead_man_s is None else dead_man_s / 2.0,
            spare_s=dice.choice([0.0, 0.0, 30.0]),
            ownership=OwnershipRules(
                quiet_s=120.0 if dead_man_s is None else dead_man_s,
                ends_by_itself=dead_man_s is not None,
                tells_command=dice.random() < 0.8,
            ),
            foreign=dice.choice(list(ForeignPolicy)),
            local=dice.choice([None, SelfConsumption()]),
        ),
        capacity_kwh=capacity,
        soc_pct=dice.uniform(0.0, 100.0),
        dead_man_s=dead_man_s,
        grid_metered=dice.random() < 0.9,
    )


class Life:
    """Lets chance act on a world, a few things per cycle.

    Args:
        world: What it acts on.
        dice: Source of all chance.
        calm: Share of cycles in which nothing but the cycle happens.
    """

    def __init__(self, world: World, dice: Random, calm: float = 0.6) -> None:
        self._world, self._dice, self._calm = world, dice, calm
        self._named = 0
        self._events: tuple[Callable[[], None], ...] = (
            self._answer,
            self._answer,
            self._answer,
            self._plan,
            self._plan,
            self._foreign,
            self._flow,
            self._device,
            self._stop,
            self._claim,
            self._connection,
            self._time,
        )
        world.claims(epoch=1, alone=dice.random() < 0.7, confirmed_at=MonotonicS(world.now))

    def cycle(self) -> None:
        """One cycle with what happens before it."""
        world, dice = self._world, self._dice
        if dice.random() > self._calm:
            dice.choice(self._events)()
        read = HONEST if dice.random() < 0.85 else self._read()
        answer = Answer.APPLIED if dice.random() < 0.9 else dice.choice(list(Answer))
        cycle_s = world.rules.cycle_s
        write_s = cycle_s * dice.choice([0.05, 0.1, 0.3, 0.3, 0.6])
        if dice.random() < 0.3:
            world.confirm()
        world.cycle(read, answer, write_s)
        world.live(cycle_s * dice.choice([0.5, 0.8, 0.9, 1.0, 1.0]))

    def _name(self, what: str) -> str:
        self._named += 1
        return f"{what}-{self._named}"

    def _power(self) -> float:
        limits = self._world.rules.limits
        full = max(limits.max_charge_kw, limits.max_discharge_kw)
        return self._dice.choice([0.0, full, -full, self._dice.uniform(-2 * full, 2 * full)])

    def _answer(self) -> None:
        dice, world = self._dice, self._world
        proposals = tuple(self._proposal() for _ in range(dice.randrange(4)))
        epoch = max(0, world.orders.epoch + dice.choice([0, 0, 0, 0, 1, -1]))
        world.answer(FleetReply(None, dice.choice(LASTING), proposals, epoch))

    def _proposal(self) -> Proposal:
        dice = self._dice
        one, other = sorted((self._power(), self._power()))
        return Proposal(
            source="somebody",
            priority=dice.choice([p for p in Priority if p is not Priority.SAFETY]),
            preferred_kw=dice.choice([self._power(), self._power(), math.nan, 1e308]),
            bounds=dice.choice([None, Bounds(one, other)]),
            expires_at=MonotonicS(dice.choice([*LASTING, -1.0, math.nan])),
            cause_id=CauseId(self._name("wish")),
        )

    def _plan(self) -> None:
        dice, world = self._dice, self._world
        step = timedelta(seconds=dice.choice([2.0, 20.0, 600.0]) * world.rules.speed)
        start = world.market_now - step * dice.random()
        intervals = tuple(
            Interval(start + n * step, start + (n + 1) * step, self._power(), 50.0)
            for n in range(dice.randrange(1, 5))
        )
        name = ScheduleId(self._name("plan"))
        plan = Schedule(name, SITE, start, intervals, "dispatch", 0.0, "USD")
        world.answer(FleetReply(plan, dice.choice(LASTING), (), world.orders.epoch))

    def _foreign(self) -> None:
        odd = self._dice.choice([math.nan, math.inf, 100.0])
        self._world.foreign(self._dice.choice([None, None, odd, self._power(), self._power()]))

    def _flow(self) -> None:
        self._world.flow_beside(self._dice.uniform(-8.0, 8.0))

    def _device(self) -> None:
        dice = self._dice
        most = [0.0, 0.5, 3.0, 1e9, 1e9]
        self._world.device_limits(dice.choice(most), dice.choice(most))

    def _stop(self) -> None:
        what = self._dice.random()
        if what < 0.4:
            self._world.freeze() if what < 0.1 else self._world.order(stopped=True)
        else:
            self._world.order(stopped=False)

    def _claim(self) -> None:
        world, dice = self._world, self._dice
        match dice.randrange(6):
            case 0:
                world.doubt()
            case 1:
                world.claims(alone=True, rival=None)
            case 2 | 3:
                world.claims(problem=dice.choice([None, "the supervisor is gone"]))
            case 4:
                world.claims(confirmed_at=MonotonicS(world.now - dice.uniform(0.0, 30.0)))
            case _:
                world.claims(superseded=dice.random() < 0.02)

    def _connection(self) -> None:
        if self._world.connected:
            self._world.lose()
        else:
            self._world.connect()

    def _time(self) -> None:
        world, dice = self._world, self._dice
        jump_s = dice.choice([1.0, 2.5, 9.0, 30.0, 130.0, 4000.0])
        if dice.random() < 0.5:
            world.stand_still(jump_s)
        else:
            world.live(min(jump_s, 30.0))

    def _read(self) -> Read:
        dice = self._dice
        takes_s = dice.choice([0.05, 0.05, 0.3, 2.0, 8.0])
        what = dice.random()
        if what < 0.5:
            return Read(fails=what < 0.35, takes_s=takes_s)
        lies: dict[str, object] = {}
        for _ in range(dice.randrange(1, 3)):
            lies[dice.choice(FIELDS)] = dice.choice([*ODD_NUMBERS, dice.uniform(-20.0, 120.0)])
        strange = dice.random()
        if strange < 0.2:
            lies["frozen"] = True
        elif strange < 0.3:
            lies["battery_status"] = dice.choice(["fault", None, "odd"])
        elif strange < 0.4:
            lies["alarms"] = ("2068 battery abnormal",)
        elif strange < 0.5:
            lies["measured_at"] = MonotonicS(self._world.now - dice.uniform(-2.0, 30.0))
        return Read(lies=lies, takes_s=takes_s)


def live(seed: int, cycles: int = 200) -> World:
    """A whole life; at its end the site must come back by itself."""
    dice = Random(seed)
    world = World(random_setting(dice))
    life = Life(world, dice, calm=dice.choice([0.3, 0.7, 0.95]))
    for _ in range(cycles):
        life.cycle()
    if dice.random() < 0.1:
        world.check_comes_back()
    return world
