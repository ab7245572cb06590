"""Simulated devices for tests: a clock that moves by hand, and a profile without pauses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from bessai.config import DeviceProfile, load_profile
from bessai.config.profile import MAIN, Point, Space, Table
from bessai.devices import ModbusInverter
from bessai.devices.codec import RegisterImage, Registers
from bessai.devices.pdu import WriteRequest, read_answer, write_answer
from bessai.devices.reading import Reading
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.server import LOOPBACK, HostedInverter
from bessai.sim.spec import InverterSpec
from bessai.units import MonotonicS
from tests.support.modbus_raw import Raw

SPEC = InverterSpec(
    site_id="north",
    capacity_kwh=10.0,
    max_charge_kw=5.0,
    max_discharge_kw=5.0,
    soc_pct=50.0,
)


class HandClock:
    """Control time that moves only when told."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def __call__(self) -> MonotonicS:
        return MonotonicS(self.at_s)


def fast_profile(name: str = "huawei_sun2000", *, deadline_s: float = 5.0) -> DeviceProfile:
    """The real profile without the pauses that only real devices need."""
    profile = load_profile(name)
    quick = {"wait_after_connect_s": 0.0, "request_gap_s": 0.0, "request_deadline_s": deadline_s}
    return profile.model_copy(update={"connection": profile.connection.model_copy(update=quick)})


def simulated(
    clock: HandClock, *, spec: InverterSpec = SPEC, speed: float = 1.0, minute_s: float = 60.0
) -> SimulatedInverter:
    """One simulated inverter on a hand-moved clock."""
    return SimulatedInverter(spec, load_profile(spec.profile), speed, now=clock, minute_s=minute_s)


def client_of(
    host: HostedInverter, clock: HandClock, profile: DeviceProfile | None = None
) -> ModbusInverter:
    """A driver for a hosted device, not yet connected."""
    return ModbusInverter(
        host.inverter.spec.id,
        LOOPBACK,
        host.port,
        host.unit_id,
        profile or fast_profile(host.inverter.spec.profile),
        now=clock,
    )


@dataclass(frozen=True, slots=True)
class RawRegisters:
    """Register reads and writes over a raw connection to a hosted device."""

    raw: Raw
    host: HostedInverter

    def unit_of(self, device: str) -> int:
        """Unit id of a device; of the main unit the configured one."""
        units = self.host.inverter.units.items()
        return (
            self.host.unit_id if device == MAIN else next(u for u, name in units if name == device)
        )

    async def read(self, space: Space, address: int, count: int) -> Registers | int:
        """Words, or the exception code."""
        function = 3 if space.table is Table.HOLDING else 4
        pdu = bytes((function,)) + address.to_bytes(2, "big") + count.to_bytes(2, "big")
        answer = await self.raw.ask(pdu, unit_id=self.unit_of(space.device))
        if answer[0] & 0x80:
            return answer[1]
        words = tuple(int.from_bytes(answer[i : i + 2], "big") for i in range(2, len(answer), 2))
        assert answer == read_answer(function, words)
        assert len(words) == count
        return words

    async def write(self, address: int, words: Sequence[int], device: str = MAIN) -> int | None:
        """None, or the exception code; one word goes with function 6, more with 16."""
        data = b"".join(word.to_bytes(2, "big") for word in words)
        single = len(words) == 1
        head = address.to_bytes(2, "big")
        long = head + len(words).to_bytes(2, "big") + bytes((len(data),)) + data
        pdu = b"\x06" + head + data if single else b"\x10" + long
        answer = await self.raw.ask(pdu, unit_id=self.unit_of(device))
        if answer[0] & 0x80:
            return answer[1]
        assert answer == write_answer(WriteRequest(address, tuple(words), single))
        return None

    async def reading(self) -> Reading:
        """Every readable point, each with a request of its own."""
        points, image = self.host.inverter.profile.points, RegisterImage()
        for point in points.values():
            if point.readable:
                image.put(point, await self.words(point))
        return Reading(points, image)

    async def words(self, point: Point) -> Registers:
        """Registers of one point."""
        words = await self.read(point.space, point.address, point.count)
        assert not isinstance(words, int), f"exception {words} at {point.address}"
        return words


@contextlib.asynccontextmanager
async def hosted(inverter: SimulatedInverter) -> AsyncIterator[HostedInverter]:
    """The device behind a real server."""
    host = HostedInverter(inverter)
    await host.start()
    try:
        yield host
    finally:
        await host.stop()


async def registers_of(host: HostedInverter) -> RawRegisters:
    """A new raw connection."""
    return RawRegisters(Raw(*await asyncio.open_connection(LOOPBACK, host.port)), host)
