"""Reads what a cycle needs with few requests, and learns which registers a device lacks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, Protocol

from bessai.config.profile import DeviceProfile, Guard, Point, Space
from bessai.devices.codec import RegisterImage, Registers
from bessai.devices.plan import Block, ReadRules, ReadSchedule
from bessai.devices.reading import Reading
from bessai.devices.telemetry import commanded_models, poll_points, watched_points
from bessai.errors import DeviceMoved, IllegalAddress
from bessai.units import MonotonicS

log = logging.getLogger(__name__)

ASK_AGAIN_S: Final = 60.0
"""Real seconds until points are asked for again that the device told before it refused them."""


class ReadLink(Protocol):
    """The part of a connection that polling needs."""

    async def read(self, space: Space, address: int, count: int) -> Registers:
        """Read registers."""
        ...


class Poller:
    """Keeps the register image of one connection as fresh as the profile asks.

    Attributes:
        image: What was read and written on this connection; slow values are at most
            ``slow_s`` old, registers that may not be read now are not in it.
        reading: The profile's points in the image.
        requests: Read requests sent so far.
    """

    def __init__(self, link: ReadLink, profile: DeviceProfile) -> None:
        self._link = link
        self._guards = profile.guards
        fast, slow = poll_points(profile)
        self._schedule = ReadSchedule(fast, slow, ReadRules.of(profile))
        self.image = RegisterImage()
        self.reading = Reading(profile.points, self.image)
        self.requests = 0
        self._models = commanded_models(profile)
        watched = [(state, watched_points(profile, state)) for state in profile.commanded]
        self._watched_in = watched if any(names for _, names in watched) else []
        self._watched_else = watched_points(profile, None)
        self._watched: frozenset[str] = frozenset()
        self._lost: set[str] = set()
        self._ask_again_at: MonotonicS | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Points that the device refuses."""
        return self._schedule.missing

    async def read(self, now: MonotonicS) -> None:
        """Read every block that is due at ``now``.

        The power of the command in force is at most one read older than its mode.

        Raises:
            DeviceError: a block failed; what was read before it is kept.
            DeviceMoved: addresses found at the start of the connection no longer hold.
        """
        if self._ask_again_at is not None and now >= self._ask_again_at:
            self._schedule.reset()
            self._ask_again_at = None
        await self._read_all(self._schedule.due(now, self._watched), now)
        watched = self._worth_watching()
        if watched != self._watched:
            # Another command than before: the new mode with an old power would be a third one.
            await self._read_all(self._schedule.unread(now, watched), now)
            self._watched = watched
        for name, model in self._models.items():
            if self.reading.raw(name) != model:
                raise DeviceMoved(
                    "the device has another SunSpec map now; it is to be found anew",
                    field=name,
                    value=str(self.reading.raw(name)),
                )

    async def read_points(self, points: Mapping[str, Point], now: MonotonicS) -> None:
        """Read these points, whatever their age.

        Raises:
            DeviceError: a block failed.
        """
        await self._read_all(list(self._schedule.cover(points, now)), now)

    def _worth_watching(self) -> frozenset[str]:
        """The slow points that tell which command is in force, as far as is known now."""
        for state, names in self._watched_in:
            if self.reading.holds(state):
                return names
        return self._watched_else

    async def _read_all(self, pending: list[Block], now: MonotonicS) -> None:
        while pending:
            block = pending.pop(0)
            if self._schedule.allows(block, now):
                pending[:0] = await self._read_block(block, now)

    async def _read_block(self, block: Block, now: MonotonicS) -> tuple[Block, ...]:
        """Read one block; where the device lacks a part of it, what to read in its place."""
        self.requests += 1
        try:
            registers = await self._link.read(block.space, block.address, block.count)
        except IllegalAddress:
            known = len(self.missing)
            parts = self._schedule.split(block)
            for name in self.missing[known:]:
                self._lose(name, now)
            return parts
        self.image.store(block.space, block.address, registers)
        self._schedule.note_read(block, now)
        self._note_guards(block, now)
        return ()

    def _lose(self, name: str, now: MonotonicS) -> None:
        """A refused point has no value any more; one that had one is asked for again later."""
        point = self._schedule.point(name)
        if name not in self._lost:
            log.warning("device lacks a point", extra={"point": name})
        if name in self._lost or self.image.registers(point) is not None:
            self._lost.add(name)
            self._ask_again_at = MonotonicS(now + ASK_AGAIN_S)
        self.image.forget(point.space, point.address, point.end - 1)
        for guard in self._guards:
            if guard.requires == name:
                self._schedule.note_guard(name, None, now)
                self._forget_guarded(guard)

    def _note_guards(self, block: Block, now: MonotonicS) -> None:
        for guard in self._guards:
            if guard.requires not in block.points:
                continue
            raw = self.reading.raw(guard.requires)
            self._schedule.note_guard(guard.requires, raw, now)
            if raw != guard.equals:
                self._forget_guarded(guard)

    def _forget_guarded(self, guard: Guard) -> None:
        self.image.forget(Space(guard.device, guard.table), guard.first, guard.last)
