"""From the words of one point to its value, with all that follows from the profile worked out once.

A poll decodes the same points in every cycle, so what a point says is looked up only here.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from bessai.config.profile import SIGNED, Point, PointType, WordOrder

FLOAT_FORMATS: Final = {PointType.F32: ">f", PointType.F64: ">d"}


class Decoder:
    """How to read a point; ``bits`` are its words as one unsigned integer.

    Args:
        point: Of the profile, with its absolute address.
    """

    __slots__ = (
        "_addresses",
        "_enum",
        "_float",
        "_full",
        "_gain",
        "_high",
        "_low",
        "_marker",
        "_names",
        "_negative_from",
        "_offset",
        "_reversed",
        "_sign",
    )

    def __init__(self, point: Point) -> None:
        span = range(point.address, point.end)
        self._reversed = point.word_order is not WordOrder.BIG
        self._addresses = tuple(reversed(span) if self._reversed else span)
        self._full = 1 << 16 * point.count
        self._negative_from = self._full >> 1 if point.type in SIGNED else self._full
        marker = point.not_available
        self._marker = None if marker is None else marker % self._full
        self._float = FLOAT_FORMATS.get(point.type, "")
        self._sign, self._offset, self._gain = point.sign, point.offset, point.gain
        self._low = -math.inf if point.minimum is None else point.minimum
        self._high = math.inf if point.maximum is None else point.maximum
        self._enum, self._names = point.enum, point.bits

    def find(self, words: Mapping[int, int]) -> int | None:
        """The point's bits among words by address; None where one is not known."""
        bits = 0
        try:
            for address in self._addresses:
                bits = bits << 16 | words[address]
        except KeyError:
            return None
        return bits

    def join(self, registers: Sequence[int]) -> int:
        """The bits of the point's own words, in the order of their addresses."""
        bits = 0
        for word in reversed(registers) if self._reversed else registers:
            bits = bits << 16 | word
        return bits

    def raw(self, bits: int) -> int:
        """The integer that they mean, before sign, offset and gain; of a float the bits."""
        return bits - self._full if bits >= self._negative_from else bits

    def is_available(self, bits: int) -> bool:
        """Whether they are a value and not the device's invalid marker."""
        if bits == self._marker:
            return False
        return not self._float or math.isfinite(self._real(bits))

    def number(self, bits: int, gain: float | None = None) -> float | None:
        """The value in the point's unit; None for an invalid marker or outside its range.

        ``gain`` overrides the point's own, for points with a scale factor.
        """
        # As is_available and raw, without two more calls for each value of each poll.
        if bits == self._marker:
            return None
        number: float = bits - self._full if bits >= self._negative_from else bits
        if self._float and not math.isfinite(number := self._real(bits)):
            return None
        # Adding 0.0 makes -0.0, from a sign of -1, an ordinary zero.
        value = self._sign * (number - self._offset) / (self._gain if gain is None else gain) + 0.0
        return value if self._low <= value <= self._high else None

    def enum(self, bits: int) -> str | None:
        """The enum's name, ``unknown(n)`` for a value that the profile does not list."""
        if not self.is_available(bits):
            return None
        raw = self.raw(bits)
        name = self._enum.get(raw)
        return f"unknown({raw})" if name is None else name

    def names(self, bits: int) -> tuple[str, ...]:
        """Names of the bits that are set; ``unknown(bit n)`` for one without a name."""
        if not bits:
            return ()
        numbers = (number for number in range(bits.bit_length()) if bits >> number & 1)
        return tuple(self._names.get(number, f"unknown(bit {number})") for number in numbers)

    def _real(self, bits: int) -> float:
        data = bits.to_bytes(2 * len(self._addresses), "big")
        number: float = struct.unpack(self._float, data)[0]
        return number
