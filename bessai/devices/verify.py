"""Whether a device holds a command: what was sent proves nothing, what is read afterwards does."""

from __future__ import annotations

from typing import Final

from bessai.config.profile import DeviceProfile, Point
from bessai.devices.codec import Registers, raw_value
from bessai.devices.program import Command, Write
from bessai.devices.reading import Reading
from bessai.errors import VerificationFailed

_SAME_KW: Final = 1e-6


def read_back_points(profile: DeviceProfile, command: Command) -> dict[str, Point]:
    """What to read after a command: its registers, and what gives their numbers a meaning."""
    names: dict[str, None] = {}
    for write in command.writes:
        names[write.name] = None
        if write.point.scale_factor is not None:
            names[write.point.scale_factor] = None
    if not command.releases:
        reference = (s.percent_of for s in profile.commanded if s.percent_of is not None)
        names.update(dict.fromkeys(reference))
    points = {name: profile.points[name] for name in names}
    return {name: point for name, point in points.items() if point.readable}


def find_mismatch(
    profile: DeviceProfile, command: Command, reading: Reading
) -> tuple[str, VerificationFailed] | None:
    """The first point that does not hold the command, and why; None where all is as it should be.

    Every register must hold what was written to it last. All of them together must mean the
    power that was asked for: a scale factor or a reference power may have changed meanwhile.
    """
    for name, write in {write.name: write for write in command.writes}.items():
        found = reading.registers(name)
        if write.point.readable and not write.is_held(found):
            return name, _other_value(write, found)
    if not profile.command_readable:
        return None
    wanted_kw = None if command.releases else command.power_kw
    held_kw = reading.commanded_kw(profile.commanded)
    if held_kw == wanted_kw:
        return None
    if held_kw is not None and wanted_kw is not None and abs(held_kw - wanted_kw) <= _SAME_KW:
        return None
    text = f"the device holds {_power(held_kw)} instead of {_power(wanted_kw)}"
    return command.writes[-1].name, VerificationFailed(text)


def _other_value(write: Write, found: Registers | None) -> VerificationFailed:
    return VerificationFailed(
        f"reads back {_shown(write, found)} instead of {_shown(write, write.registers)}",
        field=f"{write.name} (register {write.point.address})",
    )


def _shown(write: Write, registers: Registers | None) -> str:
    return "nothing" if registers is None else str(raw_value(write.point, registers))


def _power(power_kw: float | None) -> str:
    return "no forced command" if power_kw is None else f"{power_kw:g} kW"
