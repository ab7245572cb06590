"""A register bank behind our Modbus TCP server, and a client that sends and shows bytes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from bessai.devices.mbap import ClientId, ModbusServer, frame
from bessai.devices.pdu import (
    CustomRequest,
    IdentificationRequest,
    MaskWriteRequest,
    ReadRequest,
    ReadWriteRequest,
    Refused,
    WriteRequest,
    identification_answer,
    parse_request,
    read_answer,
    write_answer,
)

HOST = "127.0.0.1"
READ_ONE = b"\x03\x00\x00\x00\x01"
IDENTITY = {0: b"Maker", 1: b"Product", 2: b"V1"}


class Bank:
    """Registers behind a server, and doors through which a test makes it misbehave."""

    def __init__(self) -> None:
        self.words = [0] * 65536
        self.seen: list[tuple[int, bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()
        self.failure: Exception | None = None
        self.canned: dict[bytes, bytes | None] = {}

    async def answer(self, unit_id: int, pdu: bytes, client: ClientId) -> bytes | None:
        assert client.host == HOST
        self.seen.append((unit_id, pdu))
        if self.failure is not None:
            raise self.failure
        if not self.gate.is_set():
            self.waiting.set()
            await self.gate.wait()
        return self.canned[pdu] if pdu in self.canned else self._reply(pdu)

    def _reply(self, pdu: bytes) -> bytes:
        match parse_request(pdu):
            case WriteRequest() | MaskWriteRequest() as write:
                return self._write(write)
            case ReadRequest(_, address, count) as read:
                return read_answer(read.function, self.words[address : address + count])
            case ReadWriteRequest(begin, count, address, words) as both:
                self._store(address, words)
                return read_answer(both.function, self.words[begin : begin + count])
            case IdentificationRequest() as identification:
                return identification_answer(identification, IDENTITY)
            case CustomRequest(function, data):
                return bytes((function,)) + data[::-1]
            case Refused() as refused:
                return refused.answer()

    def _write(self, write: WriteRequest | MaskWriteRequest) -> bytes:
        if isinstance(write, WriteRequest):
            self._store(write.address, write.words)
        else:
            self._store(write.address, (write.masked(self.words[write.address]),))
        return write_answer(write)

    def _store(self, address: int, words: Sequence[int]) -> None:
        self.words[address : address + len(words)] = words


@dataclass(frozen=True, slots=True)
class Raw:
    """A client that sends and shows bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, pdu: bytes, *, transaction_id: int = 7, unit_id: int = 1) -> bytes:
        self.writer.write(frame(transaction_id, unit_id, pdu))
        answered, unit, answer = await self.receive()
        assert (answered, unit) == (transaction_id, unit_id)
        return answer

    async def receive(self) -> tuple[int, int, bytes]:
        async with asyncio.timeout(10):
            head = await self.reader.readexactly(6)
            transaction_id, protocol_id, length = struct.unpack(">HHH", head)
            assert protocol_id == 0
            body = await self.reader.readexactly(length)
        return transaction_id, body[0], body[1:]

    async def ended(self) -> bool:
        """Whether the server closes without another byte."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read(1) == b""
            except ConnectionResetError:
                return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def dial(server: ModbusServer, tls: ssl.SSLContext | None = None) -> Raw:
    return Raw(*await asyncio.open_connection(HOST, server.port, ssl=tls))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - sockets set no event
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def serving(server: ModbusServer) -> AsyncIterator[ModbusServer]:
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
    assert server.clients == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}, "the server left a task"
