"""The one connection against a real server: good answers, refusals, silence and broken frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from bessai.config.profile import MAIN, Connection, Space, Table
from bessai.devices.connection import READ_TRIES, ModbusConnection
from bessai.devices.mbap import ClientId, Exchange, ModbusServer
from bessai.devices.pdu import exception_answer, read_answer
from bessai.devices.turns import Urgency
from bessai.errors import (
    DeviceBusy,
    DeviceError,
    DeviceTimeout,
    IllegalAddress,
    RegisterRejected,
    VerificationFailed,
)
from tests.support.modbus_raw import HOST, Bank, serving, until

HOLDING = Space(MAIN, Table.HOLDING)
QUICK = Connection(busy_wait_s=0.0, request_deadline_s=20.0, permission_exceptions=(0x80,))
READ_FIVE = b"\x03\x00\x05\x00\x01"


@pytest.fixture
async def bank() -> Bank:
    return Bank()


@pytest.fixture
async def server(bank: Bank) -> AsyncIterator[ModbusServer]:
    async with serving(ModbusServer(bank)) as running:
        yield running


def link_to(
    server: ModbusServer, settings: Connection = QUICK, **changes: object
) -> ModbusConnection:
    settings = settings.model_copy(update=changes)
    return ModbusConnection(HOST, server.port, {MAIN: 1, "meter": 30}, settings)


@pytest.fixture
async def link(server: ModbusServer) -> AsyncIterator[ModbusConnection]:
    opened = link_to(server)
    await opened.connect()
    yield opened
    opened.close()


async def test_tables_and_units_are_told_apart(link: ModbusConnection, bank: Bank) -> None:
    bank.words[5:7] = [7, 8]
    assert await link.read(HOLDING, 5, 2) == (7, 8)
    assert await link.read(Space("meter", Table.INPUT), 6, 1) == (8,)
    assert bank.seen == [(1, b"\x03\x00\x05\x00\x02"), (30, b"\x04\x00\x06\x00\x01")]


async def test_one_register_is_written_by_fc06_and_more_by_fc16(
    link: ModbusConnection, bank: Bank
) -> None:
    await link.write(MAIN, 9, (3,))
    await link.write("meter", 20, (1, 2))
    assert [(unit, pdu[0]) for unit, pdu in bank.seen] == [(1, 6), (30, 16)]
    assert (bank.words[9], bank.words[20:22]) == (3, [1, 2])


async def test_a_unit_found_later_is_used_from_then_on(link: ModbusConnection, bank: Bank) -> None:
    link.use_unit("meter", 31)
    await link.read(Space("meter", Table.HOLDING), 5, 1)
    assert bank.seen == [(31, READ_FIVE)]
    with pytest.raises(DeviceError, match=r"other_units\.battery: has no unit id"):
        await link.read(Space("battery", Table.HOLDING), 5, 1)


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (2, IllegalAddress, r"reading 5\.\.5: .* exception 2 \(illegal address\)"),
        (4, RegisterRejected, r"exception 4 \(device failure\)"),
        (0x80, RegisterRejected, r"exception 128 \(no permission\)"),
        (99, RegisterRejected, r"exception 99 \(not standard\)"),
    ],
)
async def test_a_refusal_says_what_and_why(
    link: ModbusConnection, bank: Bank, code: int, error: type[DeviceError], text: str
) -> None:
    bank.canned[READ_FIVE] = exception_answer(3, code)
    with pytest.raises(error, match=text):
        await link.read(HOLDING, 5, 1)
    assert link.connected
    assert len(bank.seen) == 1


async def test_a_device_that_wants_a_login_is_told_from_one_that_refuses(
    server: ModbusServer, bank: Bank
) -> None:
    link = link_to(server, login="huawei")
    await link.connect()
    bank.canned[b"\x06\x00\x05\x00\x01"] = exception_answer(6, 0x80)
    with pytest.raises(RegisterRejected, match="log in first"):
        await link.write(MAIN, 5, (1,))
    link.close()


class BusyTwice(Bank):
    """Says "later" to the first two requests."""

    async def answer(self, unit_id: int, pdu: bytes, client: ClientId) -> bytes | None:
        answer = await super().answer(unit_id, pdu, client)
        return answer if len(self.seen) > 2 else exception_answer(pdu[0], 6)


async def test_a_busy_device_is_asked_again() -> None:
    bank = BusyTwice()
    async with serving(ModbusServer(bank)) as server:
        link = link_to(server)
        await link.connect()
        assert await link.read(HOLDING, 5, 1) == (0,)
        link.close()
    assert len(bank.seen) == 3


async def test_a_device_that_stays_busy_is_left_alone(link: ModbusConnection, bank: Bank) -> None:
    bank.canned[READ_FIVE] = exception_answer(3, 6)
    with pytest.raises(DeviceBusy, match="exception 6"):
        await link.read(HOLDING, 5, 1)
    assert len(bank.seen) == READ_TRIES
    assert link.connected


async def test_a_busy_device_gets_a_write_only_once(link: ModbusConnection, bank: Bank) -> None:
    bank.canned[b"\x06\x00\x05\x00\x01"] = exception_answer(6, 6)
    with pytest.raises(DeviceBusy):
        await link.write(MAIN, 5, (1,))
    assert len(bank.seen) == 1


async def test_a_write_goes_before_reads_that_wait(link: ModbusConnection, bank: Bank) -> None:
    bank.gate.clear()
    reads = [asyncio.create_task(link.read(HOLDING, address, 1)) for address in (1, 2, 3)]
    await bank.waiting.wait()
    write = asyncio.create_task(link.write(MAIN, 9, (1,)))
    await asyncio.sleep(0)
    bank.gate.set()
    await asyncio.gather(write, *reads)
    assert [pdu[2] for _, pdu in bank.seen] == [1, 9, 2, 3]


async def test_one_request_is_in_flight_at_a_time(link: ModbusConnection, bank: Bank) -> None:
    bank.gate.clear()
    tasks = [asyncio.create_task(link.read(HOLDING, address, 1)) for address in range(5)]
    await bank.waiting.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(bank.seen) == 1
    bank.gate.set()
    await asyncio.gather(*tasks)
    assert len(bank.seen) == 5


async def test_a_silent_device_costs_one_deadline_and_the_link(
    server: ModbusServer, bank: Bank
) -> None:
    link = link_to(server, request_deadline_s=0.1)
    await link.connect()
    bank.canned[b"\x06\x00\x05\x00\x01"] = None
    with pytest.raises(DeviceTimeout, match=r"writing 5: .* no answer within 0\.1 s"):
        await link.write(MAIN, 5, (1,))
    assert not link.connected
    with pytest.raises(DeviceTimeout, match="not connected"):
        await link.read(HOLDING, 5, 1)
    await until(lambda: server.clients == 0)
    assert len(bank.seen) == 1, "the write was sent again"


@pytest.mark.parametrize("reset", [False, True])
async def test_a_link_that_breaks_ends_the_request_at_once(
    link: ModbusConnection, server: ModbusServer, bank: Bank, reset: bool
) -> None:
    bank.gate.clear()
    reading = asyncio.create_task(link.read(HOLDING, 5, 1))
    await bank.waiting.wait()
    server.drop_clients(reset=reset)
    async with asyncio.timeout(10):
        with pytest.raises(DeviceTimeout, match="closed the connection"):
            await reading
    assert not link.connected
    bank.gate.set()


async def test_a_link_that_broke_while_idle_is_noticed(
    link: ModbusConnection, server: ModbusServer, bank: Bank
) -> None:
    server.drop_clients()
    await until(lambda: not link.connected)
    with pytest.raises(DeviceTimeout, match="closed the connection"):
        await link.read(HOLDING, 5, 1)
    assert bank.seen == []
    await link.connect()
    assert await link.read(HOLDING, 5, 1) == (0,)


async def test_closing_ends_the_request_that_waits(link: ModbusConnection, bank: Bank) -> None:
    bank.gate.clear()
    reading = asyncio.create_task(link.read(HOLDING, 5, 1))
    await bank.waiting.wait()
    link.close()
    link.close()
    async with asyncio.timeout(10):
        with pytest.raises(DeviceTimeout):
            await reading
    bank.gate.set()


async def test_a_new_link_outlives_the_end_of_a_request_of_the_old_one(
    link: ModbusConnection, bank: Bank
) -> None:
    bank.gate.clear()
    reading = asyncio.create_task(link.read(HOLDING, 5, 1))
    await bank.waiting.wait()
    await link.connect()
    with pytest.raises(DeviceTimeout):
        await reading
    bank.gate.set()
    assert await link.read(HOLDING, 6, 1) == (0,)


async def test_a_late_answer_is_not_taken_for_the_next_one(
    link: ModbusConnection, bank: Bank
) -> None:
    bank.words[5:7] = [55, 66]
    bank.gate.clear()
    gone = asyncio.create_task(link.read(HOLDING, 5, 1))
    await bank.waiting.wait()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    reading = asyncio.create_task(link.read(HOLDING, 6, 1))
    await asyncio.sleep(0)
    bank.gate.set()
    assert await reading == (66,)


async def test_no_cancellation_is_lost(link: ModbusConnection) -> None:
    """Not even one that comes in the same moment as the answer."""
    for steps in range(200):
        reading = asyncio.create_task(link.read(HOLDING, 5, 1))
        for _ in range(steps % 40):
            await asyncio.sleep(0)
        if reading.cancel():
            with pytest.raises(asyncio.CancelledError):
                await reading
    assert await link.read(HOLDING, 5, 1) == (0,)


async def test_a_connect_that_is_cancelled_leaves_no_link(server: ModbusServer) -> None:
    link = link_to(server, wait_after_connect_s=60.0)
    connecting = asyncio.create_task(link.connect())
    await until(lambda: server.clients == 1)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await until(lambda: server.clients == 0)
    assert not link.connected


async def test_other_programs_requests_pass_through_with_their_exceptions(
    link: ModbusConnection, bank: Bank
) -> None:
    bank.canned[READ_FIVE] = exception_answer(3, 2)
    assert await link.exchange(READ_FIVE, unit_id=9) == b"\x83\x02"
    assert await link.exchange(b"\x41\x01\x02", unit_id=9) == b"\x41\x02\x01"
    assert (await link.exchange(b"\x2b\x0e\x01\x00", unit_id=9))[:2] == b"\x2b\x0e"
    assert [unit for unit, _ in bank.seen] == [9, 9, 9]
    assert await link.read(HOLDING, 6, 1) == (0,)


async def test_a_custom_function_is_answered_or_refused(link: ModbusConnection, bank: Bank) -> None:
    assert await link.execute(b"\x41\x01\x02") == b"\x41\x02\x01"
    bank.canned[b"\x41\x09"] = exception_answer(0x41, 1)
    with pytest.raises(RegisterRejected, match=r"function 0x41: .* \(illegal function\)"):
        await link.execute(b"\x41\x09")
    bank.canned[b"\x41\x09"] = exception_answer(0x41, 6)
    with pytest.raises(DeviceBusy):
        await link.execute(b"\x41\x09", urgency=Urgency.BACKGROUND)


async def test_an_answer_to_something_else_is_no_value(link: ModbusConnection, bank: Bank) -> None:
    for answer in (read_answer(3, (1, 2)), read_answer(4, (1,)), b"\x63\x01", b"\x03\x02\x00"):
        bank.canned[READ_FIVE] = answer
        with pytest.raises(DeviceError, match=r"reading 5\.\.5"):
            await link.read(HOLDING, 5, 1)
    assert await link.read(HOLDING, 6, 1) == (0,)


@pytest.mark.parametrize(
    "answer",
    [
        b"\x06\x00\x05\x00\x08",
        b"\x06\x00\x06\x00\x01",
        b"\x06\x00",
        b"\x10\x00\x05\x00\x01",
        read_answer(3, (1,)),
        exception_answer(6, 5),
    ],
)
async def test_a_write_that_nobody_confirmed_may_have_been_done(
    link: ModbusConnection, bank: Bank, answer: bytes
) -> None:
    bank.canned[b"\x06\x00\x05\x00\x01"] = answer
    with pytest.raises(VerificationFailed, match="writing 5"):
        await link.write(MAIN, 5, (1,))


@pytest.mark.parametrize("answer", [b"\x10\x00\x05\x00\x01", b"\x10\x00\x04\x00\x02"])
async def test_a_write_of_several_registers_is_confirmed_whole(
    link: ModbusConnection, bank: Bank, answer: bytes
) -> None:
    bank.canned[b"\x10\x00\x05\x00\x02\x04\x00\x01\x00\x02"] = answer
    with pytest.raises(VerificationFailed, match="writing 5"):
        await link.write(MAIN, 5, (1, 2))


async def in_pieces(exchange: Exchange) -> Sequence[bytes]:
    raw = exchange.frame()
    return [raw[at : at + 1] for at in range(len(raw))]


async def with_a_stale_frame_first(exchange: Exchange) -> Sequence[bytes]:
    stale = Exchange(
        exchange.transaction_id - 1,
        exchange.unit_id,
        exchange.request,
        read_answer(3, (999,)),
        exchange.client,
    )
    return [stale.frame() + exchange.frame()]


@pytest.mark.parametrize("hook", [in_pieces, with_a_stale_frame_first])
async def test_frames_are_found_in_the_stream(bank: Bank, hook: object) -> None:
    bank.words[5] = 7
    frames = in_pieces if hook is in_pieces else with_a_stale_frame_first
    async with serving(ModbusServer(bank, frames=frames)) as server:
        link = link_to(server)
        await link.connect()
        assert [await link.read(HOLDING, 5, 1) for _ in range(3)] == [(7,)] * 3
        link.close()


async def test_an_answer_with_a_wrong_transaction_id_is_no_answer(bank: Bank) -> None:
    async def wrong_id(exchange: Exchange) -> Sequence[bytes]:
        answer = Exchange(
            exchange.transaction_id + 7,
            exchange.unit_id,
            exchange.request,
            exchange.answer,
            exchange.client,
        )
        return [answer.frame()]

    async with serving(ModbusServer(bank, frames=wrong_id)) as server:
        link = link_to(server, request_deadline_s=0.1)
        await link.connect()
        with pytest.raises(DeviceTimeout, match="no answer"):
            await link.read(HOLDING, 5, 1)
        link.close()


async def test_the_link_is_as_slow_as_the_device_likes_it(server: ModbusServer) -> None:
    link = link_to(server, wait_after_connect_s=0.15, request_gap_s=0.1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await link.connect()
    connected = loop.time()
    for _ in range(3):
        await link.read(HOLDING, 5, 1)
    link.close()
    assert connected - began >= 0.15
    assert loop.time() - connected >= 0.2


async def test_a_closed_port_and_an_impossible_name_are_told(server: ModbusServer) -> None:
    link = link_to(server)
    await server.stop()
    with pytest.raises(DeviceTimeout, match=r"refuses connections or cannot be reached \("):
        await link.connect()
    with pytest.raises(DeviceError, match="is not a host name"):
        await ModbusConnection("..", 502, {MAIN: 1}, QUICK).connect()
