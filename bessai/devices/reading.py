"""Named values of a register image: one place that knows scale factors, markers and enums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from bessai.config.profile import BITFIELDS, CommandInForce, Point, PointType, Value
from bessai.devices.codec import RegisterImage, Registers, convert, decode_text
from bessai.devices.decoder import Decoder

_SCALE_LIMIT: Final = 10
"""SunSpec scale factors run from -10 to 10; anything else is not one."""


class _Cell(NamedTuple):
    """A point where the image keeps its words."""

    decoder: Decoder
    words: Mapping[int, int]
    unit: str
    scale_factor: str | None


class Reading:
    """Points of a profile, as the image holds them; None is unknown or not available.

    Worth keeping: how to decode a point is worked out at its first use.
    """

    __slots__ = ("_cells", "image", "points")

    def __init__(self, points: Mapping[str, Point], image: RegisterImage) -> None:
        self.points = points
        self.image = image
        self._cells: dict[str, _Cell] = {}

    def registers(self, name: str) -> Registers | None:
        """Words of a point; None where the profile or the image lacks it."""
        point = self.points.get(name)
        return None if point is None else self.image.registers(point)

    def raw(self, name: str) -> int | None:
        """The integer in the registers, whatever it means."""
        found = self._find(name)
        return None if found is None else found[0].decoder.raw(found[1])

    def gain(self, name: str) -> float | None:
        """Raw steps per unit; None while the point's scale factor is not known."""
        point = self.points[name]
        if point.scale_factor is None:
            return point.gain
        exponent = self.number(point.scale_factor)
        if exponent is None or abs(exponent) > _SCALE_LIMIT:
            return None
        return float(10.0 ** -int(exponent))

    def number(self, name: str, unit: str | None = None) -> float | None:
        """The value in the point's unit, or converted to ``unit``."""
        found = self._find(name)
        if found is None:
            return None
        cell, bits = found
        gain = None
        if cell.scale_factor is not None and (gain := self.gain(name)) is None:
            return None
        value = cell.decoder.number(bits, gain)
        if value is None or unit is None or unit == cell.unit:
            return value
        return convert(value, cell.unit, unit)

    def enum(self, name: str) -> str | None:
        """The enum's name, or ``unknown(n)``."""
        found = self._find(name)
        return None if found is None else found[0].decoder.enum(found[1])

    def bits(self, name: str) -> tuple[str, ...] | None:
        """Names of the bits that are set."""
        found = self._find(name)
        if found is None or not found[0].decoder.is_available(found[1]):
            return None
        return found[0].decoder.names(found[1])

    def text(self, name: str) -> str | None:
        """Text of a string, name of an enum, names of bits, or a number with its unit."""
        registers, point = self.registers(name), self.points.get(name)
        if registers is None or point is None:
            return None
        if point.type is PointType.STRING:
            return decode_text(registers)
        if point.type in BITFIELDS:
            found = self.bits(name)
            return None if found is None else ", ".join(found) or "none"
        if point.enum:
            return self.enum(name)
        value = self.number(name)
        if value is None:
            return None
        shown = f"{value:.0f}" if value == round(value) else f"{value:.6g}"
        return f"{shown} {point.unit}".rstrip()

    def value(self, wanted: Value, unit: str) -> float | None:
        """A telemetry field in ``unit``, as its mapping says."""
        for name in wanted.any_of:
            value = self.number(name, unit)
            if value is not None:
                return value
        if wanted.any_of:
            return None
        if wanted.product:
            return self._product(wanted.product, unit)
        if wanted.max_of:
            found = [self.number(name, unit) for name in wanted.max_of]
            return max((value for value in found if value is not None), default=None)
        terms = [(term.factor, self.number(term.point, unit)) for term in wanted.sum]
        known = [factor * value for factor, value in terms if value is not None]
        return sum(known) if len(known) == len(terms) else None

    def commanded_kw(self, states: Iterable[CommandInForce]) -> float | None:
        """Power of the forced command in force, + discharge; None where there is none.

        None too where the power of a command in force cannot be read.
        """
        for state in states:
            if self.holds(state):
                return self._power_kw(state)
        return None

    def holds(self, state: CommandInForce) -> bool:
        """Whether the control registers are known to be in this state."""
        return all(self.raw(name) == wanted for name, wanted in state.when.items())

    def _find(self, name: str) -> tuple[_Cell, int] | None:
        """A point and its bits; None where the profile or the image lacks it."""
        cell = self._cells.get(name)
        if cell is None:
            point = self.points.get(name)
            if point is None:
                return None
            words = self.image.words_of(point.space)
            cell = _Cell(Decoder(point), words, point.unit, point.scale_factor)
            self._cells[name] = cell
        bits = cell.decoder.find(cell.words)
        return None if bits is None else (cell, bits)

    def _power_kw(self, state: CommandInForce) -> float | None:
        if state.point is None:
            return 0.0
        if state.percent_of is None:
            power_kw = self.number(state.point, "kW")
        else:
            share, full_kw = self.number(state.point), self.number(state.percent_of, "kW")
            power_kw = None if share is None or full_kw is None else share / 100.0 * full_kw
        return None if power_kw is None else 0.0 + state.factor * power_kw

    def _product(self, names: tuple[str, ...], unit: str) -> float | None:
        first, second = self.number(names[0]), self.number(names[1])
        if first is None or second is None:
            return None
        units = {self.points[name].unit for name in names}
        return convert(
            first * second, "W" if units == {"V", "A"} else " x ".join(sorted(units)), unit
        )
