"""The register image of a simulated device, built from its profile."""

from __future__ import annotations

from collections.abc import Sequence

from bessai.config.profile import DeviceProfile, Persistence, Point, PointType
from bessai.devices.codec import (
    RegisterImage,
    decode_number,
    encode_number,
    encode_text,
    marker,
    raw_value,
)
from bessai.errors import ConfigError

ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
_BRIDGED_GAP = 64
"""Undocumented registers between points answer 0, as on the real device (huawei_solar polls)."""


class RegisterBank:
    """Words by address, written by point name; a hole between spans does not exist."""

    def __init__(self, profile: DeviceProfile) -> None:
        self._points = profile.points
        self._by_address = {point.address: name for name, point in profile.points.items()}
        self._shown: dict[str, float] = {}
        self.spans = _spans(profile)
        self._words = {
            address: 0 for start, count in self.spans for address in range(start, start + count)
        }

    def put(self, name: str, value: float) -> None:
        """Set a point in its own unit, rounded towards zero."""
        if self._shown.get(name) == value:
            return
        point = self._point(name)
        self._shown[name] = value
        self._store(point.address, encode_number(point, value, name=name))

    def put_text(self, name: str, text: str) -> None:
        """Set a string point."""
        point = self._point(name)
        self._store(point.address, encode_text(point, text))

    def put_marker(self, name: str) -> None:
        """Set a point to "not available"."""
        point = self._point(name)
        self._store(point.address, marker(point) or ())

    def number(self, name: str) -> float:
        """A point's value in its own unit; an invalid marker counts as 0."""
        point = self._point(name)
        value = decode_number(point, self._registers(point))
        return 0.0 if value is None else value

    def read(self, address: int, count: int) -> list[int]:
        """Words of a request that lies inside one span."""
        return [self._words[address + offset] for offset in range(count)]

    def read_garbage(self, address: int, count: int) -> list[int]:
        """The same words, with every measured number replaced by its invalid marker."""
        words = self.read(address, count)
        for point in self._points.values():
            invalid = marker(point) if point.persistence is Persistence.READ_ONLY else None
            for offset, word in enumerate(invalid or (), start=point.address - address):
                if 0 <= offset < count:
                    words[offset] = word
        return words

    def requested(self, address: int, words: Sequence[int]) -> dict[str, float] | int:
        """Values by point name that a write asks for, or the exception code that refuses it.

        A write must cover whole, writable points with values that the profile allows.
        """
        image = RegisterImage(dict(enumerate(words, start=address)))
        values: dict[str, float] = {}
        at, end = address, address + len(words)
        while at < end:
            name = self._by_address.get(at)
            if name is None or self._points[name].persistence is Persistence.READ_ONLY:
                return ILLEGAL_ADDRESS
            point = self._points[name]
            registers = image.registers(point)
            value = None if registers is None else _allowed(point, registers)
            if value is None:
                return ILLEGAL_VALUE
            values[name] = value
            at += point.count
        return values

    def _store(self, address: int, words: Sequence[int]) -> None:
        self._words.update(enumerate(words, start=address))

    def _registers(self, point: Point) -> tuple[int, ...]:
        return tuple(self.read(point.address, point.count))

    def _point(self, name: str) -> Point:
        try:
            return self._points[name]
        except KeyError:
            raise ConfigError(
                "the simulator needs this point",
                field=f"points.{name}",
                fix="add it to the profile",
            ) from None


def _allowed(point: Point, registers: tuple[int, ...]) -> float | None:
    if point.type is PointType.STRING:
        return None
    if point.enum and raw_value(point, registers) not in point.enum:
        return None
    return decode_number(point, registers)


def _spans(profile: DeviceProfile) -> tuple[tuple[int, int], ...]:
    """``(address, count)`` of the readable ranges, ascending."""
    ranges = [(point.address, point.address + point.count) for point in profile.points.values()]
    blocks = (*profile.identification_blocks, *profile.telemetry_blocks)
    ranges += [(block.address, block.address + block.count) for block in blocks]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start - merged[-1][1] <= _BRIDGED_GAP:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple((start, end - start) for start, end in merged)
