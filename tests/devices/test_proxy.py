"""The proxy in front of a device that allows one connection, over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator

import pytest
from pymodbus.client import AsyncModbusTcpClient

from bessai.config.profile import MAIN, Connection
from bessai.devices import ModbusInverter
from bessai.devices.connection import ModbusConnection
from bessai.devices.door import Door, parse_networks
from bessai.devices.mbap import ClientId, ModbusServer
from bessai.devices.proxy import MAX_WAITING, Proxy
from bessai.errors import ConfigError
from bessai.model import SiteId
from bessai.model.outcome import Applied
from bessai.sim.faults import Fault
from bessai.sim.server import LOOPBACK, control_time
from tests.support.modbus_raw import Bank, Raw, serving, until
from tests.support.simulated import HandClock, fast_profile, hosted, simulated

SETTINGS = Connection(
    request_deadline_s=0.3, reconnect_min_s=0.05, reconnect_max_s=0.2, max_clients=1
)
READ_SOC = bytes((3, *(37760).to_bytes(2, "big"), 0, 1))
WRITE_LIMIT = bytes((6, *(47102).to_bytes(2, "big"), 0, 100))
NO_ANSWER, BUSY, NOT_ALLOWED = 0x0B, 6, 1


@contextlib.asynccontextmanager
async def proxied(
    port: int, *, allow_writes: bool = False, door: Door | None = None
) -> AsyncIterator[tuple[Proxy, list[str]]]:
    told: list[str] = []
    link = ModbusConnection(LOOPBACK, port, {MAIN: 1}, SETTINGS)
    proxy = Proxy(link, SETTINGS, door or Door(), allow_writes=allow_writes, tell=told.append)
    await proxy.start()
    try:
        yield proxy, told
    finally:
        await proxy.stop()
    assert not link.connected


@contextlib.asynccontextmanager
async def guest_of(proxy: Proxy) -> AsyncIterator[Raw]:
    raw = Raw(*await asyncio.open_connection(LOOPBACK, proxy.port))
    try:
        yield raw
    finally:
        await raw.close()


async def test_guests_and_the_driver_share_a_device_that_allows_one_connection() -> None:
    async with (
        hosted(simulated(HandClock())) as host,
        proxied(host.port, allow_writes=True) as (proxy, _),
    ):
        assert host.inverter.profile.connection.max_clients == 1
        driver = ModbusInverter(
            SiteId("north"), LOOPBACK, proxy.port, 1, fast_profile(), now=control_time
        )
        await driver.connect()
        guests = [AsyncModbusTcpClient(LOOPBACK, port=proxy.port) for _ in range(2)]
        for guest in guests:
            assert await guest.connect()

        async def poll(guest: AsyncModbusTcpClient) -> list[int]:
            reads = [
                await guest.read_holding_registers(37760, count=1, device_id=1) for _ in range(20)
            ]
            return [word for read in reads for word in read.registers]

        outcome, *polled = await asyncio.gather(
            driver.apply_power(-2.0), poll(guests[0]), poll(guests[1])
        )
        assert isinstance(outcome, Applied)
        assert outcome.power_kw == -2.0
        assert polled == [[500] * 20] * 2
        assert (await driver.read_telemetry()).commanded_kw == -2.0
        assert len(proxy.guests) == 3
        assert len(host.connected) == 1
        for guest in guests:
            guest.close()
        await driver.close()


async def test_a_guest_may_not_write_unless_told_so() -> None:
    async with hosted(simulated(HandClock())) as host:
        before = host.inverter.bank.registers("backup_soc")
        async with proxied(host.port) as (proxy, _), guest_of(proxy) as guest:
            assert await guest.ask(WRITE_LIMIT) == bytes((0x86, NOT_ALLOWED))
            assert await guest.ask(b"\x41\x24") == bytes((0xC1, NOT_ALLOWED)), "a login"
            assert host.inverter.bank.registers("backup_soc") == before
            assert len(await guest.ask(READ_SOC)) == 4
            (client,) = proxy.guests
            counts = proxy.counts(client)
            assert (counts.requests, counts.refused, counts.unanswered) == (3, 2, 0)
        async with proxied(host.port, allow_writes=True) as (proxy, _), guest_of(proxy) as guest:
            assert await guest.ask(WRITE_LIMIT) == WRITE_LIMIT
            assert host.inverter.bank.registers("backup_soc") == (100,)


@pytest.mark.parametrize("function", [5, 6, 15, 16, 22, 23, 8, 0x41, 0x2B, 0x5A, 0x83, 0])
async def test_nothing_but_reads_reaches_the_device_by_default(function: int) -> None:
    bank = Bank()
    async with (
        serving(ModbusServer(bank)) as server,
        proxied(server.port) as (proxy, _),
        guest_of(proxy) as guest,
    ):
        answer = await guest.ask(bytes((function, 0, 1, 0, 1)))
    assert answer == bytes((function | 0x80, NOT_ALLOWED))
    assert bank.seen == []


@pytest.mark.parametrize("allow_writes", [False, True])
async def test_answers_pass_through_unchanged_whatever_they_are(allow_writes: bool) -> None:
    bank = Bank()
    bank.words[7] = 0xBEEF
    read, refused = b"\x03\x00\x07\x00\x01", b"\x04\x01\x00\x00\x01"
    bank.canned[refused] = b"\x84\x80"  # an exception code that no standard has
    identify = b"\x2b\x0e\x01\x00"
    async with (
        serving(ModbusServer(bank)) as server,
        proxied(server.port, allow_writes=allow_writes) as (proxy, _),
        guest_of(proxy) as guest,
    ):
        assert await guest.ask(read, unit_id=0) == b"\x03\x02\xbe\xef"
        assert await guest.ask(refused, unit_id=255) == b"\x84\x80"
        assert b"Maker" in await guest.ask(identify, unit_id=7)
    assert bank.seen == [(0, read), (255, refused), (7, identify)]


async def test_a_lost_device_is_answered_for_at_once_and_found_again() -> None:
    async with (
        hosted(simulated(HandClock())) as host,
        proxied(host.port) as (proxy, told),
        guest_of(proxy) as guest,
    ):
        assert len(await guest.ask(READ_SOC)) == 4
        await host.set_fault(Fault.DEAD)
        assert await guest.ask(READ_SOC) == bytes((0x83, NO_ANSWER))
        assert await guest.ask(READ_SOC) == bytes((0x83, NO_ANSWER))
        await host.set_fault(Fault.NONE)
        async with asyncio.timeout(10):
            while (await guest.ask(READ_SOC))[0] != 3:  # noqa: ASYNC110 - sockets set no event
                await asyncio.sleep(0.02)  # the proxy waits before it tries again
        assert len(told) == 2
        assert told[0].startswith("device lost: ")
        assert told[1] == "device answers again"
        (client,) = proxy.guests
        assert proxy.counts(client).unanswered >= 2


async def test_a_silent_device_is_no_silent_proxy() -> None:
    async with (
        hosted(simulated(HandClock())) as host,
        proxied(host.port) as (proxy, told),
        guest_of(proxy) as guest,
    ):
        await host.set_fault(Fault.HANG)
        assert await guest.ask(READ_SOC) == bytes((0x83, NO_ANSWER))
        assert "gave no answer" in told[0]


async def test_a_guest_that_scans_unit_ids_does_not_break_the_line_again_and_again() -> None:
    async with hosted(simulated(HandClock())) as host:
        connects: set[ClientId] = set()
        async with proxied(host.port) as (proxy, told), guest_of(proxy) as guest:
            assert len(await guest.ask(READ_SOC)) == 4
            for _ in range(3):
                assert await guest.ask(READ_SOC, unit_id=9) == bytes((0x83, NO_ANSWER))
                assert len(await guest.ask(READ_SOC)) == 4
                connects |= host.connected
        assert told == []
    # One link before the first silence, one after it.
    assert len(connects) == 1


async def test_too_many_waiting_requests_are_told_that_it_is_busy() -> None:
    bank = Bank()
    bank.gate.clear()
    async with (
        serving(ModbusServer(bank)) as server,
        proxied(server.port) as (proxy, _),
        contextlib.AsyncExitStack() as stack,
    ):
        guests = [await stack.enter_async_context(guest_of(proxy)) for _ in range(MAX_WAITING + 1)]
        asked = [asyncio.create_task(guest.ask(READ_SOC)) for guest in guests]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [bytes((0x83, BUSY))]
        bank.gate.set()
        await asyncio.gather(*asked)


async def test_a_guest_that_leaves_in_the_middle_breaks_nothing_for_the_others() -> None:
    bank = Bank()
    bank.gate.clear()
    async with serving(ModbusServer(bank)) as server, proxied(server.port) as (proxy, _):
        async with guest_of(proxy) as leaver:
            leaver.writer.write(bytes((0, 1, 0, 0, 0, 6, 1)) + READ_SOC)
            await bank.waiting.wait()
        bank.gate.set()
        async with guest_of(proxy) as guest:
            assert await guest.ask(READ_SOC) == b"\x03\x02\x00\x00"
        await until(lambda: not proxy.guests)
        assert len(proxy.seen) == 2
        for client in proxy.seen:
            proxy.forget(client)
        assert not proxy.seen


def test_only_this_host_and_the_named_networks_are_let_in() -> None:
    door = Door("0.0.0.0", 0, parse_networks(["192.0.2.0/24"]))
    assert door.admits("192.0.2.7")
    assert door.admits("::ffff:192.0.2.7")
    assert door.admits("127.0.0.1")
    for stranger in ("192.0.3.7", "::ffff:192.0.3.7", "fe80::1%eth0", "nonsense"):
        assert not door.admits(stranger)


async def test_a_connection_from_outside_the_networks_is_closed_at_once() -> None:
    class Nobody(Door):
        def admits(self, host: str) -> bool:
            return False

    async with (
        hosted(simulated(HandClock())) as host,
        proxied(host.port, door=Nobody()) as (proxy, _),
        guest_of(proxy) as guest,
    ):
        assert await guest.ended()
        assert not proxy.guests
        assert not host.connected


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_the_door_does_not_stand_open_to_everybody(host: str) -> None:
    with pytest.raises(ConfigError, match="no password"):
        Door(host).check()
    Door(host, 0, (ipaddress.ip_network("192.168.1.0/24"),)).check()


def test_a_network_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'home'.*write e\.g\."):
        parse_networks(["10.0.0.0/8", "home"])
