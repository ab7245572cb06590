"""Scripted fakes of the ports of one site."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from bessai.errors import BessaiError, DeviceBusy, DeviceError, DeviceTimeout, Fenced
from bessai.model import (
    DeviceIdentity,
    FleetReply,
    Grant,
    Owner,
    SiteId,
    SiteSnapshot,
    Telemetry,
)
from bessai.model.outcome import Applied, ApplyOutcome, PartiallyApplied, Rejected
from bessai.units import MonotonicS
from tests.support.site_time import virtual_now
from tests.support.site_values import HEALTHY


@dataclass(slots=True)
class Forced:
    """The command registers of an inverter.

    Attributes:
        kw: What they hold, or None.
        armed_at: When it was written.
        dead_man_s: Forgets a command after this time, if set.
    """

    kw: float | None = None
    armed_at: float = 0.0
    dead_man_s: float | None = None

    def now(self) -> float | None:
        """The command that is still in force."""
        if self.dead_man_s is not None and virtual_now() - self.armed_at > self.dead_man_s:
            self.kw = None
        return self.kw


class FakeDevice:
    """An inverter that follows its commands at once, and fails on demand.

    Attributes:
        base: Telemetry to report, apart from time, power and command.
        fault: What goes wrong now: ``dead``, ``busy``, ``hang``, ``bug`` or nothing.
        refuse: Whether writes are refused.
        follows: Whether power follows the command.
        read_s, connect_s: How long these take.
        register_s: How long each of the four register writes of a command takes.
        sent: When each register was sent, with the power of its command.
        forced: Its command registers; another handle may share them.
        keeps_command: How many releases are refused before one is taken.
        may_write: Asked before each register, as the driver does.
    """

    def __init__(self, forced: Forced | None = None) -> None:
        self.forced = forced or Forced()
        self.base: Telemetry = HEALTHY
        self.fault: str | None = None
        self.refuse = False
        self.follows = True
        self.read_s = 0.05
        self.connect_s = 0.0
        self.register_s = 0.0
        self.commands: list[tuple[float, float]] = []
        self.sent: list[tuple[float, float]] = []
        self.reads: list[float] = []
        self.connects: list[float] = []
        self.released = 0
        self.closed = 0
        self.keeps_command = 0
        self.may_write: Callable[[], None] = _always
        self._counted_at: float | None = None
        self._gone_pct = 0.0

    @property
    def commanded_kw(self) -> float | None:
        """The command in force; setting it is what somebody else does."""
        return self.forced.now()

    @commanded_kw.setter
    def commanded_kw(self, power_kw: float | None) -> None:
        self.forced.kw, self.forced.armed_at = power_kw, virtual_now()

    async def connect(self) -> DeviceIdentity:
        self.connects.append(virtual_now())
        await asyncio.sleep(self.connect_s)
        if self.fault == "dead":
            raise DeviceTimeout("connection refused")
        return DeviceIdentity("SUN2000-5KTL-L1", "S1", "V1")

    async def read_telemetry(self) -> Telemetry:
        started = virtual_now()
        self.reads.append(started)
        await self._behave()
        power = self.commanded_kw or 0.0
        if not self.follows:
            power = 0.0
        self._count(started, power)
        soc = self.base.soc_pct
        return replace(
            self.base,
            soc_pct=None if soc is None else soc - self._gone_pct,
            measured_at=started,
            active_power_kw=power,
            grid_power_kw=power,
            commanded_kw=self.commanded_kw,
        )

    def _count(self, now: float, power_kw: float) -> None:
        """Energy leaves the battery, so that its state of charge follows the power."""
        if self._counted_at is not None and self.base.capacity_kwh:
            hours = (now - self._counted_at) / 3600.0
            self._gone_pct += 100.0 * power_kw * hours / self.base.capacity_kwh
        self._counted_at = now

    async def apply_power(self, power_kw: float) -> ApplyOutcome:
        if self.refuse:
            return Rejected("register 47247: exception 2")
        if self.fault == "dead":
            return Rejected("connection lost")
        for done in range(4):
            try:
                self.may_write()
            except Fenced as error:
                return PartiallyApplied(done, "power", str(error)) if done else Rejected(str(error))
            self.sent.append((virtual_now(), power_kw))
            await asyncio.sleep(self.register_s)
        self.commands.append((virtual_now(), power_kw))
        self.commanded_kw = power_kw
        return Applied(power_kw, writes=4)

    async def release(self) -> ApplyOutcome:
        self.released += 1
        if self.fault == "dead":
            return Rejected("not connected")
        try:
            self.may_write()
        except Fenced as error:
            return Rejected(str(error))
        if self.keeps_command > 0:
            self.keeps_command -= 1
            return Rejected("register 47100: exception 4")
        self.commanded_kw = None
        return Applied(0.0, writes=1)

    async def close(self) -> None:
        self.closed += 1

    async def _behave(self) -> None:
        await asyncio.sleep(self.read_s)
        match self.fault:
            case "dead":
                raise DeviceTimeout("no answer within 3 s")
            case "busy":
                raise DeviceBusy("device is busy")
            case "odd":
                raise DeviceError("short answer")
            case "hang":
                await asyncio.sleep(1000.0)
            case "bug":
                raise ZeroDivisionError("planted")


def _always() -> None:
    return


class FakeAuthority:
    """Hands out epochs as told, late or never on demand.

    Attributes:
        epoch: Newest epoch; a claim makes it one more.
        previous: Who is said to have owned the site before.
        delay_s: How long an answer takes; it tells how things stood when it was asked.
        down: It cannot be reached.
        bug: It answers with an error that nobody expects.
        asked: Control times of all questions.
    """

    def __init__(self, previous: Owner | None = None) -> None:
        self.epoch = 0
        self.previous = previous
        self.delay_s = 0.0
        self.down = False
        self.bug = False
        self.asked: list[float] = []

    async def claim(self, site_id: SiteId, owner: Owner) -> Grant:
        await self._reach()
        self.epoch += 1
        return Grant(self.epoch, self.previous)

    async def is_current(self, site_id: SiteId, epoch: int) -> bool:
        current = self.epoch == epoch
        await self._reach()
        return current

    async def _reach(self) -> None:
        self.asked.append(virtual_now())
        await asyncio.sleep(self.delay_s)
        if self.bug:
            raise ZeroDivisionError("planted")
        if self.down:
            raise BessaiError("the supervisor is gone")


class FakeUplink:
    """A fleet that answers with a fixed reply, late or never on demand."""

    def __init__(self, reply: FleetReply | None = None) -> None:
        self.reply = reply or FleetReply(schedule=None, lease_s=15.0)
        self.down = False
        self.bug = False
        self.delay_s = 0.0
        self.snapshots: list[SiteSnapshot] = []
        self.times: list[float] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def report(self, snapshot: SiteSnapshot) -> FleetReply:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.in_flight -= 1
        if self.bug:
            raise ZeroDivisionError("planted")
        if self.down:
            raise BessaiError("the fleet actor is gone")
        self.snapshots.append(snapshot)
        self.times.append(virtual_now())
        return self.reply


async def until(condition: Callable[[], bool], limit_s: float = 60.0) -> MonotonicS:
    """Let virtual time pass until a condition holds.

    Raises:
        TimeoutError: it does not hold within ``limit_s`` virtual seconds.
    """
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(0.1)
    return virtual_now()
