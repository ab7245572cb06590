"""The one connection of a device: who may send next, when, and what its refusals mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from pymodbus.pdu import ModbusPDU

from bessai.config.profile import MAIN, Connection, Point, Space, Table
from bessai.devices.codec import Registers
from bessai.devices.logins import Credentials
from bessai.devices.session import Session
from bessai.devices.tls import TlsSettings, client_context
from bessai.devices.turns import Turns, Urgency
from bessai.devices.wire import Endpoint, Permit, Wire
from bessai.errors import (
    DeviceBusy,
    DeviceClosed,
    DeviceError,
    DeviceTimeout,
    IllegalAddress,
    RegisterRejected,
    VerificationFailed,
)

_Answer = TypeVar("_Answer")
READ_TRIES: Final = 3
"""How often a read is sent while the device says it is busy; a write is sent once."""
_READ_FUNCTIONS: Final = {Table.HOLDING: 0x03, Table.INPUT: 0x04}
_WRITE_ONE: Final = 0x06
_WRITE_MANY: Final = 0x10
_ILLEGAL_ADDRESS: Final = 2
_ACKNOWLEDGE: Final = 5
_EXCEPTIONS: Final = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledge",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target gave no answer",
    0x80: "no permission",
}
"""Modbus Application Protocol V1.1b3, section 7; 0x80 is Huawei's (wlcrs/huawei_solar#174)."""


class ModbusConnection:
    """One request at a time; a silent or broken link is closed at once.

    A device of this kind serves one client only, so nothing else may connect to it. After a
    :class:`DeviceTimeout` the caller decides when to :meth:`connect` again. A write is never sent
    twice: it may have reached a device that gave no answer. Whatever is no read is sent only while
    ``may_write`` permits it, and asked for as late as possible: after turns, pauses and gaps.

    Args:
        host: Name or address of the device.
        port: TCP port.
        unit_ids: Unit id by name; ``main`` is required.
        settings: Habits of the family.
        tls: Where the device speaks Modbus/TCP Security.
        credentials: For a family that wants a login.
        keep_alive: The point that ``settings.keep_alive`` names.
        may_write: Raises :class:`bessai.errors.Fenced` where this process may not write now;
            without one it always may.

    Raises:
        ConfigError: the settings do not fit together, or a TLS file cannot be used.
    """

    def __init__(  # noqa: PLR0913 - the wiring of one connection, at few places
        self,
        host: str,
        port: int,
        unit_ids: Mapping[str, int],
        settings: Connection,
        *,
        tls: TlsSettings | None = None,
        credentials: Credentials | None = None,
        keep_alive: Point | None = None,
        may_write: Permit | None = None,
    ) -> None:
        context = None if tls is None else client_context(tls)
        self._endpoint = Endpoint(host, port, context, None if tls is None else tls.server_name)
        self._unit_ids = dict(unit_ids)
        self._settings = settings
        self._session = Session(settings, credentials, keep_alive)
        self._may_write = may_write
        self._wire: Wire | None = None
        self._closed_by_device = False
        self._turns = Turns()
        self._next_request_s = 0.0

    @property
    def address(self) -> str:
        """``host:port``."""
        return str(self._endpoint)

    @property
    def connected(self) -> bool:
        """Whether the link was up at the last look."""
        return self._wire is not None and self._wire.is_open

    def use_unit(self, device: str, unit_id: int) -> None:
        """Talk to ``device`` under this unit id from now on."""
        self._unit_ids[device] = unit_id

    async def connect(self) -> None:
        """Open the link, closing an older one, wait as the profile says, and log in.

        A login that this process may not send now waits for its first write.

        Raises:
            DeviceTimeout: nothing accepts the connection in time, or no answer to the login.
            DeviceError: TLS found no trust, or the login is refused; a refused one is not tried
                again for :data:`bessai.devices.session.LOGIN_PAUSE_S`.
        """
        self.close()
        self._session.check()
        wire = Wire(self._endpoint, self._settings.request_deadline_s, self._may_write)
        ready = False
        try:
            await wire.open()
            # Requests sent right after the TCP connect are swallowed (evcc#31996).
            await asyncio.sleep(self._settings.wait_after_connect_s)
            self.close()
            self._wire = wire
            await self._session.begin(self)
            ready = True
        finally:
            if not ready:
                wire.close()
                self._drop_lost()

    async def read(
        self, space: Space, address: int, count: int, *, urgency: Urgency = Urgency.READ
    ) -> Registers:
        """Read ``count`` registers: holding by FC03, input by FC04.

        Asks again, after the profile's wait and twice that, while the device is busy.

        Raises:
            DeviceTimeout: no answer in time, or the link broke; it is closed now.
            DeviceClosed: the device closed it, now or since the last connect.
            DeviceBusy: the device stays busy.
            IllegalAddress: it lacks one of the registers.
            RegisterRejected: any other exception.
        """
        for attempt in range(READ_TRIES - 1):
            try:
                return await self._read_once(space, address, count, urgency)
            except DeviceBusy:
                await asyncio.sleep(self._settings.busy_wait_s * 2**attempt)
        return await self._read_once(space, address, count, urgency)

    async def write(
        self,
        device: str,
        address: int,
        registers: Sequence[int],
        *,
        urgency: Urgency = Urgency.WRITE,
    ) -> None:
        """Write one register (FC06) or several (FC16), once.

        Raises:
            DeviceTimeout: no answer; the write may have reached the device. The link is closed.
            Fenced: this process may not write; nothing was sent.
            VerificationFailed: the answer does not say that it was done; it may have been.
            DeviceBusy: it takes no write now.
            RegisterRejected: any other exception.
        """
        unit_id, what = self._unit(device), f"writing {address}"
        if self._session.owes_login:
            await self._session.log_in(self)
        pdu = await self._turn(urgency, lambda wire: wire.write(unit_id, address, registers), what)
        if pdu.exception_code == _ACKNOWLEDGE:
            raise VerificationFailed(f"{self.address} took it, but has not done it yet", field=what)
        self._check(pdu.function_code, pdu.exception_code, what)
        if not _is_echo(pdu, address, registers):
            raise VerificationFailed(f"{self.address} confirmed something else", field=what)

    async def execute(
        self, pdu: bytes, *, device: str = MAIN, urgency: Urgency = Urgency.READ
    ) -> bytes:
        """Send any request PDU, e.g. of a login, and return the answer PDU.

        Raises:
            DeviceTimeout: no answer; the link is closed now.
            Fenced: it is no plain read, and this process may not write; nothing was sent.
            DeviceBusy, RegisterRejected: the device answered an exception.
        """
        answer = await self.exchange(pdu, unit_id=self._unit(device), urgency=urgency)
        code = answer[1] if len(answer) > 1 else 0
        self._check(answer[0], code, f"function {pdu[0]:#04x}")
        return answer

    async def exchange(
        self, pdu: bytes, *, unit_id: int, urgency: Urgency = Urgency.BACKGROUND
    ) -> bytes:
        """Pass a request PDU of somebody else through; an exception is an answer like any.

        Raises:
            DeviceTimeout: no answer; the link is closed now.
        """
        what = f"function {pdu[0]:#04x}"
        return await self._turn(urgency, lambda wire: wire.exchange(unit_id, pdu), what)

    def close(self) -> None:
        """Close the link and end the keep-alive; a second call does nothing."""
        self._session.end()
        self._closed_by_device = False
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    async def _read_once(
        self, space: Space, address: int, count: int, urgency: Urgency
    ) -> Registers:
        table, unit_id = space.table, self._unit(space.device)
        what = f"reading {address}..{address + count - 1}"
        pdu = await self._turn(
            urgency, lambda wire: wire.read(table, unit_id, address, count), what
        )
        self._check(pdu.function_code, pdu.exception_code, what)
        if pdu.function_code != _READ_FUNCTIONS[table] or len(pdu.registers) != count:
            raise DeviceError(
                f"{self.address} answered function {pdu.function_code:#04x} with "
                f"{len(pdu.registers)} registers",
                field=what,
            )
        return tuple(pdu.registers)

    async def _turn(
        self, urgency: Urgency, send: Callable[[Wire], Awaitable[_Answer]], what: str
    ) -> _Answer:
        loop = asyncio.get_running_loop()
        async with self._turns.take(urgency):
            pause_s = self._next_request_s - loop.time()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            try:
                return await send(self._open_wire())
            except DeviceTimeout as error:
                self._drop_lost()
                raise type(error)(error.message, field=what) from None
            finally:
                self._next_request_s = loop.time() + self._settings.request_gap_s

    def _drop_lost(self) -> None:
        """Close a broken link, but not the new one that a connect opened meanwhile."""
        if self._wire is not None and not self._wire.is_open:
            by_device = self._wire.closed_by_device
            self.close()
            self._closed_by_device = by_device

    def _open_wire(self) -> Wire:
        self._drop_lost()
        if self._wire is not None:
            return self._wire
        # Whoever asks first need not be the one who must know: it may be the keep-alive.
        if self._closed_by_device:
            raise DeviceClosed(f"{self.address} closed the connection")
        raise DeviceTimeout(f"{self.address} is not connected")

    def _check(self, function: int, code: int, what: str) -> None:
        """Turn an exception of the device into ours."""
        if not function & 0x80:
            return
        text = f"{self.address} answered exception {code} ({_EXCEPTIONS.get(code, 'not standard')})"
        if code in self._settings.busy_exceptions:
            raise DeviceBusy(text, field=what)
        if code in self._settings.permission_exceptions:
            raise RegisterRejected(text, field=what, fix=_how_to_log_in(self._settings))
        raise (IllegalAddress if code == _ILLEGAL_ADDRESS else RegisterRejected)(text, field=what)

    def _unit(self, device: str) -> int:
        try:
            return self._unit_ids[device]
        except KeyError:
            known = ", ".join(sorted(self._unit_ids))
            raise DeviceError(
                f"has no unit id at {self.address}",
                field=f"connection.other_units.{device}",
                fix=f"known units: {known}",
            ) from None


def _is_echo(pdu: ModbusPDU, address: int, registers: Sequence[int]) -> bool:
    """Whether an answer confirms this write, as sections 6.6 and 6.12 of the protocol want it."""
    if len(registers) == 1:
        echoed = pdu.function_code == _WRITE_ONE and tuple(pdu.registers) == tuple(registers)
    else:
        echoed = pdu.function_code == _WRITE_MANY and pdu.count == len(registers)
    return echoed and pdu.address == address


def _how_to_log_in(settings: Connection) -> str | None:
    if settings.login is None:
        return None
    return "log in first: give the site the device's credentials"
