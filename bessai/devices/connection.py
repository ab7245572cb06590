"""The one Modbus TCP connection of a device; pymodbus errors become ours here and nowhere else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from bessai.config.profile import Connection
from bessai.devices.codec import Registers
from bessai.errors import DeviceBusy, DeviceError, DeviceTimeout, RegisterRejected

# pymodbus logs every failed connect; our errors carry the same, once, to who can act on it.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

_BUSY = 6
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    0x80: "no permission",
}
"""Modbus Application Protocol V1.1b3, section 7; 0x80 is Huawei's (wlcrs/huawei_solar#174)."""


class ModbusConnection:
    """One request at a time, never repeated; a silent or broken link is closed at once.

    A device of this kind serves one client only, so nothing else may connect to it. After a
    :class:`DeviceTimeout` the caller decides when to ``connect`` again.
    """

    def __init__(self, host: str, port: int, unit_id: int, settings: Connection) -> None:
        self._host = host
        self._port = port
        self._unit_id = unit_id
        self._settings = settings
        self._client: AsyncModbusTcpClient | None = None
        self._lost = asyncio.Event()
        self._lock = asyncio.Lock()
        self._next_request_s = 0.0

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self._host}:{self._port}"

    @property
    def connected(self) -> bool:
        """Whether the link was up at the last look."""
        return self._client is not None and not self._lost.is_set()

    async def connect(self) -> None:
        """Open the link, closing an older one, and wait as the profile says.

        Raises:
            DeviceTimeout: nothing accepts the connection in time.
        """
        self.close()
        self._lost = lost = asyncio.Event()
        client = AsyncModbusTcpClient(
            self._host,
            port=self._port,
            timeout=self._settings.request_deadline_s + 1.0,
            retries=0,
            reconnect_delay=0,
            trace_connect=lambda up: None if up else lost.set(),
        )
        await self._open(client)
        self._client = client
        # Requests sent right after the TCP connect are swallowed (evcc#31996).
        await asyncio.sleep(self._settings.wait_after_connect_s)

    async def read(self, address: int, count: int) -> Registers:
        """Read ``count`` holding registers (FC03).

        Raises:
            DeviceTimeout: no answer in time, or the link broke; it is closed now.
            DeviceBusy: exception 6.
            RegisterRejected: any other exception.
        """
        what = f"reading {address}..{address + count - 1}"
        async with self._lock:
            client = await self._ready(what)
            pdu = await self._answer(
                lambda: client.read_holding_registers(
                    address, count=count, device_id=self._unit_id
                ),
                what,
            )
        self._check(pdu, what)
        if len(pdu.registers) != count:
            raise DeviceError(
                f"{self.address} sent {len(pdu.registers)} registers for {count}", field=what
            )
        return tuple(pdu.registers)

    async def write(self, address: int, registers: Sequence[int]) -> None:
        """Write one register (FC06) or several (FC16).

        Raises:
            DeviceTimeout: no answer; the write may have reached the device. The link is closed.
            DeviceBusy: exception 6.
            RegisterRejected: any other exception.
        """
        what = f"writing {address}"
        words = list(registers)
        async with self._lock:
            client = await self._ready(what)
            pdu = await self._answer(
                lambda: (
                    client.write_register(address, words[0], device_id=self._unit_id)
                    if len(words) == 1
                    else client.write_registers(address, words, device_id=self._unit_id)
                ),
                what,
            )
        self._check(pdu, what)

    def close(self) -> None:
        """Close the link; a second call does nothing."""
        client, self._client = self._client, None
        self._lost.set()
        if client is not None:
            client.close()

    async def _open(self, client: AsyncModbusTcpClient) -> None:
        deadline_s = self._settings.request_deadline_s
        opened = False
        try:
            async with asyncio.timeout(deadline_s):
                opened = await client.connect()
        except TimeoutError:
            raise DeviceTimeout(
                f"{self.address} did not accept a connection within {deadline_s:g} s"
            ) from None
        except UnicodeError:
            raise DeviceError("is not a host name", field="host", value=repr(self._host)) from None
        finally:
            if not opened:
                client.close()
        if not opened:
            raise DeviceTimeout(f"{self.address} refuses connections or cannot be reached")

    async def _ready(self, what: str) -> AsyncModbusTcpClient:
        pause_s = self._next_request_s - asyncio.get_running_loop().time()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        client = self._client
        if client is None:
            raise DeviceTimeout(f"{self.address} is not connected", field=what)
        if self._lost.is_set():
            self.close()
            raise DeviceTimeout(f"{self.address} closed the connection", field=what)
        return client

    async def _answer(self, send: Callable[[], Awaitable[ModbusPDU]], what: str) -> ModbusPDU:
        """Wait for the answer, the deadline or the end of the link, whichever is first."""
        try:
            pdu = await self._first(asyncio.ensure_future(send()))
        except (ModbusException, OSError) as error:
            self.close()
            raise DeviceTimeout(f"{self.address} failed: {error}", field=what) from None
        if pdu is not None:
            return pdu
        closed = "closed the connection"
        silent = f"gave no answer within {self._settings.request_deadline_s:g} s"
        reason = closed if self._lost.is_set() else silent
        self.close()
        raise DeviceTimeout(f"{self.address} {reason}", field=what)

    async def _first(self, request: asyncio.Future[ModbusPDU]) -> ModbusPDU | None:
        lost = asyncio.ensure_future(self._lost.wait())
        either: set[asyncio.Future[ModbusPDU] | asyncio.Future[Literal[True]]] = {request, lost}
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait(
                either,
                timeout=self._settings.request_deadline_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            return request.result() if request.done() else None
        finally:
            request.cancel()
            lost.cancel()
            self._next_request_s = loop.time() + self._settings.request_gap_s

    def _check(self, pdu: ModbusPDU, what: str) -> None:
        if not pdu.isError():
            return
        code = pdu.exception_code
        if code == _BUSY:
            raise DeviceBusy(f"{self.address} is busy (Modbus exception 6)", field=what)
        text = _EXCEPTIONS.get(code, "not in the Modbus list")
        raise RegisterRejected(f"{self.address} answered exception {code} ({text})", field=what)
