"""A process that lost its device sends nothing more, however far a command has come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import pytest

from bessai.config.profile import MAIN, Connection, KeepAlive, Space, Table, WriteBudget
from bessai.devices import ModbusInverter
from bessai.devices.budget import Budget
from bessai.devices.connection import ModbusConnection
from bessai.devices.logins import huawei
from bessai.devices.mbap import ModbusServer
from bessai.devices.turns import Urgency
from bessai.errors import DeviceError, Fenced
from bessai.model import SiteId
from bessai.model.outcome import Applied, PartiallyApplied, Rejected
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.server import LOOPBACK, HostedInverter
from bessai.sim.spec import InverterSpec
from tests.devices.test_login import HEARTBEAT, RIGHT, Device
from tests.support.modbus_raw import HOST, Bank, serving, until
from tests.support.simulated import HandClock, fast_profile, hosted, simulated

HOLDING = Space(MAIN, Table.HOLDING)
REASON = "epoch 8 owns the site now"
ONE = b"\x06\x00\x05\x00\x01"


class Permit:
    """May be withdrawn; counts how often it was asked."""

    def __init__(self) -> None:
        self.given = True
        self.asked = 0

    def __call__(self) -> None:
        self.asked += 1
        if not self.given:
            raise Fenced(REASON)


@pytest.fixture
def permit() -> Permit:
    return Permit()


class Witness:
    """A simulated inverter behind a real server, and every register that was written to it."""

    def __init__(self, permit: Permit, *, writes: int | None = None, name: str) -> None:
        self.permit = permit
        self.addresses: list[int] = []
        self.clock = HandClock()
        spec = InverterSpec(
            site_id="north", profile=name, capacity_kwh=10, max_charge_kw=3, max_discharge_kw=3
        )
        self.inverter: SimulatedInverter = simulated(self.clock, spec=spec)
        self._write = self.inverter.write
        self._most = writes
        self.commanded: list[float | None] = []
        self.inverter.write = self.write  # type: ignore[method-assign]
        self.budget = Budget(WriteBudget(), now=self.clock)

    def write(self, address: int, words: Sequence[int], device: str = MAIN) -> int | None:
        self.addresses.append(address)
        if len(self.addresses) == self._most:
            self.permit.given = False
        refused = self._write(address, words, device)
        self.commanded.append(self.inverter.commanded_kw)
        return refused

    def driver(self, host: HostedInverter) -> ModbusInverter:
        profile = fast_profile(self.inverter.profile.name)
        return ModbusInverter(
            SiteId("north"),
            LOOPBACK,
            host.port,
            host.unit_id,
            profile,
            now=self.clock,
            budget=self.budget,
            may_write=self.permit,
        )


async def test_a_permit_withdrawn_within_a_command_ends_it_there(permit: Permit) -> None:
    device = Witness(permit, writes=2, name="huawei_sun2000")
    async with hosted(device.inverter) as host:
        driver = device.driver(host)
        await driver.connect()
        outcome = await driver.apply_power(2.0)
        assert outcome == PartiallyApplied(2, "forced_command", REASON)
        points = driver.profile.points
        first = [points["forced_discharge_power"].address, points["forced_period"].address]
        assert device.addresses == first
        assert permit.asked == 3, "nothing is tried again"
        assert isinstance(await driver.release(), Rejected)
        assert device.addresses == first
        assert (await driver.read_telemetry()).commanded_kw is None
        permit.given = True
        assert isinstance(await driver.apply_power(2.0), Applied)
        assert device.inverter.commanded_kw == 2.0
        await driver.close()


async def test_what_was_written_before_a_withdrawal_is_not_taken_for_the_old_value(
    permit: Permit,
) -> None:
    device = Witness(permit, writes=2, name="huawei_sun2000")
    async with hosted(device.inverter) as host:
        driver = device.driver(host)
        await driver.connect()
        assert isinstance(await driver.apply_power(-2.0), PartiallyApplied)
        device.clock.at_s += 1.0
        await driver.read_telemetry()
        permit.given = True
        assert isinstance(await driver.apply_power(0.0), Applied)
        assert set(device.commanded) == {None, 0.0}, "the power of before came into force"
        await driver.close()


@pytest.mark.parametrize("name", ["huawei_sun2000", "goodwe_et"])
async def test_without_a_permit_nothing_is_written_and_no_budget_spent(
    permit: Permit, name: str
) -> None:
    device = Witness(permit, name=name)
    async with hosted(device.inverter) as host:
        driver = device.driver(host)
        await driver.connect()
        assert isinstance(await driver.apply_power(1.0), Applied)
        written, asked = list(device.addresses), permit.asked
        spent = [device.budget.spent(register) for register in ("ems_mode", "ems_power_limit")]
        permit.given = False
        device.clock.at_s += 31.0
        assert (await driver.read_telemetry()).commanded_kw == 1.0
        assert permit.asked == asked, "reading needs no permit"
        for _ in range(3):
            assert await driver.apply_power(1.5) == Rejected(REASON)
            assert await driver.apply_power(0.0) == Rejected(REASON)
            assert await driver.release() == Rejected(REASON)
        assert device.addresses == written
        assert spent == [device.budget.spent(r) for r in ("ems_mode", "ems_power_limit")]
        await driver.close()


@pytest.fixture
async def bank() -> Bank:
    return Bank()


@pytest.fixture
async def server(bank: Bank) -> AsyncIterator[ModbusServer]:
    async with serving(ModbusServer(bank)) as running:
        yield running


async def linked(server: ModbusServer, permit: Permit, gap_s: float = 0.0) -> ModbusConnection:
    settings = Connection(request_deadline_s=20.0, request_gap_s=gap_s)
    link = ModbusConnection(HOST, server.port, {MAIN: 1}, settings, may_write=permit)
    await link.connect()
    return link


async def test_a_permit_withdrawn_while_a_write_waits_for_its_turn(
    server: ModbusServer, bank: Bank, permit: Permit
) -> None:
    link = await linked(server, permit)
    bank.gate.clear()
    reading = asyncio.create_task(link.read(HOLDING, 5, 1))
    await bank.waiting.wait()
    writing = asyncio.create_task(link.write(MAIN, 5, (1,)))
    beating = asyncio.create_task(link.write(MAIN, 5, (1,), urgency=Urgency.BACKGROUND))
    await asyncio.sleep(0.02)
    permit.given = False
    bank.gate.set()
    assert await reading == (0,)
    for task in (writing, beating):
        with pytest.raises(Fenced, match=REASON):
            await task
    assert [pdu[0] for _, pdu in bank.seen] == [3]
    assert link.connected, "the link serves on"
    assert await link.read(HOLDING, 5, 1) == (0,)
    link.close()


async def test_a_permit_withdrawn_while_a_write_waits_for_the_gap(
    server: ModbusServer, bank: Bank, permit: Permit
) -> None:
    link = await linked(server, permit, gap_s=0.1)
    await link.read(HOLDING, 5, 1)
    writing = asyncio.create_task(link.write(MAIN, 5, (1,)))
    await asyncio.sleep(0.02)
    assert not writing.done()
    assert permit.asked == 0
    permit.given = False
    with pytest.raises(Fenced):
        await writing
    assert [pdu[0] for _, pdu in bank.seen] == [3]
    link.close()


async def test_nothing_can_happen_between_the_permit_and_the_transport(
    server: ModbusServer,
) -> None:
    order: list[str] = []

    class Spy:
        """Notes what goes to the transport of a link."""

        def __init__(self, transport: asyncio.Transport) -> None:
            self._transport = transport

        def write(self, data: bytes) -> None:
            order.append("sent")
            self._transport.write(data)

        def close(self) -> None:
            self._transport.close()

    def ask() -> None:
        order.append("asked")
        asyncio.get_running_loop().call_soon(order.append, "anything else")

    link = ModbusConnection(HOST, server.port, {MAIN: 1}, Connection(), may_write=ask)
    await link.connect()
    assert link._wire is not None
    inside = link._wire._client.ctx
    inside.transport = Spy(inside.transport)  # type: ignore[assignment, arg-type]
    for registers in ((1,), (1, 2)):
        await link.write(MAIN, 5, registers)
        assert order == ["asked", "sent", "anything else"]
        order.clear()
    link.close()


@pytest.mark.parametrize("function", [5, 6, 15, 16, 22, 23, 0x2B, huawei.FUNCTION, 100])
async def test_whatever_is_no_plain_read_needs_a_permit(
    server: ModbusServer, bank: Bank, permit: Permit, function: int
) -> None:
    permit.given = False
    link = await linked(server, permit)
    with pytest.raises(Fenced):
        await link.execute(bytes((function, 0, 5, 0, 1)))
    with pytest.raises(Fenced):
        await link.exchange(bytes((function, 0, 5, 0, 1)), unit_id=1)
    assert bank.seen == []
    for read in (1, 2, 3, 4):
        await link.exchange(bytes((read, 0, 5, 0, 1)), unit_id=1)
    assert len(bank.seen) == 4
    permit.given = True
    await link.exchange(ONE, unit_id=1)
    assert bank.words[5] == 1
    link.close()


SESSION = Connection(
    login="huawei",
    keep_alive=KeepAlive(point="session_heartbeat", value=1, every_s=0.02),
    request_deadline_s=20.0,
)


@pytest.fixture
async def guarded() -> AsyncIterator[tuple[Device, ModbusServer]]:
    device = Device()
    async with serving(ModbusServer(device)) as running:
        yield device, running


def session_on(server: ModbusServer, permit: Permit) -> ModbusConnection:
    return ModbusConnection(
        HOST,
        server.port,
        {MAIN: 1},
        SESSION,
        credentials=RIGHT,
        keep_alive=HEARTBEAT,
        may_write=permit,
    )


async def test_a_login_waits_for_the_permit_and_reading_does_not(
    guarded: tuple[Device, ModbusServer], permit: Permit
) -> None:
    device, server = guarded
    permit.given = False
    link = session_on(server, permit)
    await link.connect()
    assert await link.read(HOLDING, 5, 1) == (0,)
    with pytest.raises(Fenced):
        await link.write(MAIN, 5, (7,))
    await asyncio.sleep(0.05)
    assert (device.logins, device.heartbeats()) == (0, 0)
    permit.given = True
    await link.write(MAIN, 5, (7,))
    await link.write(MAIN, 5, (8,))
    assert (device.logins, device.words[5]) == (1, 8)
    await until(lambda: device.heartbeats() >= 2)
    link.close()


async def test_a_login_that_was_put_off_and_is_refused_is_not_hammered(
    guarded: tuple[Device, ModbusServer], permit: Permit
) -> None:
    device, server = guarded
    permit.given = False
    link = session_on(server, permit)
    await link.connect()
    permit.given = True
    device.pretends = True
    for _ in range(3):
        with pytest.raises(DeviceError, match="does not prove"):
            await link.write(MAIN, 5, (7,))
    assert device.logins == 1
    assert await link.read(HOLDING, 5, 1) == (0,)
    link.close()


async def test_keep_alives_stop_with_the_permit_and_come_back_with_it(
    guarded: tuple[Device, ModbusServer], permit: Permit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="bessai.devices.session")
    device, server = guarded
    link = session_on(server, permit)
    await link.connect()
    await until(lambda: device.heartbeats() >= 1)
    permit.given = False
    beats, asked = device.heartbeats(), permit.asked
    await until(lambda: permit.asked >= asked + 3)
    assert device.heartbeats() <= beats + 1, "one may have been on its way"
    permit.given = True
    beats = device.heartbeats()
    await until(lambda: device.heartbeats() >= beats + 2)
    link.close()
    told = [record.message for record in caplog.records]
    assert told == ["keep-alive refused", "keep-alive accepted again"]
