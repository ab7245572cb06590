"""pysunspec2, the reference client of the SunSpec Alliance, with types around it.

Source: https://github.com/sunspec/pysunspec2, Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP, SunSpecModbusClientGroup

from tests.interop.simulator import HOST, Simulator

Found = float | str | None


class SunSpecClient:
    """A device as pysunspec2 sees it, after its scan of the chain."""

    def __init__(self, device: SunSpecModbusClientDeviceTCP) -> None:
        self._device = device

    @property
    def models(self) -> list[int]:
        """Model ids in the order of the chain."""
        return [model for model in self._device.models if isinstance(model, int)]

    def lengths(self) -> dict[int, tuple[int, int]]:
        """Per model: registers of its official definition, and those that the device claims."""
        found = {model: self._device.models[model][0] for model in self.models}
        return {
            number: (_defined(model), 2 + model.points["L"].value)
            for number, model in found.items()
        }

    def read(self, model: int, *names: str) -> list[Found]:
        """Values in their units, read anew; None where not implemented."""
        found = self._device.models[model][0]
        found.read()
        return [found.points[name].cvalue for name in names]

    def group(self, model: int, group: str, name: str) -> list[Found]:
        """A point of each repetition of a group."""
        found = self._device.models[model][0]
        found.read()
        return [one.points[name].cvalue for one in found.groups[group]]

    def write(self, model: int, **values: float) -> None:
        """Write points one by one, in this order, in their units."""
        found = self._device.models[model][0]
        for name, value in values.items():
            found.points[name].cvalue = value
            found.points[name].write()


def _defined(group: SunSpecModbusClientGroup) -> int:
    inner = (
        one
        for found in group.groups.values()
        for one in (found if isinstance(found, list) else [found])
    )
    return int(group.points_len) + sum(map(_defined, inner))


@contextmanager
def scanned(simulator: Simulator) -> Iterator[SunSpecClient]:
    """A client that has found all models."""
    device = SunSpecModbusClientDeviceTCP(simulator.unit_id, HOST, simulator.port, timeout=10)
    device.connect()
    try:
        device.scan(connect=False)
        yield SunSpecClient(device)
    finally:
        device.disconnect()
