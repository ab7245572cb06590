"""What answers on a connection: units, SunSpec models, and the device's own name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Protocol

from bessai.config.profile import MAIN, DeviceProfile, Point, Space, Table
from bessai.devices.codec import RegisterImage, Registers
from bessai.devices.plan import ReadRules, blocks
from bessai.devices.reading import Reading
from bessai.devices.reduce import without_points
from bessai.devices.sunspec import find_models, located
from bessai.errors import DeviceError, DeviceTimeout, IllegalAddress, RegisterRejected
from bessai.model import DeviceIdentity

_SILENT: Final = "check the unit id, and that the profile is the one of this device"
"""A device that takes a connection and then says nothing is mostly asked under a wrong unit id."""


class Link(Protocol):
    """The part of a connection that discovery needs."""

    @property
    def address(self) -> str:
        """``host:port``."""
        ...

    def use_unit(self, device: str, unit_id: int) -> None:
        """Talk to ``device`` under this unit id."""
        ...

    async def connect(self) -> None:
        """Open the link anew."""
        ...

    async def read(self, space: Space, address: int, count: int) -> Registers:
        """Read registers."""
        ...


async def discover(link: Link, profile: DeviceProfile) -> tuple[DeviceProfile, DeviceIdentity]:
    """Find where everything is, and check that the right device answers.

    Returns:
        The profile with absolute addresses and without what this device lacks, and its name.

    Raises:
        DeviceTimeout: no answer.
        DeviceError: something else than the profile's device answers.
    """
    try:
        return await _discover(link, profile)
    except DeviceTimeout as error:
        raise type(error)(error.message, field=error.field, fix=_SILENT) from None


async def _discover(link: Link, profile: DeviceProfile) -> tuple[DeviceProfile, DeviceIdentity]:
    if profile.sunspec is not None:
        models = await find_models(
            lambda address, count: link.read(Space(MAIN, Table.HOLDING), address, count),
            profile.sunspec,
        )
        profile = located(profile, models)
    for device, candidates in profile.connection.other_units.items():
        profile = await _with_unit(link, profile, device, candidates)
    return profile, await identify(link, profile)


async def identify(link: Link, profile: DeviceProfile) -> DeviceIdentity:
    """Read who answers.

    Raises:
        DeviceError: something else than the profile's device answers.
    """
    wanted = profile.identification
    points = {name: profile.points[name] for name in wanted.points if name in profile.points}
    image = RegisterImage()
    for block in blocks(points, {}, ReadRules.of(profile)):
        try:
            registers = await link.read(block.space, block.address, block.count)
        except IllegalAddress:
            parts = {name: points[name] for name in block.points}
            await _read_one_by_one(link, parts, image, needed=wanted.model)
        else:
            image.store(block.space, block.address, registers)
    reading = Reading(profile.points, image)
    texts = {name: reading.text(name) or "" for name in points}
    model = " ".join(text for name in wanted.model if (text := texts.get(name, "")))
    if wanted.expect and not model.startswith(wanted.expect):
        raise DeviceError(
            f"{link.address} is no {' or '.join(wanted.expect)}",
            field=" ".join(wanted.model),
            value=repr(model),
            fix="check the address, or choose the profile of this device",
        )
    return DeviceIdentity(
        model=model,
        serial_number=texts.get(wanted.serial or "", ""),
        firmware=texts.get(wanted.firmware or "", ""),
    )


async def _read_one_by_one(
    link: Link, points: Mapping[str, Point], image: RegisterImage, *, needed: Collection[str]
) -> None:
    """A device without a serial number or firmware register is identified by its model."""
    for name, point in points.items():
        try:
            image.put(point, await link.read(point.space, point.address, point.count))
        except IllegalAddress:
            if name in needed:
                raise


async def _with_unit(
    link: Link, profile: DeviceProfile, device: str, candidates: tuple[int, ...]
) -> DeviceProfile:
    """The profile, without the device's points where none of its candidates answers.

    A unit that is not there may be refused or met with silence, which costs the link.
    """
    points = {name: p for name, p in profile.points.items() if p.device == device}
    probes = [point for point in points.values() if point.readable][:1]
    for unit_id in candidates if probes else ():
        link.use_unit(device, unit_id)
        try:
            await link.read(probes[0].space, probes[0].address, probes[0].count)
        except RegisterRejected:
            continue
        except DeviceTimeout:
            await link.connect()
            continue
        return profile
    return without_points(profile, frozenset(points))
