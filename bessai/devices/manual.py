"""One point written by hand: a person's text to registers, before anything is sent. Pure."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from bessai.config.profile import BITFIELDS, DeviceProfile, Persistence, Point, PointType
from bessai.devices.codec import encode_number, encode_raw, encode_text
from bessai.devices.program import Write
from bessai.devices.reading import Reading
from bessai.errors import DeviceError

_SHOWN_NAMES: Final = 5


def point_write(profile: DeviceProfile, name: str, text: str, reading: Reading) -> Write:
    """The write that gives point ``name`` the value that ``text`` says.

    Args:
        profile: As the device has it.
        name: A point that can be written.
        text: A number in the point's unit, a name or raw value of its enum, a bit mask such as
            ``0x0005``, or a string.
        reading: Holds the point's scale factor, where it has one.

    Raises:
        DeviceError: no such point, one that is read-only, or a value that it does not take.
    """
    point = _writable(profile, name)
    if point.type is PointType.STRING:
        registers = encode_text(point, text)
    elif point.enum:
        registers = encode_raw(point, _enum_value(name, point, text))
    elif point.type in BITFIELDS:
        registers = encode_raw(point, _mask(name, point, text))
    else:
        gain = reading.gain(name)
        if gain is None:
            raise DeviceError("the device does not tell its scale factor", field=name)
        registers = encode_number(point, _number(name, point, text), name=name, gain=gain)
    return Write(name, point, registers, renew=False)


def known_point(profile: DeviceProfile, name: str) -> Point:
    """The point ``name``.

    Raises:
        DeviceError: no such point; names those that are meant perhaps.
    """
    point = profile.points.get(name)
    if point is None:
        close = get_close_matches(name, profile.points, n=_SHOWN_NAMES, cutoff=0.5)
        fix = f"did you mean {', '.join(close)}?" if close else None
        raise DeviceError(
            f"is no point of profile {profile.name} that this device has",
            field="point",
            value=repr(name),
            fix=fix or f"see `bessai devices show {profile.name} --points`",
        )
    return point


def wear_warning(point: Point) -> str | None:
    """What a person must know before a write; None where it costs nothing."""
    if point.persistence is Persistence.STORED:
        return "stored in memory that wears out: set it once, never in a loop"
    if point.persistence is Persistence.UNKNOWN:
        return "may be stored in memory that wears out: set it once, never in a loop"
    return None


def _writable(profile: DeviceProfile, name: str) -> Point:
    point = known_point(profile, name)
    if point.persistence is Persistence.READ_ONLY:
        raise DeviceError(
            "is read-only",
            field=name,
            fix=f"see `bessai devices show {profile.name} --points` for those that are not",
        )
    return point


def _number(name: str, point: Point, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        unit = f" in {point.unit}" if point.unit else ""
        raise DeviceError(f"takes a number{unit}", field=name, value=repr(text)) from None


def _enum_value(name: str, point: Point, text: str) -> int:
    wanted = text.strip().casefold()
    for raw, label in point.enum.items():
        if wanted == label.casefold() or _integer(text) == raw:
            return raw
    known = ", ".join(f"{raw} ({label})" for raw, label in point.enum.items())
    raise DeviceError("takes one of its names", field=name, value=repr(text), fix=f"use {known}")


def _mask(name: str, point: Point, text: str) -> int:
    mask = _integer(text)
    if mask is None or not 0 <= mask < 1 << 16 * point.count:
        raise DeviceError(
            f"takes a mask of {16 * point.count} bits",
            field=name,
            value=repr(text),
            fix="write it as a number, e.g. 0x0005",
        )
    return mask


def _integer(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None
