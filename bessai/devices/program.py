"""Write programs as values: which registers a power command needs, encoded before any is sent."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bessai.config.profile import DeviceProfile, Point, ReadBlock
from bessai.devices.codec import RegisterImage, Registers, encode_number
from bessai.errors import DeviceError
from bessai.units import W_PER_KW


@dataclass(frozen=True, slots=True)
class Write:
    """One register write of a program."""

    name: str
    point: Point
    registers: Registers


@dataclass(frozen=True, slots=True)
class Command:
    """Encoded writes, the command register last.

    Attributes:
        power_kw: What the registers ask for after rounding, + discharge.
        writes: In the order the device needs.
    """

    power_kw: float
    writes: tuple[Write, ...]

    def needed(self, held: RegisterImage) -> tuple[Write, ...]:
        """Writes whose register holds another value; always the last, which re-arms the timer."""
        *others, last = self.writes
        return (*(w for w in others if held.registers(w.point) != w.registers), last)

    def blocks(self, profile: DeviceProfile) -> tuple[ReadBlock, ...]:
        """The fewest reads that cover every write: the profile's own blocks where they do."""
        found: list[ReadBlock] = []
        for write in self.writes:
            if not any(block.covers(write.point) for block in found):
                found.append(_covering(profile, write.point))
        return tuple(found)


def power_command(profile: DeviceProfile, power_kw: float) -> Command:
    """The program for charge (-), discharge (+) or hold (0), in whole watts towards zero.

    Raises:
        DeviceError: the power is not finite or beyond what the profile allows.
    """
    if not math.isfinite(power_kw):
        raise DeviceError("power must be finite", field="power_kw", value=str(power_kw))
    # A bound such as 4.35 kW is 4349.999... W in floats; a nanowatt is no violation.
    power_w = math.floor(abs(power_kw) * W_PER_KW + 1e-6)
    if power_w == 0:
        return _encode(profile, "hold", 0.0, {})
    sign, program = (1, "discharge") if power_kw > 0 else (-1, "charge")
    _check_limit(profile, program, power_w / W_PER_KW)
    return _encode(profile, program, sign * power_w / W_PER_KW, {"power_w": float(power_w)})


def release_command(profile: DeviceProfile) -> Command:
    """The program that returns the device to its own working mode."""
    return _encode(profile, "release", 0.0, {})


def _check_limit(profile: DeviceProfile, program: str, magnitude_kw: float) -> None:
    limits = profile.limits
    limit_kw = limits.max_discharge_kw if program == "discharge" else limits.max_charge_kw
    if magnitude_kw > limit_kw:
        raise DeviceError(
            f"{program} power is beyond the {limit_kw:g} kW of profile {profile.name}",
            field="power_kw",
            value=f"{magnitude_kw:g}",
        )


def _encode(
    profile: DeviceProfile, program: str, power_kw: float, parameters: dict[str, float]
) -> Command:
    writes = []
    for step in profile.programs[program].steps:
        point = profile.points[step.point]
        value = parameters.get(step.value) if isinstance(step.value, str) else step.value
        if value is None:
            raise DeviceError(
                f"program {program!r} has no such parameter",
                field=step.point,
                value=str(step.value),
            )
        writes.append(Write(step.point, point, encode_number(point, value, name=step.point)))
    return Command(power_kw, tuple(writes))


def _covering(profile: DeviceProfile, point: Point) -> ReadBlock:
    for block in profile.telemetry_blocks:
        if block.requires is None and block.covers(point):
            return block
    return ReadBlock(address=point.address, count=point.count)
