"""What can be seen of Modbus traffic, as values: from a proxy, a capture or the own driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

READS: Final = frozenset({1, 2, 3, 4})
WRITES: Final = frozenset({5, 6, 15, 16})
_MANY: Final = frozenset({15, 16})
_MANY_HEADER_BYTES: Final = 6
_ONE_BYTES: Final = 5
_EXCEPTION: Final = 0x80


@dataclass(frozen=True, slots=True)
class ModbusEvent:
    """One request, or one refusal of a device.

    Attributes:
        at_s: Time in seconds, of any clock that only goes forward.
        client: Who asked: an address, or a name.
        function: Function code, without the exception bit.
        address: First register or coil; None where the function has none.
        count: Registers or coils touched.
        words: What a write carries; of function 15 the bytes.
        exception: Exception code of a refusal; None for a request.
    """

    at_s: float
    client: str
    unit_id: int
    function: int
    address: int | None = None
    count: int = 0
    words: tuple[int, ...] = ()
    exception: int | None = None

    @property
    def end(self) -> int:
        """First address after those touched; 0 where there is none."""
        return 0 if self.address is None else self.address + self.count

    @property
    def is_write(self) -> bool:
        """Whether it changes registers or coils."""
        return self.function in WRITES and self.exception is None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that may not be.

    Attributes:
        rule: Short machine name, e.g. ``writer``; the label of a metric.
        what: What was seen, for people.
        allowed: What would be allowed.
    """

    rule: str
    what: str
    allowed: str


def request_event(at_s: float, client: str, unit_id: int, pdu: bytes) -> ModbusEvent:
    """The event of a request; a function with another layout has no address.

    Source: MODBUS Application Protocol Specification V1.1b3, sections 6.1 to 6.12.
    """
    function, body = (pdu[0], pdu[1:]) if pdu else (0, b"")
    if function not in READS | WRITES or len(pdu) < _ONE_BYTES:
        return ModbusEvent(at_s, client, unit_id, function)
    address, second = _word(body, 0), _word(body, 2)
    if function in READS:
        return ModbusEvent(at_s, client, unit_id, function, address, second)
    if function not in _MANY:
        return ModbusEvent(at_s, client, unit_id, function, address, 1, (second,))
    data = pdu[_MANY_HEADER_BYTES:]
    words = tuple(data) if function == 15 else tuple(_word(data, i) for i in range(0, len(data), 2))
    return ModbusEvent(at_s, client, unit_id, function, address, second, words)


def refusal_event(at_s: float, client: str, unit_id: int, pdu: bytes) -> ModbusEvent | None:
    """The event of an answer that is an exception; None for any other answer."""
    if len(pdu) < 2 or not pdu[0] & _EXCEPTION:
        return None
    return ModbusEvent(at_s, client, unit_id, pdu[0] & ~_EXCEPTION, exception=pdu[1])


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")
