"""One open link, carried by pymodbus; its errors and habits end here.

What pymodbus does that this file undoes: it keeps a request waiting after the link broke, hides
why a connect failed, lets a broken frame end in a traceback, takes a frame without a transaction
id for an answer, and reads TLS without the length field of the frame.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, cast

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerSocket, FramerType
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse, ReadInputRegistersResponse
from pymodbus.transport import CommParams, CommType

from bessai.config.profile import Table
from bessai.errors import DeviceClosed, DeviceError, DeviceTimeout

# pymodbus logs every failed connect; our errors carry the same, once, to who can act on it.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

_NOBODYS: Final = 0x10000
_READ_ANSWERS: Final = {3: ReadHoldingRegistersResponse, 4: ReadInputRegistersResponse}
_NO_TIMER: Final = cast("float", None)
"""Ends up in asyncio.wait_for, which then waits as long as our own deadline lets it.

A second timer would cost a tenth of the request, and before Python 3.12 it may swallow a
cancellation that comes together with the answer.
"""
_FUNCTION_AT: Final = 7
"""Byte of a frame that holds the function code, after the header of Modbus TCP."""
_READS: Final = frozenset({1, 2, 3, 4})
"""Functions that change nothing in a device; whatever else is sent may."""

Permit = Callable[[], None]
"""Raises :class:`bessai.errors.Fenced` where this process may not write now."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a device listens.

    Attributes:
        tls: Client context of Modbus/TCP Security; None for plain Modbus TCP.
        server_name: Name in the device's certificate, where it is not ``host``.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Wire:
    """Sends one request at a time, each once; silence or a broken link closes it.

    Args:
        endpoint: Where to connect to.
        deadline_s: Real seconds for the connect and for each answer.
        may_write: Asked before each frame that is no plain read, with nothing left to wait for
            between its return and the transport's write; None permits all.
    """

    def __init__(
        self, endpoint: Endpoint, deadline_s: float, may_write: Permit | None = None
    ) -> None:
        self._endpoint = endpoint
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._waiting = False
        self._lost = False
        self._closed_by_device = False
        self._decoder = _Decoder()
        self._client = _Client(endpoint, None if may_write is None else _gate(may_write))
        self._client.ctx.framer = _Framer(self._decoder)
        # Its trace_connect does not tell why a link ended.
        self._client.ctx.callback_disconnected = self._note_end  # type: ignore[method-assign, assignment]

    @property
    def is_open(self) -> bool:
        """Whether the link was up at the last look."""
        return not self._lost

    @property
    def closed_by_device(self) -> bool:
        """Whether the other end closed the link (FIN or RST), and not we."""
        return self._closed_by_device

    async def open(self) -> None:
        """Connect.

        Raises:
            DeviceTimeout: nothing accepts the connection in time.
            DeviceError: no such host name can be, or TLS found no trust.
        """
        at = self._endpoint
        try:
            async with asyncio.timeout(self._deadline_s):
                await asyncio.get_running_loop().create_connection(
                    self._client.ctx.handle_new_connection,
                    at.host,
                    at.port,
                    ssl=at.tls,
                    server_hostname=None if at.tls is None else at.server_name or at.host,
                )
        except TimeoutError:
            self.close()
            raise DeviceTimeout(
                f"{at} did not accept a connection within {self._deadline_s:g} s"
            ) from None
        except UnicodeError:
            raise DeviceError("is not a host name", field="host", value=repr(at.host)) from None
        except OSError as error:
            raise _no_link(at, error) from None

    async def read(self, table: Table, unit_id: int, address: int, count: int) -> ModbusPDU:
        """FC03 or FC04; a Modbus exception is an answer, too.

        Raises:
            DeviceTimeout: no answer in time, or the link broke; it is closed now.
            DeviceClosed: the device broke it.
        """
        client = self._client
        if table is Table.HOLDING:
            return await self._answer(
                client.read_holding_registers(address, count=count, device_id=unit_id)
            )
        return await self._answer(
            client.read_input_registers(address, count=count, device_id=unit_id)
        )

    async def write(self, unit_id: int, address: int, words: Sequence[int]) -> ModbusPDU:
        """FC06 for one register, FC16 for several.

        Raises:
            DeviceTimeout: no answer; the write may have arrived. The link is closed now.
            Fenced: nothing was sent.
        """
        client = self._client
        if len(words) == 1:
            return await self._answer(client.write_register(address, words[0], device_id=unit_id))
        return await self._answer(client.write_registers(address, list(words), device_id=unit_id))

    async def exchange(self, unit_id: int, pdu: bytes) -> bytes:
        """Any PDU; the answer as it came, exceptions included.

        Raises:
            DeviceTimeout: no answer; the link is closed now.
            Fenced: nothing was sent.
        """
        request = _raw_class(pdu[0])(dev_id=unit_id)
        request.decode(pdu[1:])
        self._decoder.raw = True
        try:
            answer = await self._answer(self._client.execute(False, request))
        finally:
            self._decoder.raw = False
        return bytes((answer.function_code,)) + answer.encode()

    def close(self) -> None:
        """Close the link and end a request that waits on it; a second call does nothing."""
        self._client.close()
        if self._timer is not None:
            self._timer.cancel()
        self._lose(_Ended("closed the connection"))

    async def _answer(self, request: Awaitable[ModbusPDU]) -> ModbusPDU:
        self._due_s = self._loop.time() + self._deadline_s
        if self._timer is None:
            self._timer = self._loop.call_at(self._due_s, self._look_at_clock)
        self._waiting = True
        kind = DeviceTimeout
        try:
            return await request
        except _Ended as end:
            kind, reason = end.kind, str(end)
        except (ModbusException, OSError) as error:
            reason = f"failed: {error}"
        finally:
            self._waiting = False
        self.close()
        raise kind(f"{self._endpoint} {reason}") from None

    def _look_at_clock(self) -> None:
        """One timer for many requests: it mostly finds that the deadline has moved on."""
        self._timer = None
        if not self._waiting:
            return
        if self._loop.time() < self._due_s:
            self._timer = self._loop.call_at(self._due_s, self._look_at_clock)
            return
        self._end_request(_Ended(f"gave no answer within {self._deadline_s:g} s"))

    def _note_end(self, error: Exception | None) -> None:
        """Called by pymodbus where the link ended without our doing.

        Args:
            error: None after a FIN, a ConnectionError after a RST; a link that the network lost
                ends with another one.
        """
        self._closed_by_device = error is None or isinstance(error, ConnectionError)
        if self._closed_by_device:
            self._lose(_Ended("closed the connection", DeviceClosed))
        else:
            self._lose(_Ended(f"lost the connection ({error})"))

    def _lose(self, end: _Ended) -> None:
        """A request must not wait for an answer that cannot come."""
        self._lost = True
        self._end_request(end)

    def _end_request(self, end: _Ended) -> None:
        waiting = self._client.ctx.response_future
        if self._waiting and not waiting.done():
            waiting.set_exception(end)


class _Ended(Exception):
    """Why no answer will come; no TimeoutError, which pymodbus would take for its own."""

    def __init__(self, reason: str, kind: type[DeviceTimeout] = DeviceTimeout) -> None:
        super().__init__(reason)
        self.kind = kind


def _gate(may_write: Permit) -> Callable[[bool, bytes], bytes]:
    """For pymodbus, which calls it with a frame in the statement that hands it to the transport."""

    def ask(sending: bool, frame: bytes) -> bytes:
        if sending and frame[_FUNCTION_AT] not in _READS:
            may_write()
        return frame

    return ask


def _no_link(at: Endpoint, error: OSError) -> DeviceError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return DeviceError(
            f"{at} shows a certificate that is not trusted ({error.verify_message.rstrip('.')})",
            field="tls",
            fix="check ca_file and server_name, and that this is the right device",
        )
    if isinstance(error, ssl.SSLError):
        return DeviceError(
            f"{at} does not agree on TLS ({error.reason})",
            field="tls",
            fix="check the port, and that the device accepts our certificate",
        )
    if at.tls is not None and isinstance(error, ConnectionResetError):
        return DeviceTimeout(f"{at} broke off the TLS handshake", field="tls")
    why = error.strerror or str(error) or type(error).__name__
    return DeviceTimeout(f"{at} refuses connections or cannot be reached ({why})")


class _Client(AsyncModbusTcpClient):
    """A client that sends nothing twice and frames TLS as it frames TCP.

    The TLS client of pymodbus ignores the frame's length, so an answer that comes in two pieces
    is read as two answers.
    """

    def __init__(self, at: Endpoint, gate: Callable[[bool, bytes], bytes] | None) -> None:
        self.comm_params = CommParams(
            comm_type=CommType.TCP if at.tls is None else CommType.TLS,
            host=at.host,
            port=at.port,
            comm_name="comm",
            sslctx=at.tls,
            reconnect_delay=0,
            timeout_connect=_NO_TIMER,
        )
        super().__init__(
            at.host,
            framer=FramerType.SOCKET,
            retries=0,
            trace_packet=gate,
        )


class _Raw(ModbusPDU):
    """A PDU as bytes."""

    content = b""

    def encode(self) -> bytes:
        return self.content

    def decode(self, data: bytes) -> None:
        self.content = bytes(data)


@cache
def _raw_class(function: int) -> type[_Raw]:
    return type("Raw", (_Raw,), {"function_code": function})


def _registers(frame: bytes) -> ModbusPDU | None:
    """An answer to FC03 or FC04 in one step; pymodbus takes and prints word after word.

    Of a frame that is not as long as it says, and of any other, pymodbus makes what it can.
    """
    answer = _READ_ANSWERS.get(frame[0])
    size = len(frame) - 2
    if answer is None or size % 2 or size < 0 or frame[1] != size:
        return None
    return answer(registers=list(struct.unpack(f">{size // 2}H", frame[2:])))


class _Framer(FramerSocket):
    """Takes no frame without a transaction id for an answer; ours begin at 1."""

    def decode(self, data: bytes) -> tuple[int, int, int, bytes]:
        size, unit_id, transaction_id, body = super().decode(data)
        return size, unit_id, transaction_id or _NOBODYS, body


class _Decoder(DecodePDU):
    """Hands over the bytes where ``raw`` is set, or where nobody understands them."""

    def __init__(self) -> None:
        super().__init__(is_server=False)
        self.raw = False

    def decode(self, frame: bytes) -> ModbusPDU | None:
        pdu = None if self.raw else _registers(frame) or super().decode(frame)
        if pdu is None:
            pdu = _raw_class(frame[0])()
            pdu.decode(frame[1:])
        return pdu
