"""``bessai devices set HOST POINT VALUE``: one register by hand, shown before and read back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.text import Text

from bessai.cli.devices_target import Target
from bessai.config.profile import Point
from bessai.devices.codec import RegisterImage, Registers, raw_value
from bessai.devices.connection import ModbusConnection
from bessai.devices.discovery import discover
from bessai.devices.manual import known_point, point_write, wear_warning
from bessai.devices.program import Write
from bessai.devices.reading import Reading
from bessai.errors import VerificationFailed


def run_set_point(target: Target, name: str, text: str, console: Console, *, yes: bool) -> None:
    """Show what will be written, ask, write, read back.

    Raises:
        DeviceError: the point takes no such value, or the device refuses it.
        VerificationFailed: the register holds another value afterwards.
    """
    plan = asyncio.run(_planned(target, name, text))
    console.print(Text(f"{target.address}, {target.profile.title}"), soft_wrap=True)
    console.print(Text(f"now    {plan.shown_before}"), soft_wrap=True)
    print_writes((plan.write,), console)
    confirm(yes=yes)
    after = asyncio.run(_written(target, plan))
    console.print(Text(f"after  {after}"), soft_wrap=True)


def print_writes(writes: Sequence[Write], console: Console) -> None:
    """Each register that will be written, in its order."""
    for write in writes:
        words = " ".join(f"0x{word:04X}" for word in write.registers)
        unit = "" if write.point.device == "main" else f"{write.point.device} "
        text = f"write  {write.name} = {shown(write.name, write.point, write.registers)}"
        console.print(Text(f"{text}  [{unit}{write.point.address}: {words}]"), soft_wrap=True)
        warning = wear_warning(write.point)
        if warning is not None:
            console.print(Text(f"       {warning}", style="yellow"), soft_wrap=True)


def confirm(*, yes: bool, question: str = "Write?") -> None:
    """Ask; the command ends where the answer is not yes."""
    if not yes:
        typer.confirm(question, abort=True)


def shown(name: str, point: Point, registers: Registers) -> str:
    """A point's registers as its value; raw where its scale factor is not at hand."""
    image = RegisterImage()
    image.put(point, registers)
    plain = point.model_copy(update={"scale_factor": None})
    text = Reading({name: plain}, image).text(name)
    if text is None or point.scale_factor is not None:
        return f"raw {raw_value(point, registers)}"
    return text


@dataclass(frozen=True, slots=True)
class _Plan:
    write: Write
    shown_before: str


async def _planned(target: Target, name: str, text: str) -> _Plan:
    link = target.connection()
    await link.connect()
    try:
        profile, _ = await discover(link, target.profile)
        known_point(profile, name)
        reading = await _around(link, name, Reading(profile.points, RegisterImage()))
        return _Plan(point_write(profile, name, text, reading), _named(reading, name))
    finally:
        link.close()


async def _written(target: Target, plan: _Plan) -> str:
    """Write and read back; the value that the device holds afterwards."""
    link, write = target.connection(), plan.write
    await link.connect()
    try:
        profile, _ = await discover(link, target.profile)
        await link.write(write.point.device, write.point.address, write.registers)
        if not write.point.readable:
            return f"{write.name} was accepted; it cannot be read back"
        reading = await _around(link, write.name, Reading(profile.points, RegisterImage()))
    finally:
        link.close()
    found = reading.registers(write.name)
    if found != write.registers:
        raise VerificationFailed(
            f"reads back {reading.text(write.name)}", field=write.name, fix="see the device's log"
        )
    return _named(reading, write.name)


async def _around(link: ModbusConnection, name: str, reading: Reading) -> Reading:
    """Read the point and its scale factor, each where it can be read."""
    point = reading.points[name]
    for wanted in (name, point.scale_factor):
        one = None if wanted is None else reading.points[wanted]
        if one is not None and one.readable:
            reading.image.put(one, await link.read(one.space, one.address, one.count))
    return reading


def _named(reading: Reading, name: str) -> str:
    if not reading.points[name].readable:
        return f"{name} cannot be read"
    return f"{name} = {reading.text(name) or 'not available'}"
