"""Between registers and values: pure, so that every profile point can be tested without a device.

Registers are unsigned 16-bit words, big endian, high word first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bessai.config.profile import Point, PointType
from bessai.errors import DeviceError

Registers = tuple[int, ...]
_SIGNED = frozenset({PointType.I16, PointType.I32})
_TO_BASE = {"W": 1.0, "kW": 1e3, "Wh": 1.0, "kWh": 1e3}


class RegisterImage:
    """Registers read so far, by address."""

    __slots__ = ("_words",)

    def __init__(self, words: Mapping[int, int] | None = None) -> None:
        self._words = dict(words or {})

    def store(self, address: int, registers: Sequence[int]) -> None:
        """Keep the words that a read of ``address`` returned."""
        self._words.update(enumerate(registers, start=address))

    def registers(self, point: Point) -> Registers | None:
        """The words of ``point``, or None where they were not read."""
        words = [self._words.get(point.address + offset) for offset in range(point.count)]
        found = tuple(word for word in words if word is not None)
        return found if len(found) == point.count else None


def raw_value(point: Point, registers: Registers) -> int:
    """The integer in the registers, before sign and gain."""
    bits = 16 * point.count
    raw = int.from_bytes(b"".join(word.to_bytes(2, "big") for word in registers), "big")
    return raw - (1 << bits) if point.type in _SIGNED and raw >> (bits - 1) else raw


def is_available(point: Point, registers: Registers) -> bool:
    """Whether the registers hold a value and not the device's invalid marker."""
    return point.not_available is None or raw_value(point, registers) != point.not_available


def decode_number(point: Point, registers: Registers) -> float | None:
    """The value in the point's unit; None for an invalid marker or outside the point's range."""
    if not is_available(point, registers):
        return None
    value = point.sign * raw_value(point, registers) / point.gain
    return value if _in_range(point, value) else None


def decode_enum(point: Point, registers: Registers) -> str | None:
    """The enum's name, ``unknown(n)`` for a value the profile does not list."""
    if not is_available(point, registers):
        return None
    raw = raw_value(point, registers)
    return point.enum.get(raw, f"unknown({raw})")


def decode_bits(point: Point, registers: Registers) -> tuple[str, ...]:
    """Names of the bits that are set; ``unknown(bit n)`` for one the profile does not list."""
    raw = raw_value(point, registers)
    set_bits = (bit for bit in range(16 * point.count) if raw >> bit & 1)
    return tuple(point.bits.get(bit, f"unknown(bit {bit})") for bit in set_bits)


def decode_text(registers: Registers) -> str:
    """ASCII text up to the first NUL; bytes outside ASCII become question marks."""
    data = b"".join(word.to_bytes(2, "big") for word in registers)
    text = data.split(b"\0", 1)[0].decode("ascii", errors="replace")
    return text.replace("�", "?").strip()


def encode_number(point: Point, value: float, *, name: str) -> Registers:
    """Registers for ``value`` in the point's unit, rounded towards zero.

    Rounding towards zero keeps a power command inside the limit it was made for.

    Raises:
        DeviceError: the value is not finite, outside the point's range or too big for its type.
    """
    if not math.isfinite(value) or not _in_range(point, value):
        raise _out_of_range(point, value, name)
    raw = _towards_zero(point.sign * value * point.gain)
    bits = 16 * point.count
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1)
    if point.type not in _SIGNED:
        lowest, highest = 0, (1 << bits) - 1
    if not lowest <= raw <= highest:
        raise _out_of_range(point, value, name)
    return _words(raw, point.count)


def encode_text(point: Point, text: str) -> Registers:
    """ASCII registers, NUL padded, cut to the point's length."""
    size = 2 * point.count
    data = text.encode("ascii", errors="replace")[:size].ljust(size, b"\0")
    return _words(int.from_bytes(data, "big"), point.count)


def marker(point: Point) -> Registers | None:
    """Registers that say "not available", where the profile defines such a marker."""
    return None if point.not_available is None else _words(point.not_available, point.count)


def convert(point: Point, value: float, unit: str) -> float:
    """``value`` from the point's unit to ``unit``.

    Raises:
        DeviceError: the units do not convert.
    """
    if point.unit == unit:
        return value
    if {point.unit, unit} <= {"W", "kW"} or {point.unit, unit} <= {"Wh", "kWh"}:
        return value * _TO_BASE[point.unit] / _TO_BASE[unit]
    raise DeviceError(
        f"unit {point.unit!r} of the point does not convert to {unit!r}",
        field=f"register {point.address}",
        fix="correct the unit in the device profile",
    )


def _in_range(point: Point, value: float) -> bool:
    low = -math.inf if point.minimum is None else point.minimum
    high = math.inf if point.maximum is None else point.maximum
    return low <= value <= high


def _towards_zero(scaled: float) -> int:
    # 4.35 * 100 is 434.99999999999994: float noise must not cost a step.
    nearest = round(scaled)
    close = math.isclose(scaled, nearest, rel_tol=1e-12, abs_tol=1e-6)
    return nearest if close else math.trunc(scaled)


def _words(raw: int, count: int) -> Registers:
    bits = 16 * count
    data = (raw & ((1 << bits) - 1)).to_bytes(2 * count, "big")
    return tuple(int.from_bytes(data[i : i + 2], "big") for i in range(0, 2 * count, 2))


def _out_of_range(point: Point, value: float, name: str) -> DeviceError:
    low = "" if point.minimum is None else f" from {point.minimum:g}"
    high = "" if point.maximum is None else f" up to {point.maximum:g}"
    allowed = f"{low}{high} {point.unit}".rstrip() or f" what fits a {point.type}"
    return DeviceError(
        f"register {point.address} takes values{allowed}", field=name, value=f"{value:g}"
    )
