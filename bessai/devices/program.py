"""Write programs as values: which registers a power command needs, encoded before any is sent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from bessai.config.profile import DeviceProfile, Parameter, Point, WriteStep
from bessai.devices.codec import RegisterImage, Registers, convert, encode_number, raw_value
from bessai.devices.reading import Reading
from bessai.errors import DeviceError
from bessai.units import W_PER_KW

_S_PER: Final = {"s": 1.0, "min": 60.0}


@dataclass(frozen=True, slots=True)
class Write:
    """One register write of a program.

    Attributes:
        renew: Written even where the register holds the value: it restarts the device's timer.
        counts_down: The register shows the rest of the timer that the write starts.
    """

    name: str
    point: Point
    registers: Registers
    renew: bool
    counts_down: bool = False

    @property
    def budgeted(self) -> bool:
        """Whether the register may wear out."""
        return self.point.persistence.budgeted

    def is_held(self, found: Registers | None) -> bool:
        """Whether ``found`` is what was written; of a timer at least half must be left."""
        if found is None or not self.counts_down:
            return found == self.registers
        wanted = raw_value(self.point, self.registers)
        return wanted <= 2 * raw_value(self.point, found) <= 2 * wanted


@dataclass(frozen=True, slots=True)
class Command:
    """Encoded writes, the command register last.

    Attributes:
        power_kw: What the registers ask for after rounding, + discharge; 0 for a release.
        writes: In the order the device needs.
        to_rest: Whether the battery comes to rest or goes back to the device's own mode.
        releases: The latter of the two.
    """

    power_kw: float
    writes: tuple[Write, ...]
    to_rest: bool
    releases: bool = False

    def contains(self, power_kw: float) -> bool:
        """Whether ``power_kw`` is no more than this command asks for, in the same direction."""
        return min(0.0, self.power_kw) <= power_kw <= max(0.0, self.power_kw)

    def needed(self, held: RegisterImage, *, trusted: bool = True) -> tuple[Write, ...]:
        """Writes whose register holds another value, and those that restart the timer.

        Where the image is not ``trusted`` all are needed, but for registers that may wear out:
        the caller has read those anew.
        """
        return tuple(
            write
            for write in self.writes
            if write.renew
            or (not trusted and not write.budgeted)
            or held.registers(write.point) != write.registers
        )


def power_command(profile: DeviceProfile, power_kw: float, reading: Reading) -> Command:
    """The program for charge (-), discharge (+) or hold (0), in whole watts towards zero.

    The power is narrowed to what the device itself allows now; ``reading`` says what that is,
    and provides scale factors and reference powers where the family needs them.

    Raises:
        DeviceError: the power is not finite or beyond what the profile allows, or the family
            cannot be commanded.
    """
    if not profile.controllable:
        raise DeviceError(
            f"profile {profile.name} cannot be commanded",
            field="power_kw",
            fix="use it for monitoring only",
        )
    if not math.isfinite(power_kw):
        raise DeviceError("power must be finite", field="power_kw", value=str(power_kw))
    # A bound such as 4.35 kW is 4349.999... W in floats; a nanowatt is no violation.
    power_w = math.floor(abs(power_kw) * W_PER_KW + 1e-6)
    if power_w == 0:
        return _command(profile, "hold", 0.0, reading)
    sign, program = (1.0, "discharge") if power_kw > 0 else (-1.0, "charge")
    _check_limit(profile, program, power_w / W_PER_KW)
    narrowed_w = min(power_w, _device_limit_w(profile, program, reading))
    if narrowed_w > 0:
        command = _command(profile, program, sign * narrowed_w, reading)
        if command.power_kw != 0:
            return _by_way_of_rest(profile, command, reading)
    # A power below the step of its register is a hold, too.
    return _command(profile, "hold", 0.0, reading)


def release_command(profile: DeviceProfile, reading: Reading) -> Command:
    """The program that returns the device to its own working mode.

    Raises:
        DeviceError: a scale factor is not known, or the family cannot be commanded.
    """
    if not profile.controllable:
        raise DeviceError(f"profile {profile.name} cannot be commanded", field="release")
    writes = _encode(profile, "release", 0.0, reading)
    return Command(0.0, writes, to_rest=True, releases=True)


def _command(
    profile: DeviceProfile, program: str, signed_power_w: float, reading: Reading
) -> Command:
    writes = _encode(profile, program, signed_power_w, reading)
    after = reading.image.copy()
    for write in writes:
        after.put(write.point, write.registers)
    power_kw = Reading(profile.points, after).commanded_kw(profile.commanded)
    if power_kw is None:
        raise DeviceError(
            f"program {program!r} of profile {profile.name} leads to no forced command",
            field="commanded",
            fix="read the device once before commanding it, or correct the profile",
        )
    return Command(power_kw, writes, to_rest=program == "hold")


def _by_way_of_rest(profile: DeviceProfile, command: Command, reading: Reading) -> Command:
    """The command, after a hold where its writes would lead through a power that nobody wanted.

    Where one register holds the power of both directions, the old direction would get the new
    power: for a moment, or for longer where the link breaks there.
    """
    held_kw = reading.commanded_kw(profile.commanded)
    if held_kw is None:
        return command
    low, high = min(0.0, held_kw, command.power_kw), max(0.0, held_kw, command.power_kw)
    image = reading.image.copy()
    after = Reading(profile.points, image)
    for write in command.writes:
        image.put(write.point, write.registers)
        power_kw = after.commanded_kw(profile.commanded)
        if power_kw is not None and not low <= power_kw <= high:
            rest = _encode(profile, "hold", 0.0, reading)
            return replace(command, writes=(*rest, *command.writes))
    return command


def _check_limit(profile: DeviceProfile, program: str, magnitude_kw: float) -> None:
    limits = profile.limits
    limit_kw = limits.max_discharge_kw if program == "discharge" else limits.max_charge_kw
    if magnitude_kw > limit_kw:
        raise DeviceError(
            f"{program} power is beyond the {limit_kw:g} kW of profile {profile.name}",
            field="power_kw",
            value=f"{magnitude_kw:g}",
        )


def _device_limit_w(profile: DeviceProfile, program: str, reading: Reading) -> float:
    """What the device itself allows now, in whole watts; no limit where it does not say."""
    wanted = profile.telemetry.get(f"{program}_limit_kw")
    limit_kw = None if wanted is None else reading.value(wanted, "kW")
    return math.inf if limit_kw is None else math.floor(max(0.0, limit_kw) * W_PER_KW + 1e-6)


def _encode(
    profile: DeviceProfile, program: str, signed_power_w: float, reading: Reading
) -> tuple[Write, ...]:
    steps = profile.programs[program].steps
    renewed = profile.renewed(profile.programs[program])
    writes = []
    for step in steps:
        point = profile.points[step.point]
        gain = reading.gain(step.point)
        if gain is None:
            raise DeviceError(
                "scale factor is not known", field=step.point, fix="read the device first"
            )
        value = _value(profile, step, signed_power_w, reading)
        registers = encode_number(point, value, name=step.point, gain=gain)
        counts_down = _counts_down(profile, step)
        writes.append(Write(step.point, point, registers, step in renewed, counts_down))
    return tuple(writes)


def _counts_down(profile: DeviceProfile, step: WriteStep) -> bool:
    restarted_by = () if profile.dead_man is None else profile.dead_man.restarted_by
    return step.value is Parameter.DEAD_MAN and step.point in restarted_by


def _value(
    profile: DeviceProfile, step: WriteStep, signed_power_w: float, reading: Reading
) -> float:
    match step.value:
        case Parameter.POWER:
            return step.factor * _power(profile, step, abs(signed_power_w), reading)
        case Parameter.SIGNED_POWER:
            return step.factor * _power(profile, step, signed_power_w, reading)
        case Parameter.DEAD_MAN:
            return step.factor * _dead_man(profile, step)
        case float() as number:
            return step.factor * number


def _power(profile: DeviceProfile, step: WriteStep, power_w: float, reading: Reading) -> float:
    if step.percent_of is None:
        return convert(power_w, "W", profile.points[step.point].unit)
    full_w = reading.number(step.percent_of, "W")
    if full_w is None or full_w <= 0:
        raise DeviceError(
            "is not available, so power in percent of it is not defined", field=step.percent_of
        )
    return 100.0 * power_w / full_w


def _dead_man(profile: DeviceProfile, step: WriteStep) -> float:
    unit = profile.points[step.point].unit
    if profile.dead_man is None or unit not in _S_PER:
        raise DeviceError("takes no dead-man period", field=step.point, value=repr(unit))
    return profile.dead_man.period_s / _S_PER[unit]
