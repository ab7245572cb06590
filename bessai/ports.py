"""Protocols between the rooms, each with more than one implementation."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bessai.model import DeviceIdentity, FleetReply, SiteSnapshot, Telemetry
from bessai.model.outcome import ApplyOutcome


class SiteDevice(Protocol):
    """One inverter with its battery and meter."""

    async def connect(self) -> DeviceIdentity:
        """Open the connection and identify the device.

        Raises:
            DeviceTimeout: nothing answers.
            DeviceError: something else than the profile's device answers.
        """
        ...

    async def read_telemetry(self) -> Telemetry:
        """Read all points a cycle needs.

        Raises:
            DeviceError: any block failed; there are no partly old values.
        """
        ...

    async def apply_power(self, power_kw: float) -> ApplyOutcome:
        """Command forced charge (-), discharge (+) or hold (0) and read it back."""
        ...

    async def release(self) -> ApplyOutcome:
        """Return the device to its own working mode and read it back."""
        ...

    async def close(self) -> None:
        """Close the connection; never raises."""
        ...


class Uplink(Protocol):
    """The site's way to the fleet."""

    async def report(self, snapshot: SiteSnapshot) -> FleetReply:
        """Hand over a snapshot and take the answer.

        Raises:
            BessaiError: the fleet cannot be reached now.
        """
        ...


class PriceSource(Protocol):
    """Settled prices of one market node."""

    @property
    def currency(self) -> str:
        """ISO 4217 code."""
        ...

    def prices_between(self, start: datetime, end: datetime) -> NDArray[np.float64]:
        """Prices per step over ``[start, end)``; a missing price is NaN, never 0."""
        ...

    def price_at(self, moment: datetime) -> float | None:
        """The price of the step that covers ``moment``, or None where it is missing."""
        ...
