"""Between registers and values: pure, so that every profile point can be tested without a device.

Registers are unsigned 16-bit words, each big endian; longer values come in the point's word order.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from bessai.config.profile import BITFIELDS, SIGNED, Point, PointType, Space, WordOrder
from bessai.devices.decoder import FLOAT_FORMATS, Decoder
from bessai.errors import DeviceError

Registers = tuple[int, ...]
_TO_BASE: Final = {"W": 1.0, "kW": 1e3, "Wh": 1.0, "kWh": 1e3}


class RegisterImage:
    """Registers by address space and address."""

    __slots__ = ("_words",)

    def __init__(self, words: Mapping[Space, Mapping[int, int]] | None = None) -> None:
        self._words: dict[Space, dict[int, int]] = {
            space: dict(found) for space, found in (words or {}).items()
        }

    def store(self, space: Space, address: int, registers: Sequence[int]) -> None:
        """Keep the words that a read or write of ``address`` carried."""
        self._words.setdefault(space, {}).update(enumerate(registers, start=address))

    def put(self, point: Point, registers: Registers) -> None:
        """Keep the words of one point."""
        self.store(point.space, point.address, registers)

    def registers(self, point: Point) -> Registers | None:
        """The words of ``point``, or None where they are not known."""
        words = self._words.get(point.space)
        if words is None:
            return None
        try:
            return tuple(words[at] for at in range(point.address, point.address + point.count))
        except KeyError:
            return None

    def words_of(self, space: Space) -> Mapping[int, int]:
        """All words of a space by address, as they are and as they will be."""
        return self._words.setdefault(space, {})

    def forget(self, space: Space, first: int, last: int) -> None:
        """Drop the words of ``first`` to ``last``: they can no longer be read."""
        words = self._words.get(space, {})
        for address in range(first, last + 1):
            words.pop(address, None)

    def copy(self) -> RegisterImage:
        """An image that changes on its own."""
        return RegisterImage(self._words)


def raw_value(point: Point, registers: Registers) -> int:
    """The integer in the registers, before sign, offset and gain; of a float its bits."""
    decoder = Decoder(point)
    return decoder.raw(decoder.join(registers))


def is_available(point: Point, registers: Registers) -> bool:
    """Whether the registers hold a value and not the device's invalid marker."""
    decoder = Decoder(point)
    return decoder.is_available(decoder.join(registers))


def decode_number(point: Point, registers: Registers, gain: float | None = None) -> float | None:
    """The value in the point's unit; None for an invalid marker or outside the point's range.

    ``gain`` overrides the point's own, for points with a scale factor.
    """
    decoder = Decoder(point)
    return decoder.number(decoder.join(registers), gain)


def decode_enum(point: Point, registers: Registers) -> str | None:
    """The enum's name, ``unknown(n)`` for a value the profile does not list."""
    decoder = Decoder(point)
    return decoder.enum(decoder.join(registers))


def decode_bits(point: Point, registers: Registers) -> tuple[str, ...]:
    """Names of the bits that are set; ``unknown(bit n)`` for one the profile does not list."""
    decoder = Decoder(point)
    return decoder.names(decoder.join(registers))


def decode_text(registers: Registers) -> str:
    """ASCII text up to the first NUL; bytes outside ASCII become question marks."""
    data = b"".join(word.to_bytes(2, "big") for word in registers)
    text = data.split(b"\0", 1)[0].decode("ascii", errors="replace")
    return text.replace("�", "?").strip()


def encode_number(point: Point, value: float, *, name: str, gain: float | None = None) -> Registers:
    """Registers for ``value`` in the point's unit, rounded towards zero.

    Rounding towards zero keeps a power command inside the limit it was made for.

    Raises:
        DeviceError: the value is not finite, outside the point's range or too big for its type.
    """
    if not math.isfinite(value) or not _in_range(point, value):
        raise _out_of_range(point, value, name)
    scaled = point.sign * value * (point.gain if gain is None else gain) + point.offset
    if point.is_float:
        return _encode_float(point, scaled, name)
    raw = _towards_zero(scaled)
    bits = 16 * point.count
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1)
    if point.type not in SIGNED:
        lowest, highest = 0, (1 << bits) - 1
    if not lowest <= raw <= highest:
        raise _out_of_range(point, value, name)
    return encode_raw(point, raw)


def encode_raw(point: Point, raw: int) -> Registers:
    """Registers for a raw integer; higher bits are cut off."""
    words = _words(raw, point.count)
    return words if point.word_order is WordOrder.BIG else words[::-1]


def encode_text(point: Point, text: str) -> Registers:
    """ASCII registers, NUL padded, cut to the point's length."""
    size = 2 * point.count
    data = text.encode("ascii", errors="replace")[:size].ljust(size, b"\0")
    return _words(int.from_bytes(data, "big"), point.count)


def marker(point: Point) -> Registers | None:
    """Registers that say "not available", where the point can say so."""
    if point.not_available is not None:
        return encode_raw(point, point.not_available)
    if point.is_float:
        quiet_nan = int.from_bytes(struct.pack(FLOAT_FORMATS[point.type], math.nan), "big")
        return encode_raw(point, quiet_nan)
    return None


def convert(value: float, unit: str, wanted: str) -> float:
    """``value`` from ``unit`` to ``wanted``.

    Raises:
        DeviceError: the units do not convert.
    """
    if unit == wanted:
        return value
    own, base = _in_base(unit, wanted)
    return value * own / base


def is_number(point: Point) -> bool:
    """Whether the point is a quantity: no text, no enum, no bit field."""
    return point.type is not PointType.STRING and point.type not in BITFIELDS and not point.enum


@cache
def _in_base(unit: str, wanted: str) -> tuple[float, float]:
    """Both units in what they are multiples of."""
    if {unit, wanted} <= {"W", "kW"} or {unit, wanted} <= {"Wh", "kWh"}:
        return _TO_BASE[unit], _TO_BASE[wanted]
    raise DeviceError(
        f"unit {unit!r} does not convert to {wanted!r}",
        field="unit",
        fix="correct the unit in the device profile",
    )


def _encode_float(point: Point, scaled: float, name: str) -> Registers:
    try:
        data = struct.pack(FLOAT_FORMATS[point.type], scaled)
    except OverflowError:
        raise _out_of_range(point, scaled, name) from None
    return encode_raw(point, int.from_bytes(data, "big"))


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
