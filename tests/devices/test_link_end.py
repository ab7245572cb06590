"""Why a link ended: the other end closed it, or we gave up waiting."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator

import pytest

from bessai.config.profile import MAIN, Connection, KeepAlive, Space, Table
from bessai.devices.connection import ModbusConnection
from bessai.devices.mbap import ModbusServer
from bessai.errors import DeviceClosed, DeviceTimeout
from bessai.model.outcome import PartiallyApplied
from bessai.sim.server import LOOPBACK, HostedInverter
from bessai.sim.spec import Fault
from tests.devices.test_login import HEARTBEAT
from tests.support.modbus_raw import HOST, Bank, serving, until
from tests.support.simulated import HandClock, client_of, fast_profile, hosted, simulated

HOLDING = Space(MAIN, Table.HOLDING)
PATIENT = Connection(request_deadline_s=20.0)
CLOSED = "closed the connection"


@pytest.fixture
async def bank() -> Bank:
    return Bank()


@pytest.fixture
async def server(bank: Bank) -> AsyncIterator[ModbusServer]:
    async with serving(ModbusServer(bank)) as running:
        yield running


async def linked(server: ModbusServer, settings: Connection = PATIENT) -> ModbusConnection:
    link = ModbusConnection(HOST, server.port, {MAIN: 1}, settings)
    await link.connect()
    return link


async def failure(link: ModbusConnection) -> DeviceTimeout:
    with pytest.raises(DeviceTimeout) as caught:
        await link.read(HOLDING, 5, 1)
    return caught.value


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_a_device_that_closes_during_a_request_is_named(
    server: ModbusServer, bank: Bank, reset: bool
) -> None:
    link = await linked(server)
    bank.gate.clear()
    asking = asyncio.create_task(failure(link))
    await bank.waiting.wait()
    server.drop_clients(reset=reset)
    error = await asking
    assert type(error) is DeviceClosed
    assert CLOSED in str(error)
    bank.gate.set()
    assert type(await failure(link)) is DeviceClosed, "told to whoever asks next, too"
    await link.connect()
    assert await link.read(HOLDING, 5, 1) == (0,)
    link.close()


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_a_device_that_closes_an_idle_link_is_named(
    server: ModbusServer, reset: bool
) -> None:
    link = await linked(server)
    server.drop_clients(reset=reset)
    await until(lambda: not link.connected)
    for _ in range(2):
        error = await failure(link)
        assert type(error) is DeviceClosed
        assert CLOSED in str(error)


async def test_silence_is_no_close(server: ModbusServer, bank: Bank) -> None:
    link = await linked(server, Connection(request_deadline_s=0.05))
    bank.gate.clear()
    first, second = await failure(link), await failure(link)
    assert type(first) is type(second) is DeviceTimeout
    assert "gave no answer within" in str(first)
    assert "is not connected" in str(second)
    bank.gate.set()


async def test_our_own_close_is_no_close_of_the_device(server: ModbusServer, bank: Bank) -> None:
    link = await linked(server)
    bank.gate.clear()
    asking = asyncio.create_task(failure(link))
    await bank.waiting.wait()
    link.close()
    assert type(await asking) is DeviceTimeout
    assert type(await failure(link)) is DeviceTimeout
    bank.gate.set()


async def test_after_a_close_of_the_device_our_own_close_is_the_last_word(
    server: ModbusServer,
) -> None:
    link = await linked(server)
    server.drop_clients()
    await until(lambda: not link.connected)
    assert type(await failure(link)) is DeviceClosed
    link.close()
    assert type(await failure(link)) is DeviceTimeout


async def test_a_link_that_the_network_lost_is_no_close(server: ModbusServer, bank: Bank) -> None:
    link = await linked(server)
    bank.gate.clear()
    asking = asyncio.create_task(failure(link))
    await bank.waiting.wait()
    # What asyncio reports when the kernel's retransmissions end, minutes later.
    lost = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    assert link._wire is not None
    link._wire._client.ctx.connection_lost(lost)
    error = await asking
    assert type(error) is DeviceTimeout
    assert "lost the connection" in str(error)
    bank.gate.set()


async def test_a_close_that_the_keep_alive_finds_is_told_to_the_next_reader(
    server: ModbusServer, bank: Bank
) -> None:
    beat = KeepAlive(point="beat", value=1, every_s=0.01, only_when_logged_in=False)
    settings = Connection(request_deadline_s=20.0, keep_alive=beat)
    link = ModbusConnection(HOST, server.port, {MAIN: 1}, settings, keep_alive=HEARTBEAT)
    await link.connect()
    bank.gate.clear()
    await bank.waiting.wait()
    server.drop_clients()
    await until(lambda: link._wire is None)
    assert type(await failure(link)) is DeviceClosed
    bank.gate.set()


async def test_a_device_that_takes_another_client_closes_and_the_driver_says_so() -> None:
    clock = HandClock()
    async with hosted(simulated(clock)) as host:
        driver = client_of(host, clock)
        await driver.connect()
        other = client_of(host, clock)
        await other.connect()
        with pytest.raises(DeviceClosed):
            await driver.read_telemetry()
        await other.close()


@pytest.fixture
async def hasty_host() -> AsyncIterator[tuple[HostedInverter, HandClock]]:
    clock = HandClock()
    async with hosted(simulated(clock)) as host:
        yield host, clock


async def test_a_close_within_a_command_is_told_by_the_next_read(
    hasty_host: tuple[HostedInverter, HandClock],
) -> None:
    host, clock = hasty_host
    driver = client_of(host, clock)
    await driver.connect()
    await host.set_fault(Fault.parse("delay:0.2"))
    applying = asyncio.create_task(driver.apply_power(2.0))
    await asyncio.sleep(0.05)
    await host.set_fault(Fault.DEAD)
    outcome = await applying
    assert isinstance(outcome, PartiallyApplied)
    assert CLOSED in outcome.error
    with pytest.raises(DeviceClosed):
        await driver.read_telemetry()


async def test_silence_of_a_hung_device_is_no_close(
    hasty_host: tuple[HostedInverter, HandClock],
) -> None:
    host, clock = hasty_host
    driver = client_of(host, clock, fast_profile(deadline_s=0.1))
    await driver.connect()
    await host.set_fault(Fault.HANG)
    with pytest.raises(DeviceTimeout) as caught:
        await driver.read_telemetry()
    assert type(caught.value) is DeviceTimeout
    await driver.close()


async def test_a_device_that_takes_a_connection_and_closes_it_at_once_is_named() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    busy = await asyncio.start_server(hang_up, LOOPBACK, 0, family=socket.AF_INET)
    port = busy.sockets[0].getsockname()[1]
    clock = HandClock()
    async with hosted(simulated(clock)) as host:
        driver = client_of(host, clock)
    driver._link = ModbusConnection(LOOPBACK, port, {MAIN: 1}, driver.profile.connection)
    with pytest.raises(DeviceClosed, match=CLOSED):
        await driver.connect()
    busy.close()
    await busy.wait_closed()
