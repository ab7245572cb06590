"""Requests to a simulated inverter and what is sent back, with what the wire may do to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from enum import Enum, auto
from typing import Final
from zlib import crc32

from bessai.config.profile import Space, Table
from bessai.devices.mbap import ClientId, Exchange, frame
from bessai.devices.pdu import (
    HUAWEI_CUSTOM,
    CustomRequest,
    ExceptionCode,
    IdentificationRequest,
    ReadRequest,
    Refused,
    WriteRequest,
    exception_answer,
    identification_answer,
    parse_request,
    read_answer,
    write_answer,
)
from bessai.sim.faults import FaultKind
from bessai.sim.huawei import LoginDesk, device_list
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.journal import Written

_OTHER_ID: Final = 0x8000
"""Far from the ids that a client uses next, or a late answer would pass for the right one."""
_WRITES: Final = frozenset({0x06, 0x10})
_EXCEPTION: Final = 0x80


class _Luck(Enum):
    """What happens to the two frames of an exchange."""

    GOOD = auto()
    REQUEST_LOST = auto()
    ANSWER_LOST = auto()


class Wire:
    """Handler and frame hook of the server in front of one inverter.

    Args:
        inverter: Answers reads and writes.
        drop: Closes the connections.
        desk: Sessions, where the family has a login.
        login_required: Refuse writes of a client that is not logged in.
    """

    def __init__(
        self,
        inverter: SimulatedInverter,
        drop: Callable[[], None],
        *,
        desk: LoginDesk | None = None,
        login_required: bool = False,
    ) -> None:
        self._inverter = inverter
        self._drop = drop
        self._desk = desk
        self._login_required = login_required
        self._custom = frozenset() if desk is None else frozenset({HUAWEI_CUSTOM})
        self._random = random.Random(crc32(inverter.spec.site_id.encode()))  # noqa: S311
        self._requests = 0
        self._lost: frozenset[ClientId] = frozenset()
        self._previous: dict[ClientId, Exchange] = {}

    def lose(self, clients: Collection[ClientId]) -> None:
        """Forget these connections without closing them; nothing answers on them any more."""
        self._lost = frozenset(clients)

    @property
    def answered(self) -> frozenset[ClientId]:
        """Clients that got an answer and are not forgotten yet."""
        return frozenset(self._previous)

    def keep_only(self, connected: Collection[ClientId]) -> None:
        """Drop what is known of clients that left."""
        for client in [known for known in self._previous if known not in connected]:
            del self._previous[client]
            if self._desk is not None:
                self._desk.forget(client.number)

    async def answer(self, unit_id: int, pdu: bytes, client: ClientId) -> bytes | None:
        """One request; None is silence."""
        luck, at = self._luck(), self._inverter.now()
        served = None if luck is _Luck.REQUEST_LOST else self._answer(unit_id, pdu, client)
        answer = None if luck is _Luck.ANSWER_LOST else served
        writes = pdu[0] in _WRITES
        self._inverter.journal.connections.request(client, at, writes=writes)
        if writes:
            written = _written(unit_id, pdu, served, answered=answer is not None)
            self._inverter.journal.write(client, written, at)
        return answer

    async def frames(self, exchange: Exchange) -> Sequence[bytes]:
        """What leaves for one answer."""
        faults = self._inverter.faults
        delay_s = faults.amount(FaultKind.DELAY)
        if delay_s:
            await asyncio.sleep(delay_s)
        previous = self._previous.get(exchange.client)
        self._previous[exchange.client] = exchange
        if FaultKind.WRONG_TRANSACTION_ID in faults:
            other = exchange.transaction_id ^ _OTHER_ID
            return (frame(other, exchange.unit_id, exchange.answer),)
        if FaultKind.STALE_FRAME in faults and previous is not None:
            return (previous.frame(), exchange.frame())
        return (exchange.frame(),)

    def _answer(self, unit_id: int, pdu: bytes, client: ClientId) -> bytes | None:
        faults = self._inverter.faults
        if client in self._lost or FaultKind.HANG in faults:
            return None
        device = self._inverter.units.get(unit_id)
        if device is None:
            return self._nobody(pdu)
        if self._is_dropped():
            self._drop()
            return None
        if FaultKind.BUSY in faults or self._is_storm():
            return exception_answer(pdu[0], ExceptionCode.DEVICE_BUSY)
        return self._serve(device, pdu, client)

    def _luck(self) -> _Luck:
        """A frame is lost on its way to the device as often as on its way back."""
        share = self._inverter.faults.amount(FaultKind.DROP_SHARE)
        if share is None:
            return _Luck.GOOD
        drawn = self._random.random()
        if drawn >= share:
            return _Luck.GOOD
        return _Luck.REQUEST_LOST if drawn < share / 2.0 else _Luck.ANSWER_LOST

    def _serve(self, device: str, pdu: bytes, client: ClientId) -> bytes | None:
        match parse_request(pdu, self._custom):
            case ReadRequest() as request:
                return self._read(device, request)
            case WriteRequest() as request:
                return self._write(device, request, client)
            case IdentificationRequest() as request:
                return identification_answer(request, self._objects())
            case CustomRequest() if self._desk is not None:
                return self._desk.answer(client.number, pdu)
            case Refused() as refused:
                return refused.answer()
            case _:  # known to the standard, but to none of these devices
                return exception_answer(pdu[0], ExceptionCode.ILLEGAL_FUNCTION)

    def _read(self, device: str, request: ReadRequest) -> bytes | None:
        space = Space(device, Table(request.table))
        words = self._inverter.read(request.address, request.count, space)
        match words:
            case None:
                self._drop()
                return None
            case int():
                return exception_answer(request.function, words)
            case _:
                return read_answer(request.function, words)

    def _write(self, device: str, request: WriteRequest, client: ClientId) -> bytes:
        if self._desk is not None:
            self._beat(request, client)
            if self._login_required and not self._desk.is_open(client.number):
                return exception_answer(request.function, self._no_permission())
        code = self._inverter.write_from(client.number, request.address, request.words, device)
        return write_answer(request) if code is None else exception_answer(request.function, code)

    def _beat(self, request: WriteRequest, client: ClientId) -> None:
        keep_alive = self._inverter.profile.connection.keep_alive
        if keep_alive is None or self._desk is None:
            return
        point = self._inverter.profile.points[keep_alive.point]
        if request.address == point.address and request.words == (keep_alive.value,):
            self._desk.keep(client.number)

    def _no_permission(self) -> int:
        codes = self._inverter.profile.connection.permission_exceptions
        return codes[0] if codes else ExceptionCode.NO_PERMISSION

    def _nobody(self, pdu: bytes) -> bytes | None:
        """A gateway says that nobody answers behind it; a device hears only its own id."""
        gateway = bool(self._inverter.profile.connection.other_units)
        return exception_answer(pdu[0], ExceptionCode.GATEWAY_NO_ANSWER) if gateway else None

    def _is_dropped(self) -> bool:
        every = self._inverter.faults.amount(FaultKind.DROP)
        self._requests += 1
        return every is not None and self._requests % int(every) == 0

    def _is_storm(self) -> bool:
        share = self._inverter.faults.amount(FaultKind.BUSY_STORM)
        return share is not None and self._random.random() < share

    def _objects(self) -> dict[int, bytes]:
        profile, reading = self._inverter.profile, self._inverter.bank.reading
        known = profile.identification
        model = " ".join(filter(None, (reading.text(name) for name in known.model)))
        serial = (reading.text(known.serial) if known.serial else None) or ""
        firmware = (reading.text(known.firmware) if known.firmware else None) or ""
        maker = profile.title.split(maxsplit=1)[0]
        basic = {
            number: text.encode("ascii", errors="replace")
            for number, text in enumerate((maker, model, firmware))
        }
        if self._desk is None:
            return basic
        return basic | device_list(model, serial, firmware, self._inverter.unit_id)


def _written(unit_id: int, pdu: bytes, served: bytes | None, *, answered: bool) -> Written:
    """A write as it is logged; one that is malformed has no words."""
    request = parse_request(pdu)
    address, words = int.from_bytes(pdu[1:3], "big"), tuple[int, ...]()
    if isinstance(request, WriteRequest):
        address, words = request.address, request.words
    if served is None:
        outcome = "not served"
    else:
        outcome = f"exception {served[1]}" if served[0] & _EXCEPTION else "accepted"
    return Written(unit_id, address, words, outcome, answered)
