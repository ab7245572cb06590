"""A small Modbus TCP server that says exactly what its handler says.

For the simulated inverters and for the proxy: the server of pymodbus answers unknown functions
and bad counts against the standard, keeps one identity for the whole process, and has no place
where a fault on the wire could be made. Here the handler gets a PDU and returns one, and a hook
may replace the frames that go out.

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.3 (MBAP header).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from bessai.devices.pdu import MAX_PDU_BYTES, ExceptionCode, exception_answer
from bessai.errors import BessaiError, ConfigError, ProtocolError

log = logging.getLogger(__name__)

_HEAD: Final = struct.Struct(">HHH")
_LENGTHS: Final = range(2, MAX_PDU_BYTES + 2)
_TLS_HANDSHAKE_S: Final = 10.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_TOLD_LIMIT: Final = 32
_BIND_FIXES: Final = {
    errno.EADDRINUSE: "end the program that uses it, or set 0 for a free port",
    errno.EACCES: "use a port of 1024 or more, or give the program the right to it",
    errno.EADDRNOTAVAIL: "use an address of this host",
}


@dataclass(frozen=True, slots=True)
class ClientId:
    """One connection of one client; the number is never used twice by a server."""

    number: int
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Handler(Protocol):
    """What stands behind the server."""

    async def answer(self, unit_id: int, pdu: bytes, client: ClientId) -> bytes | None:
        """The answer PDU of 1 to 253 bytes; None never answers and keeps the connection.

        Calls of one client follow each other, calls of different clients interleave at every
        ``await``. A client that leaves does not cancel the call, so a write is never cut in
        half: its answer is thrown away. Only :meth:`ModbusServer.stop` cancels.

        Raises:
            BessaiError: the client gets exception 4; the log gets the line, once a connection.
        """
        ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and the answer that is about to leave."""

    transaction_id: int
    unit_id: int
    request: bytes
    answer: bytes
    client: ClientId

    def frame(self) -> bytes:
        """What goes out where no fault is wanted."""
        return frame(self.transaction_id, self.unit_id, self.answer)


FrameHook = Callable[[Exchange], Awaitable[Sequence[bytes]]]
"""Returns the raw bytes to send in place of the answer, none for silence; may wait before."""


def frame(transaction_id: int, unit_id: int, pdu: bytes) -> bytes:
    """MBAP header and PDU."""
    return _HEAD.pack(transaction_id, 0, len(pdu) + 1) + bytes((unit_id,)) + pdu


@dataclass(slots=True, eq=False)
class _Link:
    client: ClientId
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    told: set[str] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        """Whether both sides still talk."""
        return not self.writer.is_closing() and not self.reader.at_eof()


class ModbusServer:
    """Modbus TCP, or Modbus/TCP Security with a TLS context, on one port.

    Args:
        handler: Answers every request; give it a deadline of its own where it may wait.
        host: Address to listen on.
        port: 0 for a free one, which a later start keeps.
        max_clients: Connections at a time; None for any number.
        newest_wins: What a connection beyond that does: close the oldest, as the SUN2000 does
            (wlcrs/huawei_solar#13), or be closed itself.
        ssl_context: Server side, with the certificate loaded.
        frames: Replaces what is sent, to make faults on the wire.
    """

    def __init__(  # noqa: PLR0913 - the wiring of one server, at few places
        self,
        handler: Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_clients: int | None = None,
        newest_wins: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        frames: FrameHook | None = None,
    ) -> None:
        self._handler = handler
        self._host = host
        self._port = port
        self._max_clients = max_clients
        self._newest_wins = newest_wins
        self._ssl_context = ssl_context
        self._frames = frames
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._numbers = itertools.count(1)

    @property
    def port(self) -> int:
        """Where it listens; 0 before a free port was found."""
        return self._port

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._open_links())

    @property
    def connected(self) -> frozenset[ClientId]:
        """Who is connected, e.g. to forget the sessions of those who left."""
        return frozenset(link.client for link in self._open_links())

    async def start(self) -> int:
        """Listen and return the port; a second call changes nothing.

        Raises:
            ConfigError: the port or address cannot be used.
        """
        if self._server is not None:
            return self._port
        server: asyncio.Server | None = None
        try:
            server = await asyncio.start_server(
                self._accept,
                self._host,
                self._port,
                ssl=self._ssl_context,
                ssl_handshake_timeout=_TLS_HANDSHAKE_S if self._ssl_context is not None else None,
                start_serving=False,
            )
            # Set before the first connection may come in, which is refused without it.
            self._server = server
            await server.start_serving()
        except (OSError, OverflowError) as error:
            self._server = None
            if server is not None:
                server.close()
            raise self._cannot_listen(error) from error
        self._port = int(server.sockets[0].getsockname()[1])
        return self._port

    async def stop(self) -> None:
        """Close the port and every connection; safe at any time and from inside the handler."""
        server, self._server = self._server, None
        if server is not None:
            await _close_listener(server)
        ended: list[asyncio.Task[None]] = []
        for task, link in list(self._links.items()):
            link.writer.transport.abort()
            if task is not asyncio.current_task():
                task.cancel()
                ended.append(task)
        await asyncio.gather(*ended, return_exceptions=True)

    def drop_clients(self, *, reset: bool = False) -> None:
        """Close every connection and go on listening.

        Args:
            reset: Break off with a TCP reset instead of closing in order.
        """
        for link in self._open_links():
            if reset:
                _socket_of(link.writer).setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE
                )
                link.writer.transport.abort()
            else:
                link.writer.close()

    def _cannot_listen(self, error: OSError | OverflowError) -> ConfigError:
        code = error.errno if isinstance(error, OSError) else None
        return ConfigError(
            f"cannot listen on {self._host}",
            field="port",
            value=str(self._port),
            fix=_BIND_FIXES.get(code or 0, f"check address and port ({error})"),
        )

    def _open_links(self) -> list[_Link]:
        return [link for link in self._links.values() if link.is_open]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # No peer name: gone again before we looked.
        peer = cast("tuple[str, int] | None", writer.get_extra_info("peername"))
        if self._server is None or peer is None or not self._make_room():
            writer.transport.abort()
            return
        link = _Link(ClientId(next(self._numbers), peer[0], peer[1]), reader, writer)
        task = asyncio.create_task(self._serve(link))
        self._links[task] = link
        task.add_done_callback(self._links.pop)

    def _make_room(self) -> bool:
        """Whether one more client may come, after closing an older one where it wins."""
        if self._max_clients is None:
            return True
        links = self._open_links()
        if not self._newest_wins:
            return len(links) < self._max_clients
        for link in links[: len(links) - self._max_clients + 1]:
            link.writer.close()
        return True

    async def _serve(self, link: _Link) -> None:
        # An OSError of a socket, TLS included, says that the client is gone: nothing to answer.
        with contextlib.suppress(OSError):
            # Finds clients that vanished without a word; they would hold their place for ever.
            _socket_of(link.writer).setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            try:
                while (request := await _read_request(link)) is not None:
                    await self._respond(link, *request)
            except asyncio.CancelledError:
                # An orderly end may wait for the client, TLS for half a minute.
                link.writer.transport.abort()
                raise
            finally:
                link.writer.close()
                await link.writer.wait_closed()

    async def _respond(self, link: _Link, transaction_id: int, unit_id: int, pdu: bytes) -> None:
        answer = await self._ask(link, unit_id, pdu)
        if answer is None or link.writer.is_closing():
            return
        exchange = Exchange(transaction_id, unit_id, pdu, answer, link.client)
        for raw in await self._frames_of(link, exchange):
            link.writer.write(raw)
        await link.writer.drain()

    async def _ask(self, link: _Link, unit_id: int, pdu: bytes) -> bytes | None:
        try:
            return _checked(await self._handler.answer(unit_id, pdu, link.client))
        except BessaiError as error:
            if _is_news(link, error):
                log.warning("request failed: %s", error, extra=_fields(link))
        except Exception as error:
            if _is_news(link, error):
                log.exception("the handler has a bug", extra=_fields(link))
        return exception_answer(pdu[0], ExceptionCode.DEVICE_FAILURE)

    async def _frames_of(self, link: _Link, exchange: Exchange) -> Sequence[bytes]:
        if self._frames is None:
            return (exchange.frame(),)
        try:
            return await self._frames(exchange)
        except Exception:
            log.exception("the frame hook has a bug, connection closed", extra=_fields(link))
            link.writer.close()
            return ()


async def _close_listener(server: asyncio.Server) -> None:
    """Close the port, but not in the very turn in which a connection comes in.

    asyncio would then leave an open socket that nobody serves, with an error in the log.
    """
    try:
        # Absent from the event loop of Windows, which sets a connection up in one go.
        with contextlib.suppress(NotImplementedError):
            for listener in server.sockets:
                asyncio.get_running_loop().remove_reader(listener.fileno())
        await asyncio.sleep(0)
    finally:
        server.close()


async def _read_request(link: _Link) -> tuple[int, int, bytes] | None:
    """Transaction id, unit id and PDU; None at the end, also where the bytes are no Modbus TCP."""
    try:
        head = await link.reader.readexactly(_HEAD.size)
        transaction_id, protocol_id, length = cast("tuple[int, int, int]", _HEAD.unpack(head))
        if protocol_id != 0 or length not in _LENGTHS:
            log.warning("not Modbus TCP, connection closed: %s", head.hex(), extra=_fields(link))
            return None
        body = await link.reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None
    return transaction_id, body[0], body[1:]


def _checked(answer: bytes | None) -> bytes | None:
    if answer is not None and not 1 <= len(answer) <= MAX_PDU_BYTES:
        raise ProtocolError("no frame can carry the answer", value=f"{len(answer)} bytes")
    return answer


def _is_news(link: _Link, error: Exception) -> bool:
    """Whether this connection has not logged the same yet, so that a poll does not flood it."""
    text = f"{type(error).__name__}: {error}"
    if text in link.told or len(link.told) >= _TOLD_LIMIT:
        return False
    link.told.add(text)
    return True


def _fields(link: _Link) -> dict[str, object]:
    return {"client": str(link.client)}


def _socket_of(writer: asyncio.StreamWriter) -> socket.socket:
    return cast("socket.socket", writer.get_extra_info("socket"))
