"""The registers of a simulated device: which exist, which may be written, what they hold."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bessai.config.profile import MAIN, Persistence, Point, PointType, Space, Table
from bessai.devices.codec import (
    RegisterImage,
    Registers,
    decode_number,
    encode_number,
    encode_raw,
    encode_text,
    marker,
    raw_value,
)
from bessai.devices.reading import Reading
from bessai.errors import ConfigError

ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
HOLDING: Final = Space(MAIN, Table.HOLDING)
_Spans = list[tuple[int, int]]


class _Image(RegisterImage):
    """An image that also reads by address."""

    __slots__ = ()

    def words(self, space: Space, address: int, count: int) -> list[int]:
        held = self._words[space]
        return [held.get(at, 0) for at in range(address, address + count)]


class RegisterBank:
    """Words by space and address, put by point name.

    What lies neither in a readable point nor in a bridged gap does not exist for a read.

    Args:
        points: The register map, with addresses as on the wire.
        bridged_gap: Widest run of registers between points that reads as 0.
        fixed: Words of the main unit that never change, by address: a SunSpec chain.
    """

    def __init__(
        self,
        points: Mapping[str, Point],
        bridged_gap: int = 0,
        fixed: Mapping[int, int] | None = None,
    ) -> None:
        self._points = points
        self._image = _Image()
        self._shown: dict[str, float] = {}
        self.reading: Final = Reading(points, self._image)
        self._writable = _writable(points)
        self._fixed = fixed or {}
        free = [point for point in points.values() if not self._is_fixed(point)]
        self._markers = _measured_markers(free)
        for point in free:
            self._image.put(point, (0,) * point.count)
        for address, word in self._fixed.items():
            self._image.store(HOLDING, address, (word,))
        self.spans: Final = _spans(points.values(), bridged_gap, self._fixed)

    def put(self, name: str, value: float) -> None:
        """Set a point in its own unit, rounded towards zero.

        Raises:
            DeviceError: the point cannot hold the value.
        """
        if self._shown.get(name) == value:
            return
        point = self._point(name)
        self._image.put(point, encode_number(point, value, name=name, gain=self.reading.gain(name)))
        self._shown[name] = value

    def put_text(self, name: str, text: str) -> None:
        """Set a string point."""
        self.put_registers(name, encode_text(self._point(name), text))

    def put_raw(self, name: str, raw: int) -> None:
        """Set a point to a raw integer."""
        self.put_registers(name, encode_raw(self._point(name), raw))

    def put_marker(self, name: str) -> None:
        """Set a point to "not available"; one that is fixed or cannot say so keeps its value."""
        point = self._point(name)
        invalid = marker(point)
        if invalid is not None and not self._is_fixed(point):
            self.put_registers(name, invalid)

    def put_registers(self, name: str, registers: Registers) -> None:
        """Set a point to words as they are on the wire."""
        self._shown.pop(name, None)
        self._image.put(self._point(name), registers)

    def registers(self, name: str) -> Registers:
        """The words of a point."""
        return self.reading.registers(name) or ()

    def number(self, name: str) -> float:
        """A point's value in its own unit; one that is not available counts as 0."""
        value = self.reading.number(name)
        return 0.0 if value is None else value

    def read(self, space: Space, address: int, count: int) -> list[int] | None:
        """Words of a request; None where it touches a register that cannot be read."""
        spans = self.spans.get(space, [])
        at = bisect_right(spans, (address, 65536)) - 1
        if at < 0 or address + count > spans[at][1]:
            return None
        return self._image.words(space, address, count)

    def read_garbage(self, space: Space, address: int, count: int) -> list[int] | None:
        """The same words, with every measured number replaced by its invalid marker."""
        words = self.read(space, address, count)
        if words is None:
            return None
        for at, invalid in self._markers.get(space, ()):
            for offset, word in enumerate(invalid, start=at - address):
                if 0 <= offset < count:
                    words[offset] = word
        return words

    def requested(
        self, device: str, address: int, words: Sequence[int]
    ) -> dict[str, Registers] | int:
        """Registers by point that a write asks for, or the exception code that refuses it.

        A write must cover whole, writable points with values that the profile allows.
        """
        wanted: dict[str, Registers] = {}
        at = 0
        while at < len(words):
            here = self._writable.get((device, address + at))
            if here is None:
                return ILLEGAL_ADDRESS
            fitting = (name for name in here if self._points[name].count <= len(words) - at)
            name = next(fitting, None)
            if name is None:
                return ILLEGAL_VALUE
            registers = tuple(words[at : at + self._points[name].count])
            if not self._allows(name, registers):
                return ILLEGAL_VALUE
            wanted[name] = registers
            at += len(registers)
        return wanted

    def _is_fixed(self, point: Point) -> bool:
        return point.space == HOLDING and point.address in self._fixed

    def _allows(self, name: str, registers: Registers) -> bool:
        point = self._points[name]
        if point.type is PointType.STRING:
            return False
        if point.enum and raw_value(point, registers) not in point.enum:
            return False
        return decode_number(point, registers, self.reading.gain(name)) is not None

    def _point(self, name: str) -> Point:
        try:
            return self._points[name]
        except KeyError:
            raise ConfigError(
                "the simulator needs this point",
                field=f"points.{name}",
                fix="add it to the profile",
            ) from None


def _measured_markers(points: Iterable[Point]) -> dict[Space, list[tuple[int, Registers]]]:
    """Address and "not available" of every measured value."""
    found: defaultdict[Space, list[tuple[int, Registers]]] = defaultdict(list)
    for point in points:
        invalid = marker(point)
        if point.persistence is Persistence.READ_ONLY and invalid is not None:
            found[point.space].append((point.address, invalid))
    return dict(found)


def _writable(points: Mapping[str, Point]) -> dict[tuple[str, int], list[str]]:
    """Names by unit and first address, the longest first where two points share it."""
    found: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for name, point in sorted(points.items(), key=lambda item: -item[1].count):
        if point.persistence is not Persistence.READ_ONLY:
            found[point.device, point.address].append(name)
    return dict(found)


def _spans(
    points: Iterable[Point], bridged_gap: int, fixed: Mapping[int, int]
) -> dict[Space, _Spans]:
    """``(first, end)`` of the readable ranges by space, ascending and apart."""
    ranges: defaultdict[Space, _Spans] = defaultdict(list)
    closed: defaultdict[Space, list[int]] = defaultdict(list)
    for point in points:
        if point.readable:
            ranges[point.space].append((point.address, point.end))
        else:
            closed[point.space].append(point.address)
    ranges[HOLDING] += [(address, address + 1) for address in fixed]
    return {
        space: _merged(sorted(found), bridged_gap, sorted(closed[space]))
        for space, found in ranges.items()
    }


def _merged(ranges: _Spans, bridged_gap: int, closed: Sequence[int]) -> _Spans:
    """Join ranges over gaps, but over no register that can only be written."""
    merged: _Spans = []
    for first, end in ranges:
        if merged and _bridges(merged[-1][1], first, bridged_gap, closed):
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((first, end))
    return merged


def _bridges(end: int, first: int, bridged_gap: int, closed: Sequence[int]) -> bool:
    between = bisect_left(closed, first) - bisect_left(closed, end)
    return first <= end or (first - end <= bridged_gap and between == 0)
