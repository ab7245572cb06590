"""Modbus requests as values, and the answers of an honest server: pure, no sockets.

The server's counterpart of :mod:`bessai.devices.codec`. Whatever bytes come in, the result is a
valid request or a :class:`Refused` whose answer is the exception that the standard asks for.

Source: MODBUS Application Protocol Specification V1.1b3, sections 4 (sizes), 6 (functions) and
7 (exception codes).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, Literal

from bessai.errors import ProtocolError

MAX_PDU_BYTES: Final = 253
MAX_READ_WORDS: Final = 125
MAX_WRITE_WORDS: Final = 123
MAX_READ_WRITE_WORDS: Final = 121
HUAWEI_CUSTOM: Final = 0x41
"""Login and file transfer of Huawei devices, in the user-defined range 65 to 72."""

_ADDRESSES: Final = 0x10000
_MEI_IDENTIFICATION: Final = 0x0E
_IDENTIFICATION_HEADER_BYTES: Final = 7
_LAST_OBJECT: Final = {1: 0x02, 2: 0x7F, 3: 0xFF}
"""Highest object of basic, regular and extended identification (section 6.21)."""


class ExceptionCode(IntEnum):
    """Why a server refuses; a device may use others of its own."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_ADDRESS = 2
    ILLEGAL_VALUE = 3
    DEVICE_FAILURE = 4
    DEVICE_BUSY = 6
    GATEWAY_NO_ANSWER = 0x0B
    NO_PERMISSION = 0x80
    """Huawei's, for a write without login (wlcrs/huawei_solar#174)."""


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """Functions 3 and 4: read ``count`` registers of a table."""

    table: Literal["holding", "input"]
    address: int
    count: int

    @property
    def function(self) -> int:
        """Function code."""
        return 0x03 if self.table == "holding" else 0x04


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Functions 6 (``single``) and 16: write holding registers."""

    address: int
    words: tuple[int, ...]
    single: bool

    @property
    def function(self) -> int:
        """Function code."""
        return 0x06 if self.single else 0x10


@dataclass(frozen=True, slots=True)
class MaskWriteRequest:
    """Function 22: change bits of one holding register."""

    address: int
    and_mask: int
    or_mask: int
    function: ClassVar[int] = 0x16

    def masked(self, word: int) -> int:
        """What a register that holds ``word`` holds afterwards."""
        return (word & self.and_mask) | (self.or_mask & ~self.and_mask & 0xFFFF)


@dataclass(frozen=True, slots=True)
class ReadWriteRequest:
    """Function 23: write holding registers first, then read holding registers."""

    read_address: int
    read_count: int
    write_address: int
    words: tuple[int, ...]
    function: ClassVar[int] = 0x17


@dataclass(frozen=True, slots=True)
class IdentificationRequest:
    """Function 43/14: read device identification.

    Attributes:
        code: 1 basic, 2 regular, 3 extended (streams), 4 one object.
        object_id: Where the stream begins, or the one object.
    """

    code: int
    object_id: int
    function: ClassVar[int] = 0x2B


@dataclass(frozen=True, slots=True)
class CustomRequest:
    """A function outside the standard that the caller of the parser knows."""

    function: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that the standard answers with an exception."""

    function: int
    code: int

    def answer(self) -> bytes:
        """The two bytes of the exception."""
        return exception_answer(self.function, self.code)


Request = (
    ReadRequest
    | WriteRequest
    | MaskWriteRequest
    | ReadWriteRequest
    | IdentificationRequest
    | CustomRequest
    | Refused
)


def parse_request(pdu: bytes, custom: frozenset[int] = frozenset({HUAWEI_CUSTOM})) -> Request:
    """What a client asks; never raises.

    Checks in the order of the standard: function, then lengths and counts, then the address
    range. Coils and discrete inputs (1, 2, 5, 15) are unknown functions here.

    Args:
        pdu: Function code and data, without the MBAP header.
        custom: Function codes to hand over as :class:`CustomRequest`.
    """
    if not pdu:
        return Refused(0, ExceptionCode.ILLEGAL_FUNCTION)
    function, body = pdu[0], pdu[1:]
    parse = _PARSERS.get(function)
    if parse is not None:
        return parse(function, body)
    if function in custom:
        return CustomRequest(function, body)
    return Refused(function, ExceptionCode.ILLEGAL_FUNCTION)


def read_answer(function: int, words: Sequence[int]) -> bytes:
    """Answer to functions 3, 4 and 23.

    Raises:
        ProtocolError: more than 125 words, or one that is no unsigned 16-bit integer.
    """
    if len(words) > MAX_READ_WORDS:
        raise ProtocolError(f"at most {MAX_READ_WORDS} words fit", value=str(len(words)))
    return bytes((function, 2 * len(words))) + _to_bytes(words)


def write_answer(request: WriteRequest | MaskWriteRequest) -> bytes:
    """Answer to functions 6, 16 and 22: an echo, for 16 of address and count only.

    Raises:
        ProtocolError: a field that is no unsigned 16-bit integer.
    """
    fields: tuple[int, ...]
    match request:
        case MaskWriteRequest():
            fields = (request.address, request.and_mask, request.or_mask)
        case WriteRequest(single=True):
            fields = (request.address, *request.words)
        case WriteRequest():
            fields = (request.address, len(request.words))
    return bytes((request.function,)) + _to_bytes(fields)


def exception_answer(function: int, code: int) -> bytes:
    """The two bytes that refuse a request."""
    return bytes((function | 0x80, code))


def identification_answer(request: IdentificationRequest, objects: Mapping[int, bytes]) -> bytes:
    """Answer to function 43/14; what does not fit in one answer follows in the next.

    A stream that asks for an unknown object starts again at the first one; a single unknown
    object is exception 2; a device without any object does not know the function.

    Args:
        request: What was asked.
        objects: Values by object id, 0 to 255. Huawei lists the devices behind it as 0x87
            (their number in one byte) and 0x88 onwards (one text each).

    Raises:
        ProtocolError: an object that no answer can carry.
    """
    if not objects:
        return exception_answer(request.function, ExceptionCode.ILLEGAL_FUNCTION)
    last = _LAST_OBJECT.get(request.code)
    if last is None:
        wanted = [request.object_id] if request.object_id in objects else []
    else:
        wanted = sorted(object_id for object_id in objects if object_id <= last)
        if request.object_id in wanted:
            wanted = wanted[wanted.index(request.object_id) :]
    if not wanted:
        return exception_answer(request.function, ExceptionCode.ILLEGAL_ADDRESS)
    body, sent = _fill(wanted, objects)
    more, following = (0xFF, wanted[sent]) if sent < len(wanted) else (0, 0)
    level = 0x80 | next(level for level, top in _LAST_OBJECT.items() if max(objects) <= top)
    head = (request.function, _MEI_IDENTIFICATION, request.code, level, more, following, sent)
    return bytes(head) + body


def _fill(wanted: Sequence[int], objects: Mapping[int, bytes]) -> tuple[bytes, int]:
    """As many of the objects as one answer carries, and how many those are."""
    room = MAX_PDU_BYTES - _IDENTIFICATION_HEADER_BYTES
    body = b""
    for sent, object_id in enumerate(wanted):
        value = objects[object_id]
        if not 0 <= object_id <= 0xFF or len(value) > room - 2:
            raise ProtocolError(
                "no answer can carry this identification object",
                field=f"object {object_id}",
                value=f"{len(value)} bytes",
                fix=f"use an id of 0 to 255 and at most {room - 2} bytes",
            )
        if len(body) + 2 + len(value) > room:
            return body, sent
        body += bytes((object_id, len(value))) + value
    return body, len(wanted)


def _parse_read(function: int, body: bytes) -> Request:
    if len(body) != 4:
        return Refused(function, ExceptionCode.ILLEGAL_VALUE)
    address, count = _to_words(body)
    code = _wrong_span(address, count, MAX_READ_WORDS)
    if code is not None:
        return Refused(function, code)
    return ReadRequest("holding" if function == 0x03 else "input", address, count)


def _parse_write_single(function: int, body: bytes) -> Request:
    if len(body) != 4:
        return Refused(function, ExceptionCode.ILLEGAL_VALUE)
    address, word = _to_words(body)
    return WriteRequest(address, (word,), single=True)


def _parse_write_multiple(function: int, body: bytes) -> Request:
    if len(body) < 5 or not _counts_agree(body[2:]):
        return Refused(function, ExceptionCode.ILLEGAL_VALUE)
    address, count = _to_words(body[:4])
    code = _wrong_span(address, count, MAX_WRITE_WORDS)
    if code is not None:
        return Refused(function, code)
    return WriteRequest(address, _to_words(body[5:]), single=False)


def _parse_mask_write(function: int, body: bytes) -> Request:
    if len(body) != 6:
        return Refused(function, ExceptionCode.ILLEGAL_VALUE)
    return MaskWriteRequest(*_to_words(body))


def _parse_read_write(function: int, body: bytes) -> Request:
    if len(body) < 9 or not _counts_agree(body[6:]):
        return Refused(function, ExceptionCode.ILLEGAL_VALUE)
    read_address, read_count, write_address, write_count = _to_words(body[:8])
    codes = (
        _wrong_span(read_address, read_count, MAX_READ_WORDS),
        _wrong_span(write_address, write_count, MAX_READ_WRITE_WORDS),
    )
    # A count is looked at before any address, so of two faults the count's is named.
    code = max((code for code in codes if code is not None), default=None)
    if code is not None:
        return Refused(function, code)
    return ReadWriteRequest(read_address, read_count, write_address, _to_words(body[9:]))


def _parse_identification(function: int, body: bytes) -> Request:
    if body and body[0] != _MEI_IDENTIFICATION:
        return Refused(function, ExceptionCode.ILLEGAL_FUNCTION)
    if len(body) != 3 or not 1 <= body[1] <= 4:
        return Refused(function, ExceptionCode.ILLEGAL_VALUE)
    return IdentificationRequest(body[1], body[2])


_PARSERS: Final[Mapping[int, Callable[[int, bytes], Request]]] = {
    0x03: _parse_read,
    0x04: _parse_read,
    0x06: _parse_write_single,
    0x10: _parse_write_multiple,
    0x16: _parse_mask_write,
    0x17: _parse_read_write,
    0x2B: _parse_identification,
}


def _counts_agree(tail: bytes) -> bool:
    """Whether word count, byte count and the bytes that follow say the same."""
    return tail[2] == 2 * int.from_bytes(tail[:2], "big") == len(tail) - 3


def _wrong_span(address: int, count: int, most: int) -> ExceptionCode | None:
    if not 1 <= count <= most:
        return ExceptionCode.ILLEGAL_VALUE
    return ExceptionCode.ILLEGAL_ADDRESS if address + count > _ADDRESSES else None


def _to_words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(data) // 2}H", data)


def _to_bytes(words: Sequence[int]) -> bytes:
    try:
        return struct.pack(f">{len(words)}H", *words)
    except struct.error as error:
        raise ProtocolError("a register is 16 bits, unsigned", value=str(words)) from error
