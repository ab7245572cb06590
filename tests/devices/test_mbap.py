"""Our Modbus TCP server on real sockets, asked byte by byte and by pymodbus."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.pdu.mei_message import ReadDeviceInformationResponse

from bessai.devices.mbap import ClientId, Exchange, FrameHook, ModbusServer, frame
from bessai.devices.pdu import ExceptionCode, exception_answer
from bessai.errors import ConfigError, DeviceTimeout
from tests.support.modbus_raw import HOST, IDENTITY, READ_ONE, Bank, Raw, dial, serving, until


@pytest.fixture
async def bank() -> Bank:
    return Bank()


@pytest.fixture
async def server(bank: Bank) -> AsyncIterator[ModbusServer]:
    modbus = ModbusServer(bank)
    await modbus.start()
    yield modbus
    await modbus.stop()
    assert modbus.clients == 0


@pytest.fixture
async def raw(server: ModbusServer) -> AsyncIterator[Raw]:
    client = await dial(server)
    yield client
    await client.close()


@pytest.fixture
async def pymodbus(server: ModbusServer) -> AsyncIterator[AsyncModbusTcpClient]:
    client = AsyncModbusTcpClient(HOST, port=server.port, retries=0, timeout=10)
    assert await client.connect()
    yield client
    client.close()


async def test_pymodbus_reads_and_writes_with_every_function(
    pymodbus: AsyncModbusTcpClient, bank: Bank
) -> None:
    bank.words[100:103] = [1, 2, 65535]
    assert (await pymodbus.read_holding_registers(100, count=3)).registers == [1, 2, 65535]
    assert (await pymodbus.read_input_registers(65411, count=125)).registers == [0] * 125
    assert not (await pymodbus.write_register(5, 77)).isError()
    assert not (await pymodbus.write_registers(6, list(range(123)))).isError()
    assert bank.words[5:8] == [77, 0, 1]
    assert not (await pymodbus.mask_write_register(address=5, and_mask=0, or_mask=9)).isError()
    answer = await pymodbus.readwrite_registers(
        read_address=5, read_count=2, write_address=6, values=[42]
    )
    assert answer.registers == [9, 42]
    info = await pymodbus.read_device_information(read_code=1, object_id=0)
    assert isinstance(info, ReadDeviceInformationResponse)
    assert info.information == IDENTITY


async def test_pymodbus_gets_the_exceptions_of_the_standard(pymodbus: AsyncModbusTcpClient) -> None:
    assert (await pymodbus.read_coils(0, count=1)).exception_code == 1
    assert (await pymodbus.read_discrete_inputs(0, count=1)).exception_code == 1
    assert (await pymodbus.write_coil(0, True)).exception_code == 1
    assert (await pymodbus.write_coils(0, [True])).exception_code == 1
    assert (await pymodbus.report_device_id()).exception_code == 1
    assert (await pymodbus.read_holding_registers(65535, count=2)).exception_code == 2
    assert (await pymodbus.read_device_information(read_code=4, object_id=9)).exception_code == 2
    assert not (await pymodbus.read_holding_registers(0, count=1)).isError()


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [
        (b"\x03\x00\x00\x00\x00", b"\x83\x03"),
        (b"\x03\x00\x00\x00\x7e", b"\x83\x03"),
        (b"\x04\x00\x00\xff\xff", b"\x84\x03"),
        (b"\x03\xff\xff\x00\x02", b"\x83\x02"),
        (b"\x10\x00\x00\x00\x01\x03\x00\x00\x00", b"\x90\x03"),
        (b"\x10\x00\x00\x00\x7c\xf8" + bytes(247), b"\x90\x03"),
        (b"\x06\x00", b"\x86\x03"),
        (b"\x63", b"\xe3\x01"),
        (b"\x41\x01\x02", b"\x41\x02\x01"),
    ],
)
async def test_a_client_gets_exactly_the_answer_of_the_handler(
    raw: Raw, pdu: bytes, answer: bytes
) -> None:
    assert await raw.ask(pdu, transaction_id=0xFFFF, unit_id=247) == answer
    assert await raw.ask(READ_ONE) == b"\x03\x02\x00\x00"


async def test_pipelined_requests_are_answered_in_order(raw: Raw, bank: Bank) -> None:
    bank.words[:50] = range(50)
    raw.writer.write(b"".join(frame(n, n, b"\x03\x00" + bytes((n, 0, 1))) for n in range(50)))
    answers = [await raw.receive() for _ in range(50)]
    assert answers == [(n, n, b"\x03\x02\x00" + bytes((n,))) for n in range(50)]


async def test_a_client_that_sends_byte_by_byte_holds_up_nobody(
    server: ModbusServer, raw: Raw
) -> None:
    other = await dial(server)
    for byte in frame(1, 1, READ_ONE):
        raw.writer.write(bytes((byte,)))
        await raw.writer.drain()
        assert await other.ask(READ_ONE) == b"\x03\x02\x00\x00"
    assert await raw.receive() == (1, 1, b"\x03\x02\x00\x00")
    await other.close()


async def test_a_handler_that_waits_for_one_client_answers_another(
    server: ModbusServer, raw: Raw, bank: Bank
) -> None:
    bank.gate.clear()
    raw.writer.write(frame(1, 1, READ_ONE))
    await bank.waiting.wait()
    bank.gate = asyncio.Event()
    bank.gate.set()
    other = await dial(server)
    assert await other.ask(READ_ONE) == b"\x03\x02\x00\x00"
    await other.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\1\0\1\0\6\1" + READ_ONE,
        b"\0\1\0\0\0\1\1",
        b"\0\1\0\0\0\0",
        b"\0\1\0\0\0\xff" + bytes(255),
        b"GET / HTTP/1.1\r\nHost: battery\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_bytes_that_are_no_modbus_tcp_close_the_connection(
    server: ModbusServer, raw: Raw, bank: Bank, garbage: bytes
) -> None:
    raw.writer.write(garbage)
    assert await raw.ended()
    assert bank.seen == []
    await until(lambda: server.clients == 0)


async def test_the_longest_frame_is_served(raw: Raw, bank: Bank) -> None:
    assert await raw.ask(b"\x64" + bytes(252)) == b"\xe4\x01"
    bank.canned[READ_ONE] = bytes(253)
    assert await raw.ask(READ_ONE) == bytes(253)


async def test_a_client_that_leaves_before_its_answer_leaves_nothing_behind(bank: Bank) -> None:
    async with serving(ModbusServer(bank)) as server:
        bank.gate.clear()
        leaver = await dial(server)
        leaver.writer.write(frame(1, 1, b"\x06\x00\x05\x00\x07"))
        await bank.waiting.wait()
        await leaver.close()
        await until(lambda: server.clients == 0)
        bank.gate.set()
        await until(lambda: bank.words[5] == 7)
        other = await dial(server)
        assert await other.ask(READ_ONE) == b"\x03\x02\x00\x00"
        await other.close()
        await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_a_client_that_stops_sending_still_gets_its_answer(raw: Raw) -> None:
    raw.writer.write(frame(1, 1, READ_ONE))
    raw.writer.write_eof()
    assert await raw.receive() == (1, 1, b"\x03\x02\x00\x00")
    assert await raw.ended()


async def test_a_client_that_never_reads_does_not_stop_the_server(bank: Bank) -> None:
    async with serving(ModbusServer(bank)) as server:
        with socket.create_connection((HOST, server.port)) as deaf:
            deaf.setblocking(False)
            flood = frame(1, 1, b"\x03\x00\x00\x00\x7d") * 500
            with contextlib.suppress(BlockingIOError):
                for _ in range(2000):
                    deaf.send(flood)
                    await asyncio.sleep(0)
            other = await dial(server)
            assert await other.ask(READ_ONE) == b"\x03\x02\x00\x00"
            await other.close()
            await server.stop()


async def test_none_never_answers_and_keeps_the_connection(raw: Raw, bank: Bank) -> None:
    silent = b"\x03\x00\x09\x00\x01"
    bank.canned[silent] = None
    raw.writer.write(frame(1, 1, silent) + frame(2, 1, READ_ONE))
    assert await raw.receive() == (2, 1, b"\x03\x02\x00\x00")


async def test_the_newest_client_closes_the_oldest(bank: Bank) -> None:
    async with serving(ModbusServer(bank, max_clients=2)) as server:
        first, second, third = [await dial(server) for _ in range(3)]
        assert await first.ended()
        assert await second.ask(READ_ONE) == await third.ask(READ_ONE) == b"\x03\x02\x00\x00"
        assert server.clients == 2
        assert {client.number for client in server.connected} == {2, 3}
        for client in (first, second, third):
            await client.close()


async def test_a_device_with_one_place_refuses_the_second_client_until_the_first_leaves(
    bank: Bank,
) -> None:
    async with serving(ModbusServer(bank, max_clients=1, newest_wins=False)) as server:
        first = await dial(server)
        assert await first.ask(READ_ONE) == b"\x03\x02\x00\x00"
        second = await dial(server)
        assert await second.ended()
        assert await first.ask(READ_ONE) == b"\x03\x02\x00\x00"
        await first.close()
        await until(lambda: server.clients == 0)
        third = await dial(server)
        assert await third.ask(READ_ONE) == b"\x03\x02\x00\x00"
        for client in (second, third):
            await client.close()


async def test_a_waiting_answer_holds_no_place_for_a_client_that_left(bank: Bank) -> None:
    async with serving(ModbusServer(bank, max_clients=1, newest_wins=False)) as server:
        bank.gate.clear()
        first = await dial(server)
        first.writer.write(frame(1, 1, READ_ONE))
        await bank.waiting.wait()
        await first.close()
        await until(lambda: server.clients == 0)
        bank.gate.set()
        second = await dial(server)
        assert await second.ask(READ_ONE) == b"\x03\x02\x00\x00"
        await second.close()


async def test_dropped_clients_may_come_back(server: ModbusServer, raw: Raw) -> None:
    assert await raw.ask(READ_ONE) == b"\x03\x02\x00\x00"
    server.drop_clients()
    assert server.clients == 0
    assert await raw.reader.read() == b""
    again = await dial(server)
    assert await again.ask(READ_ONE) == b"\x03\x02\x00\x00"
    await again.close()


async def test_a_reset_reaches_the_client_as_a_reset(server: ModbusServer, raw: Raw) -> None:
    assert await raw.ask(READ_ONE) == b"\x03\x02\x00\x00"
    server.drop_clients(reset=True)
    with pytest.raises(ConnectionResetError):
        await raw.reader.read()


async def test_our_errors_are_exception_4_and_logged_once(
    raw: Raw, bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    bank.failure = DeviceTimeout("no answer", field="upstream", value="10.0.0.7:502")
    with caplog.at_level(logging.INFO, "bessai.devices.mbap"):
        assert [await raw.ask(READ_ONE) for _ in range(3)] == [b"\x83\x04"] * 3
        bank.failure = None
        assert await raw.ask(READ_ONE) == b"\x03\x02\x00\x00"
    (record,) = caplog.records
    assert "upstream: no answer" in record.getMessage()
    assert record.exc_info is None


async def test_a_bug_in_the_handler_is_exception_4_with_a_traceback_and_no_outage(
    raw: Raw, bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    bank.failure = ZeroDivisionError("a bug")
    assert await raw.ask(b"\x41\x24") == b"\xc1\x04"
    (record,) = caplog.records
    assert record.exc_info is not None
    bank.failure = None
    assert await raw.ask(READ_ONE) == b"\x03\x02\x00\x00"


@pytest.mark.parametrize("size", [0, 254])
async def test_an_answer_that_no_frame_can_carry_becomes_exception_4(
    raw: Raw, bank: Bank, size: int
) -> None:
    bank.canned[READ_ONE] = bytes(size)
    assert await raw.ask(READ_ONE) == b"\x83\x04"


async def with_hook(bank: Bank, hook: FrameHook, *, answers: int) -> list[tuple[int, int, bytes]]:
    """The frames that a client sees after one request, and that the next one works too."""
    async with serving(ModbusServer(bank, frames=hook)) as server:
        client = await dial(server)
        client.writer.write(frame(5, 1, READ_ONE))
        found = [await client.receive() for _ in range(answers)]
        await client.close()
        return found


async def test_a_hook_can_send_a_stale_frame_with_another_transaction_id_first(bank: Bank) -> None:
    async def stale(exchange: Exchange) -> Sequence[bytes]:
        assert exchange.request == READ_ONE
        assert exchange.client.host == HOST
        old = frame(exchange.transaction_id - 1, exchange.unit_id, exchange.answer)
        return (old, exchange.frame())

    good = b"\x03\x02\x00\x00"
    assert await with_hook(bank, stale, answers=2) == [(4, 1, good), (5, 1, good)]


async def test_a_hook_can_stay_silent_on_an_open_connection(bank: Bank) -> None:
    async def half_open(exchange: Exchange) -> Sequence[bytes]:
        return () if exchange.transaction_id == 1 else (exchange.frame(),)

    async with serving(ModbusServer(bank, frames=half_open)) as server:
        client = await dial(server)
        client.writer.write(frame(1, 1, READ_ONE) + frame(2, 1, READ_ONE))
        assert await client.receive() == (2, 1, b"\x03\x02\x00\x00")
        await client.close()


async def test_a_late_answer_to_a_dropped_client_reaches_neither_hook_nor_wire(bank: Bank) -> None:
    sent: list[Exchange] = []

    async def record(exchange: Exchange) -> Sequence[bytes]:
        sent.append(exchange)
        return (exchange.frame(),)

    async with serving(ModbusServer(bank, frames=record)) as server:
        bank.gate.clear()
        client = await dial(server)
        client.writer.write(frame(1, 1, READ_ONE))
        await bank.waiting.wait()
        server.drop_clients()
        assert await client.ended()
        bank.gate.set()
        await client.close()
        await until(lambda: len(asyncio.all_tasks()) == 1)
    assert sent == []


async def test_a_hook_with_a_bug_closes_the_connection_and_says_why(
    bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(exchange: Exchange) -> Sequence[bytes]:
        raise ZeroDivisionError(str(exchange.transaction_id))

    async with serving(ModbusServer(bank, frames=broken)) as server:
        client = await dial(server)
        client.writer.write(frame(1, 1, READ_ONE))
        assert await client.ended()
        await client.close()
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_stop_ends_waiting_handlers_and_connections_and_is_safe_twice(bank: Bank) -> None:
    async with serving(ModbusServer(bank)) as server:
        bank.gate.clear()
        client, idle = await dial(server), await dial(server)
        client.writer.write(frame(1, 1, READ_ONE))
        await bank.waiting.wait()
        await asyncio.gather(server.stop(), server.stop())
        await server.stop()
        assert await client.ended()
        assert await idle.ended()
        with pytest.raises(OSError, match="Connect call failed"):
            await dial(server)
        for one in (client, idle):
            await one.close()


@pytest.mark.parametrize("loop_turns", range(7))
async def test_a_connection_that_comes_in_while_the_server_stops_is_closed(
    bank: Bank, loop_turns: int
) -> None:
    async with serving(ModbusServer(bank)) as server:
        with socket.create_connection((HOST, server.port)) as late:
            for _ in range(loop_turns):
                await asyncio.sleep(0)
            await server.stop()
            await until(lambda: len(asyncio.all_tasks()) == 1)
            late.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert late.recv(1) == b""


async def test_a_handler_may_stop_its_own_server() -> None:
    class Suicidal:
        server: ModbusServer

        async def answer(self, unit_id: int, pdu: bytes, client: ClientId) -> bytes | None:
            await self.server.stop()
            return exception_answer(pdu[0], ExceptionCode.DEVICE_BUSY)

    handler = Suicidal()
    async with serving(ModbusServer(handler)) as server:
        handler.server = server
        client = await dial(server)
        client.writer.write(frame(1, 1, READ_ONE))
        assert await client.ended()
        await client.close()
        await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_a_server_that_starts_again_keeps_its_port(bank: Bank) -> None:
    server = ModbusServer(bank)
    port = await server.start()
    assert await server.start() == port == server.port > 0
    await server.stop()
    assert await server.start() == port
    client = await dial(server)
    assert await client.ask(READ_ONE) == b"\x03\x02\x00\x00"
    await client.close()
    await server.stop()


async def test_a_port_in_use_is_one_clear_line(server: ModbusServer, bank: Bank) -> None:
    second = ModbusServer(bank, port=server.port)
    with pytest.raises(ConfigError) as caught:
        await second.start()
    assert str(caught.value) == (
        f"port: cannot listen on 127.0.0.1; got {server.port}; "
        "end the program that uses it, or set 0 for a free port"
    )
    await second.stop()


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), (HOST, 70000), ("no.invalid", 0)])
async def test_an_address_that_cannot_be_used_is_a_config_error(
    bank: Bank, host: str, port: int
) -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        await ModbusServer(bank, host=host, port=port).start()


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_no_bytes_take_the_server_down(chunks: list[bytes]) -> None:
    async def attack() -> None:
        bank = Bank()
        async with serving(ModbusServer(bank)) as server:
            attacker = await dial(server)
            with contextlib.suppress(OSError):
                for chunk in chunks:
                    attacker.writer.write(chunk)
                    await attacker.writer.drain()
            other = await dial(server)
            assert await other.ask(READ_ONE) == b"\x03\x02\x00\x00"
            await attacker.close()
            await other.close()

    asyncio.run(attack())
