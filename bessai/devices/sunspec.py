"""Where the models of a SunSpec device are: walks its chain, and gives a profile real addresses.

Source: SunSpec Device Information Model Specification 1.1: the marker "SunS", then one model after
the other as ID, length and that many registers, closed by the ID 0xFFFF.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bessai.config.profile import DeviceProfile, Point, SunSpec
from bessai.devices.codec import Registers
from bessai.devices.reduce import without_points
from bessai.errors import DeviceError, RegisterRejected

log = logging.getLogger(__name__)

MARKER: Final = (0x5375, 0x6E53)
END: Final = 0xFFFF
HEADER: Final = 2
"""Registers of ID and length, which the length does not count."""

MAX_MODELS: Final = 100
"""No device has so many; a longer chain goes in circles or is no chain."""

ADDRESSES: Final = 65536

ALTERNATIVES: Final = (frozenset({101, 102, 103, 111, 112, 113}), frozenset({203, 213}))
"""Models that say the same thing, for one or three phases, as integers or floats: a device has
one of each set."""

Read = Callable[[int, int], Awaitable[Registers]]
"""Reads ``count`` holding registers from ``address``."""


@dataclass(frozen=True, slots=True)
class ModelAt:
    """Where a model is.

    Attributes:
        address: Register of its ID.
        length: Registers that follow ID and length.
    """

    address: int
    length: int

    @property
    def end(self) -> int:
        """First address after the model."""
        return self.address + HEADER + self.length


async def find_models(read: Read, spec: SunSpec) -> dict[int, ModelAt]:
    """Walk the chain of a device; of a model that occurs twice the first one counts.

    A chain that breaks off is used as far as it goes, with a warning.

    Raises:
        DeviceError: no chain at any base address of ``spec``.
        DeviceTimeout: no answer.
    """
    for base in spec.base_addresses:
        if await _is_marked(read, base):
            models = await _walk(read, base + len(MARKER))
            if models:
                return models
    raise DeviceError(
        "no SunSpec map found",
        field="sunspec.base_addresses",
        value=", ".join(str(base) for base in spec.base_addresses),
        fix="check the unit id, and that SunSpec Modbus is switched on in the device",
    )


def located(profile: DeviceProfile, models: Mapping[int, ModelAt]) -> DeviceProfile:
    """The profile with absolute addresses, less what the device's models do not hold.

    ``profile`` is as loaded: placing it twice would add the addresses twice.
    """
    points: dict[str, Point] = {}
    lost: set[str] = set()
    for name, point in profile.points.items():
        at = None if point.model is None else models.get(point.model)
        if at is not None and point.end <= HEADER + at.length:
            points[name] = point.model_copy(update={"address": at.address + point.address})
        else:
            points[name] = point
            if point.model is not None:
                lost.add(name)
    placed = profile.model_copy(update={"points": points})
    return without_points(placed, frozenset(lost))


def chain_layout(profile: DeviceProfile) -> tuple[DeviceProfile, dict[int, int]]:
    """Where a simulated twin has its models, and the words that make them a chain.

    The models follow each other in the profile's order from the first base address; of models
    that say the same thing the twin has the first one listed.

    Returns:
        The profile with absolute addresses, and marker, IDs, lengths and end by address. They
        come before whatever else the twin would show there.
    """
    if profile.sunspec is None:
        return profile, {}
    base = profile.sunspec.base_addresses[0]
    words = dict(enumerate(MARKER, start=base))
    models: dict[int, ModelAt] = {}
    address = base + len(MARKER)
    for model in _one_of_each(profile.sunspec.models):
        end = max(p.end for p in profile.points.values() if p.model == model)
        models[model] = ModelAt(address, end - HEADER)
        words.update({address: model, address + 1: end - HEADER})
        address += end
    words.update({address: END, address + 1: 0})
    return located(profile, models), words


async def _is_marked(read: Read, base: int) -> bool:
    try:
        return tuple(await read(base, len(MARKER))) == MARKER
    except RegisterRejected:
        return False


async def _walk(read: Read, address: int) -> dict[int, ModelAt]:
    models: dict[int, ModelAt] = {}
    for _ in range(MAX_MODELS):
        header = await _header(read, address)
        if header is None:
            break
        model, length = header
        if model == END:
            return models
        at = ModelAt(address, length)
        if model == 0 or at.end + HEADER > ADDRESSES:
            break
        if models.setdefault(model, at) is not at:
            fields = {"model": model, "register": address, "used": models[model].address}
            log.info("SunSpec model occurs again, the first one counts", extra=fields)
        address = at.end
    log.warning("SunSpec chain breaks off", extra={"register": address, "models": len(models)})
    return models


async def _header(read: Read, address: int) -> tuple[int, int] | None:
    """ID and length; None where the device has no register. A device may end with the ID alone."""
    try:
        model, length = await read(address, HEADER)
    except RegisterRejected:
        try:
            (model,) = await read(address, 1)
        except RegisterRejected:
            return None
        return (END, 0) if model == END else None
    return model, length


def _one_of_each(models: tuple[int, ...]) -> Iterator[int]:
    chosen: set[int] = set()
    for model in models:
        rivals = next((group for group in ALTERNATIVES if model in group), frozenset({model}))
        if not chosen & rivals:
            chosen.add(model)
            yield model
