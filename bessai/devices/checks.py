"""Does what was read make sense? For commissioning: wrong addresses, gains and signs show here.

Pure. The laws of a family are the ``checks`` of its profile; beside them each value is held
against its own range, and against what a battery site can be at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bessai.config.profile import BITFIELDS, Check, DeviceProfile, Point, Product
from bessai.devices.codec import convert, decode_number, is_number
from bessai.devices.reading import Reading

_BASES: Final = {"kW": "W", "kWh": "Wh"}
_PLAUSIBLE: Final = {"Hz": (45.0, 65.0), "degC": (-40.0, 120.0)}
"""By unit: grids run at 50 or 60 Hz; an electronic part beyond these temperatures is dead."""
_PERCENTAGES: Final = ("soc_pct", "soh_pct")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A law of physics, and what the device says about both of its sides.

    Attributes:
        name: What is compared, e.g. ``battery, U x I = P``.
        left, right: Both sides in ``unit``; magnitudes where the law is about magnitudes; None
            where a value is missing.
        allowed: How far apart they may be, in ``unit``.
    """

    name: str
    left: float | None
    right: float | None
    unit: str
    allowed: float = 0.0

    @property
    def ok(self) -> bool | None:
        """Whether the law holds; None where a value is missing."""
        if self.left is None or self.right is None:
            return None
        return abs(self.left - self.right) <= self.allowed

    @property
    def telling(self) -> bool:
        """Whether there is enough power to say something: near zero every sign fits."""
        if self.left is None or self.right is None:
            return False
        return abs(self.left) + abs(self.right) > self.allowed


@dataclass(frozen=True, slots=True)
class Implausible:
    """A value that can hardly be.

    Attributes:
        name: The point, or the telemetry field.
        shown: Its value with the unit.
        reason: What is wrong with it.
    """

    name: str
    shown: str
    reason: str


def check_laws(profile: DeviceProfile, reading: Reading) -> tuple[CheckResult, ...]:
    """All laws of the profile, in its order."""
    return tuple(_result(check, reading) for check in profile.checks)


def implausible_values(profile: DeviceProfile, reading: Reading) -> tuple[Implausible, ...]:
    """Values outside their range or beyond physics, and names that the profile does not know.

    A value that the device does not have, or does not show now, is no finding.
    """
    found = [
        Implausible(name, shown, reason)
        for name, point in profile.points.items()
        for shown, reason in _doubts(name, point, reading)
    ]
    for key in _PERCENTAGES:
        wanted = profile.telemetry.get(key)
        value = None if wanted is None else reading.value(wanted, "%")
        if value is not None and not 0.0 <= value <= 100.0:
            found.append(Implausible(key, f"{value:g} %", "outside 0 to 100 %"))
    return tuple(found)


def _result(check: Check, reading: Reading) -> CheckResult:
    left = _side(check.left, check.unit, reading)
    right = _side(check.right, check.unit, reading)
    if left is None or right is None:
        return CheckResult(check.name, left, right, check.unit)
    if check.magnitude:
        left, right = abs(left), abs(right)
    allowed = check.tolerance + check.tolerance_pct / 100.0 * max(abs(left), abs(right))
    return CheckResult(check.name, left, right, check.unit, allowed)


def _side(products: tuple[Product, ...], unit: str, reading: Reading) -> float | None:
    total = 0.0
    for product in products:
        value = product.factor
        for name in product.points:
            number = _in_base_unit(name, reading)
            if number is None:
                return None
            value *= number
        total += value
    return convert(total, _BASES.get(unit, unit), unit)


def _in_base_unit(name: str, reading: Reading) -> float | None:
    """The number in W or Wh where the point counts in kW or kWh, so that sides can be added."""
    unit = reading.points[name].unit
    return reading.number(name, _BASES.get(unit, unit))


def _doubts(name: str, point: Point, reading: Reading) -> Iterator[tuple[str, str]]:
    if point.enum:
        shown = reading.enum(name) or ""
        if shown.startswith("unknown("):
            yield shown, "not among the values that the profile lists"
    elif point.type in BITFIELDS and point.bits:
        unknown = [bit for bit in reading.bits(name) or () if bit.startswith("unknown(")]
        if unknown:
            yield ", ".join(unknown), "not among the bits that the profile lists"
    elif is_number(point):
        yield from _doubts_of_number(name, point, reading)


def _doubts_of_number(name: str, point: Point, reading: Reading) -> Iterator[tuple[str, str]]:
    value = _beyond_range(name, point, reading)
    if value is not None:
        yield f"{value:g} {point.unit}".rstrip(), f"outside {_range(point)}"
        return
    value = reading.number(name)
    low, high = _PLAUSIBLE.get(point.unit, (None, None))
    if value is None or low is None or high is None or low <= value <= high:
        return
    yield f"{value:g} {point.unit}", f"outside {low:g} to {high:g} {point.unit}"


def _beyond_range(name: str, point: Point, reading: Reading) -> float | None:
    """The value that the point's own range hides."""
    registers, gain = reading.registers(name), reading.gain(name)
    if registers is None or gain is None or reading.number(name) is not None:
        return None
    free = point.model_copy(update={"minimum": None, "maximum": None})
    return decode_number(free, registers, gain)


def _range(point: Point) -> str:
    low = "" if point.minimum is None else f"{point.minimum:g}"
    high = "" if point.maximum is None else f"{point.maximum:g}"
    span = f"{low} to {high}" if low and high else f"{low} or more" if low else f"{high} or less"
    return f"{span} {point.unit}".rstrip()
