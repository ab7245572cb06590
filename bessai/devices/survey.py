"""Reads every point of a device once, and goes on where some of them fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bessai.config.profile import DeviceProfile, Space
from bessai.devices.codec import RegisterImage
from bessai.devices.connection import ModbusConnection
from bessai.devices.plan import Block, ReadRules, ReadSchedule
from bessai.devices.reading import Reading
from bessai.errors import DeviceError, DeviceTimeout, RegisterRejected

_MOST_SILENCES: Final = 3
"""After so many reads without an answer the device is taken to be gone."""
_MOMENT_S: Final = 0.0
"""All is read as of one moment: a guard that held when it was read holds for the survey."""


@dataclass(frozen=True, slots=True)
class Survey:
    """All that a device tells.

    Attributes:
        reading: Every point that could be read.
        lacking: Points that could not, and why.
        barred: Points whose condition does not hold now, so that they must not be read.
        requests: Reads sent.
    """

    reading: Reading
    lacking: Mapping[str, str]
    barred: tuple[str, ...]
    requests: int


async def read_everything(link: ModbusConnection, profile: DeviceProfile) -> Survey:
    """Read all readable points of ``profile``, which is as the device has it.

    Raises:
        DeviceTimeout: the link cannot be opened again after a silence.
    """
    survey = _Surveyor(link, profile)
    await survey.run()
    return survey.result()


class _Surveyor:
    """One survey."""

    def __init__(self, link: ModbusConnection, profile: DeviceProfile) -> None:
        self._link = link
        self._profile = profile
        points = {name: point for name, point in profile.points.items() if point.readable}
        self._schedule = ReadSchedule(points, {}, ReadRules.of(profile))
        self._reading = Reading(profile.points, RegisterImage())
        self._lacking: dict[str, str] = {}
        self._barred: list[str] = []
        self._silences = 0
        self._requests = 0

    async def run(self) -> None:
        pending = self._schedule.due(_MOMENT_S)
        while pending:
            block = pending.pop(0)
            if not self._schedule.allows(block, _MOMENT_S):
                self._barred.extend(block.points)
            elif self._silences >= _MOST_SILENCES:
                self._fail(block, "not read: the device had stopped answering")
            else:
                pending[:0] = await self._read(block)

    def result(self) -> Survey:
        return Survey(self._reading, dict(self._lacking), tuple(self._barred), self._requests)

    async def _read(self, block: Block) -> tuple[Block, ...]:
        """Read a block; where it is refused, its parts."""
        self._requests += 1
        try:
            if not self._link.connected:
                await self._link.connect()
            registers = await self._link.read(block.space, block.address, block.count)
        except RegisterRejected as error:
            return self._split(block, error)
        except DeviceError as error:
            self._silences += isinstance(error, DeviceTimeout)
            self._fail(block, str(error))
            return ()
        self._reading.image.store(block.space, block.address, registers)
        self._note_guards(block)
        return ()

    def _split(self, block: Block, error: RegisterRejected) -> tuple[Block, ...]:
        known = len(self._schedule.missing)
        parts = self._schedule.split(block)
        self._lacking.update(dict.fromkeys(self._schedule.missing[known:], str(error)))
        return parts

    def _fail(self, block: Block, reason: str) -> None:
        self._lacking.update(dict.fromkeys(block.points, reason))

    def _note_guards(self, block: Block) -> None:
        for guard in self._profile.guards:
            if guard.requires not in block.points:
                continue
            raw = self._reading.raw(guard.requires)
            self._schedule.note_guard(guard.requires, raw, _MOMENT_S)
            if raw != guard.equals:
                space = Space(guard.device, guard.table)
                self._reading.image.forget(space, guard.first, guard.last)
