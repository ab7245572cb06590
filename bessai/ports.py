"""Protocols between the rooms, each with more than one implementation."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bessai.model import (
    DeviceIdentity,
    DispatchPlan,
    DispatchRequest,
    FleetReply,
    Grant,
    Owner,
    PastPrices,
    QuantileForecast,
    SiteId,
    SiteLimits,
    SiteSnapshot,
    Telemetry,
)
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


class Authority(Protocol):
    """Hands out epochs, so that a site has one owner."""

    async def claim(self, site_id: SiteId, owner: Owner) -> Grant:
        """Make ``owner`` the one owner of the site from now on; each call is a new epoch.

        Raises:
            BessaiError: it cannot be reached now; nothing was granted that is known of.
        """
        ...

    async def is_current(self, site_id: SiteId, epoch: int) -> bool:
        """Whether nobody has claimed the site after ``epoch``.

        Raises:
            BessaiError: it cannot be reached now.
        """
        ...


class LocalPolicy(Protocol):
    """What a site does by itself while nobody plans for it; pure and quick."""

    @property
    def name(self) -> str:
        """Name in the site file."""
        ...

    def power_kw(self, telemetry: Telemetry, limits: SiteLimits) -> float | None:
        """Wished battery power, + discharge; None where it does not know what to do."""
        ...


class PriceSource(Protocol):
    """Settled prices of one market node."""

    @property
    def market(self) -> str:
        """Name of the market, e.g. ``chile_cen``."""
        ...

    @property
    def node(self) -> str:
        """Name of the node, e.g. ``crucero_220``."""
        ...

    @property
    def currency(self) -> str:
        """ISO 4217 code."""
        ...

    @property
    def unit(self) -> str:
        """Unit of a price, e.g. ``USD/MWh``."""
        ...

    @property
    def step(self) -> timedelta:
        """Length of a settlement step."""
        ...

    @property
    def coverage(self) -> tuple[datetime, datetime]:
        """``[start, end)`` for which the source holds prices, aware UTC."""
        ...

    def prices_between(self, start: datetime, end: datetime) -> NDArray[np.float64]:
        """Prices per step over ``[start, end)``; a missing price is NaN, never 0."""
        ...

    def price_at(self, moment: datetime) -> float | None:
        """The price of the step that covers ``moment``, or None where it is missing."""
        ...


class ForecastModel(Protocol):
    """Quantiles of the next prices from past ones."""

    async def forecast(self, past: PastPrices, horizon_steps: int) -> QuantileForecast:
        """Forecast ``horizon_steps`` steps; the first one covers ``past.as_of``.

        Raises:
            ModelError: no usable model, or too few prices.
        """
        ...


class DispatchModel(Protocol):
    """Schedules for many sites in one call."""

    async def plan(self, request: DispatchRequest) -> DispatchPlan:
        """Plan every site of the request over the forecast's horizon.

        Raises:
            ModelError: the plan cannot be made.
        """
        ...
