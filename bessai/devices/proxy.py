"""Shares the one connection that a device allows: many guests, one request at a time.

Read-only unless told otherwise, because Modbus has no password: whoever may write may command the
battery. A request that is not allowed gets exception 1, "not an allowable action for the server";
one that the device does not answer gets exception 11, "gateway target gave no answer" (Modbus
Application Protocol V1.1b3, section 7). Everything else passes through as it is, the device's
own exceptions included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

from bessai.config.profile import Connection
from bessai.devices.connection import ModbusConnection
from bessai.devices.door import Door
from bessai.devices.mbap import ClientId, ModbusServer
from bessai.devices.pdu import ExceptionCode, exception_answer
from bessai.devices.turns import Urgency
from bessai.errors import DeviceError, DeviceTimeout

MAX_WAITING: Final = 32
"""Requests of all guests that may wait for the device; one more is told that it is busy."""
SILENT_S: Final = 60.0
"""A unit id that never answered is not asked again for so long: a guest that scans for unit ids
would break the connection of all the others again and again."""

_FUNCTIONS: Final = range(0x01, 0x80)
_READS: Final = frozenset({0x01, 0x02, 0x03, 0x04})
_IDENTIFICATION: Final = b"\x2b\x0e"


@dataclass(slots=True)
class Counts:
    """What one guest asked for.

    Attributes:
        requests: All of them.
        refused: Writes that were not allowed.
        unanswered: Requests that the device gave no answer to.
    """

    requests: int = 0
    refused: int = 0
    unanswered: int = 0


class Proxy:
    """Passes requests of guests on to one device.

    Args:
        link: The device's connection; opened when a guest first asks.
        settings: Habits of the family.
        door: Where guests come in.
        allow_writes: Let guests write and send functions that are not known to be harmless.
        tell: Gets a line when the device is lost and when it is back.

    Raises:
        ConfigError: the door would let in everybody.
    """

    def __init__(
        self,
        link: ModbusConnection,
        settings: Connection,
        door: Door,
        *,
        allow_writes: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        door.check()
        self._upstream = _Upstream(link, settings, tell)
        self._allow_writes = allow_writes
        self._server = _GuardedServer(self, door)
        self._waiting = 0
        self._counts: dict[ClientId, Counts] = {}

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    @property
    def guests(self) -> frozenset[ClientId]:
        """Who is connected."""
        return self._server.connected

    @property
    def seen(self) -> frozenset[ClientId]:
        """Who asked something, present or not, and was not forgotten."""
        return frozenset(self._counts)

    def counts(self, guest: ClientId) -> Counts:
        """What a guest asked for so far."""
        return self._counts.get(guest, Counts())

    def forget(self, guest: ClientId) -> None:
        """Drop the counts of a guest that left."""
        self._counts.pop(guest, None)

    async def start(self) -> int:
        """Listen and return the port; the device is connected when a guest first asks.

        Raises:
            ConfigError: the address or port cannot be used.
        """
        return await self._server.start()

    async def stop(self) -> None:
        """Let all guests go and close the device's connection."""
        await self._server.stop()
        self._upstream.close()

    async def answer(self, unit_id: int, pdu: bytes, client: ClientId) -> bytes:
        """One request of a guest; never raises for what a device does."""
        counts = self._counts.setdefault(client, Counts())
        counts.requests += 1
        if not self._allows(pdu):
            counts.refused += 1
            return exception_answer(pdu[0], ExceptionCode.ILLEGAL_FUNCTION)
        if self._waiting >= MAX_WAITING:
            return exception_answer(pdu[0], ExceptionCode.DEVICE_BUSY)
        self._waiting += 1
        try:
            answer = await self._upstream.ask(unit_id, pdu)
        finally:
            self._waiting -= 1
        if answer is None:
            counts.unanswered += 1
            return exception_answer(pdu[0], ExceptionCode.GATEWAY_NO_ANSWER)
        return answer

    def _allows(self, pdu: bytes) -> bool:
        return pdu[0] in _FUNCTIONS if self._allow_writes else _is_harmless(pdu)


@dataclass(slots=True)
class _Upstream:
    """The device's side: connects when asked, and not too often."""

    link: ModbusConnection
    settings: Connection
    tell: Callable[[str], None]
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _failures: int = field(default=0, init=False)
    _retry_s: float = field(default=0.0, init=False)
    _trouble: str | None = field(default=None, init=False)
    _answered: set[int] = field(default_factory=set, init=False)
    _silent_until: dict[int, float] = field(default_factory=dict, init=False)

    async def ask(self, unit_id: int, pdu: bytes) -> bytes | None:
        """The device's answer; None where there is none."""
        # One at a time from the connect on: a silence then belongs to this request.
        async with self._turn:
            if self._silent_until.get(unit_id, 0.0) > _now_s() or not await self._connected():
                return None
            try:
                answer = await self.link.exchange(pdu, unit_id=unit_id, urgency=Urgency.BACKGROUND)
            except DeviceTimeout as error:
                self._note_silence(unit_id, error)
                return None
            self._answered.add(unit_id)
            self._note_well()
            return answer

    def close(self) -> None:
        self.link.close()

    async def _connected(self) -> bool:
        if self.link.connected:
            return True
        if _now_s() < self._retry_s:
            return False
        try:
            await self.link.connect()
        except DeviceError as error:
            self._failures += 1
            longest_s = self.settings.reconnect_min_s * 2.0 ** min(self._failures - 1, 16)
            self._retry_s = _now_s() + min(self.settings.reconnect_max_s, longest_s)
            self._note_trouble(error)
            return False
        return True

    def _note_silence(self, unit_id: int, error: DeviceError) -> None:
        if self._answered and unit_id not in self._answered:
            self._silent_until[unit_id] = _now_s() + SILENT_S
            return  # nobody has this unit id; the device is well
        self._retry_s = _now_s() + self.settings.reconnect_min_s
        self._note_trouble(error)

    def _note_trouble(self, error: DeviceError) -> None:
        if self._trouble is None:
            self.tell(f"device lost: {error}")
        self._trouble = str(error)

    def _note_well(self) -> None:
        if self._trouble is not None:
            self.tell("device answers again")
        self._trouble, self._failures = None, 0


class _GuardedServer(ModbusServer):
    """Closes the connections of strangers before a byte is read."""

    def __init__(self, proxy: Proxy, door: Door) -> None:
        super().__init__(proxy, host=door.host, port=door.port)
        self._door = door

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = cast("tuple[str, int] | None", writer.get_extra_info("peername"))
        if peer is None or not self._door.admits(peer[0]):
            writer.transport.abort()
            return
        super()._accept(reader, writer)


def _is_harmless(pdu: bytes) -> bool:
    """Whether a request only reads; of function 43 only the identification does."""
    return pdu[0] in _READS or pdu[:2] == _IDENTIFICATION


def _now_s() -> float:
    return asyncio.get_running_loop().time()
