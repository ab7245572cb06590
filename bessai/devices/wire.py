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
from bessai.errors import DeviceError, DeviceTimeout

# pymodbus logs every failed connect; our errors carry the same, once, to who can act on it.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

_NOBODYS: Final = 0x10000
_READ_ANSWERS: Final = {3: ReadHoldingRegistersResponse, 4: ReadInputRegistersResponse}
_NO_TIMER: Final = cast("float", None)
"""Ends up in asyncio.wait_for, which then waits as long as our own deadline lets it.

A second timer would cost a tenth of the request, and before Python 3.12 it may swallow a
cancellation that comes together with the answer.
"""


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
    """

    def __init__(self, endpoint: Endpoint, deadline_s: float) -> None:
        self._endpoint = endpoint
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._waiting = False
        self._lost = False
        self._decoder = _Decoder()
        self._client = _Client(endpoint, self._note_link)
        self._client.ctx.framer = _Framer(self._decoder)

    @property
    def is_open(self) -> bool:
        """Whether the link was up at the last look."""
        return not self._lost

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
        """
        client = self._client
        if len(words) == 1:
            return await self._answer(client.write_register(address, words[0], device_id=unit_id))
        return await self._answer(client.write_registers(address, list(words), device_id=unit_id))

    async def exchange(self, unit_id: int, pdu: bytes) -> bytes:
        """Any PDU; the answer as it came, exceptions included.

        Raises:
            DeviceTimeout: no answer; the link is closed now.
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
        self._note_link(False)

    async def _answer(self, request: Awaitable[ModbusPDU]) -> ModbusPDU:
        self._due_s = self._loop.time() + self._deadline_s
        if self._timer is None:
            self._timer = self._loop.call_at(self._due_s, self._look_at_clock)
        self._waiting = True
        try:
            return await request
        except _Ended as end:
            reason = str(end)
        except (ModbusException, OSError) as error:
            reason = f"failed: {error}"
        finally:
            self._waiting = False
        self.close()
        raise DeviceTimeout(f"{self._endpoint} {reason}") from None

    def _look_at_clock(self) -> None:
        """One timer for many requests: it mostly finds that the deadline has moved on."""
        self._timer = None
        if not self._waiting:
            return
        if self._loop.time() < self._due_s:
            self._timer = self._loop.call_at(self._due_s, self._look_at_clock)
            return
        self._end_request(f"gave no answer within {self._deadline_s:g} s")

    def _note_link(self, up: bool) -> None:
        """Called by pymodbus; a request must not wait for an answer that cannot come."""
        if not up:
            self._lost = True
            self._end_request("closed the connection")

    def _end_request(self, reason: str) -> None:
        waiting = self._client.ctx.response_future
        if self._waiting and not waiting.done():
            waiting.set_exception(_Ended(reason))


class _Ended(Exception):
    """Why no answer will come; no TimeoutError, which pymodbus would take for its own."""


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

    def __init__(self, at: Endpoint, note_link: Callable[[bool], None]) -> None:
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
            trace_connect=note_link,
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
