"""One open link, carried by pymodbus; its errors and habits end here.

What pymodbus does that this file undoes: it keeps a request waiting after the link broke, hides
why a connect failed, lets a broken frame end in a traceback, and reads TLS without the length
field of the frame.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerSocket, FramerType
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.transport import CommParams, CommType

from bessai.config.profile import Table
from bessai.errors import DeviceError, DeviceTimeout

# pymodbus logs every failed connect; our errors carry the same, once, to who can act on it.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

_PYMODBUS_GRACE_S: Final = 1.0
_NOBODYS: Final = 0x10000


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
        self._timer: asyncio.Timeout | None = None
        self._lost = False
        self._refused: OSError | None = None
        self._decoder = _Decoder()
        self._client = _Client(endpoint, deadline_s + _PYMODBUS_GRACE_S, self._note_link)
        self._client.ctx.framer = _Framer(self._decoder)
        self._client.ctx.call_create = self._dial

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
        opened = False
        try:
            async with asyncio.timeout(self._deadline_s):
                opened = await self._client.connect()
        except TimeoutError:
            raise DeviceTimeout(
                f"{self._endpoint} did not accept a connection within {self._deadline_s:g} s"
            ) from None
        except UnicodeError:
            raise DeviceError(
                "is not a host name", field="host", value=repr(self._endpoint.host)
            ) from None
        finally:
            if not opened:
                self.close()
        if not opened:
            raise self._no_link()

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
        self._note_link(False)

    def _note_link(self, up: bool) -> None:
        """Called by pymodbus; a request must not wait for an answer that cannot come."""
        if up:
            return
        self._lost = True
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(asyncio.get_running_loop().time())

    async def _answer(self, request: Awaitable[ModbusPDU]) -> ModbusPDU:
        try:
            async with asyncio.timeout(self._deadline_s) as self._timer:
                return await request
        except TimeoutError:
            silent = f"gave no answer within {self._deadline_s:g} s"
            reason = "closed the connection" if self._lost else silent
        except (ModbusException, OSError) as error:
            reason = f"failed: {error}"
        finally:
            self._timer = None
        self.close()
        raise DeviceTimeout(f"{self._endpoint} {reason}") from None

    async def _dial(self) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        at = self._endpoint
        name = None if at.tls is None else at.server_name or at.host
        try:
            return await asyncio.get_running_loop().create_connection(
                self._client.ctx.handle_new_connection,
                at.host,
                at.port,
                ssl=at.tls,
                server_hostname=name,
            )
        except OSError as error:
            self._refused = error
            raise

    def _no_link(self) -> DeviceError:
        error = self._refused
        if isinstance(error, ssl.SSLCertVerificationError):
            return DeviceError(
                f"{self._endpoint} shows a certificate that is not trusted "
                f"({error.verify_message.rstrip('.')})",
                field="tls",
                fix="check ca_file and server_name, and that this is the right device",
            )
        if isinstance(error, ssl.SSLError):
            return DeviceError(
                f"{self._endpoint} does not agree on TLS ({error.reason})",
                field="tls",
                fix="check the port, and that the device accepts our certificate",
            )
        why = "" if error is None else f" ({error.strerror or error})"
        return DeviceTimeout(f"{self._endpoint} refuses connections or cannot be reached{why}")


class _Client(AsyncModbusTcpClient):
    """A client that sends nothing twice and frames TLS as it frames TCP.

    The TLS client of pymodbus ignores the frame's length, so an answer that comes in two pieces
    is read as two answers.
    """

    def __init__(self, at: Endpoint, timeout_s: float, note_link: Callable[[bool], None]) -> None:
        self.comm_params = CommParams(
            comm_type=CommType.TCP if at.tls is None else CommType.TLS,
            host=at.host,
            port=at.port,
            comm_name="comm",
            sslctx=at.tls,
            reconnect_delay=0,
            timeout_connect=timeout_s,
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
        pdu = None if self.raw else super().decode(frame)
        if pdu is None:
            pdu = _raw_class(frame[0])()
            pdu.decode(frame[1:])
        return pdu
