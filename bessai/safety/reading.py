"""The numbers of one read that can be compared with those of another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from bessai.model import SiteLimits, Telemetry
from bessai.safety.holds import possible

LEAST_KWH: Final = 1e-3
"""Less is no battery."""

OWNER_SHARE: Final = 10.0
"""A device that claims more than this multiple of the owner's limits is not believed."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Values that can be; None for those that are missing or impossible.

    Attributes:
        soc_pct, temperature_c, power_kw: As in :class:`~bessai.model.Telemetry`.
        rated_kw: Size of the inverter, as far as the owner's limits and the device tell it.
        least_kwh, most_kwh: Smallest and largest capacity that owner and device tell.
    """

    soc_pct: float | None
    temperature_c: float | None
    power_kw: float | None
    rated_kw: float
    least_kwh: float | None
    most_kwh: float | None


def read_of(telemetry: Telemetry, limits: SiteLimits) -> Reading:
    """Take the numbers of a read."""
    told = (limits.capacity_kwh, telemetry.capacity_kwh)
    known = [kwh for kwh in told if kwh is not None and LEAST_KWH <= kwh < math.inf]
    return Reading(
        soc_pct=possible("soc_pct", telemetry.soc_pct),
        temperature_c=possible("temperature_c", telemetry.temperature_c),
        power_kw=possible("active_power_kw", telemetry.active_power_kw),
        rated_kw=_rated_kw(telemetry, limits),
        least_kwh=min(known, default=None),
        most_kwh=max(known, default=None),
    )


def _rated_kw(telemetry: Telemetry, limits: SiteLimits) -> float:
    """The owner may allow a part only; a device that is full or cold may offer less than it is."""
    own_kw = max(limits.max_charge_kw, limits.max_discharge_kw)
    offers = (telemetry.charge_limit_kw, telemetry.discharge_limit_kw)
    believed = (kw for kw in offers if kw is not None and 0 <= kw <= OWNER_SHARE * own_kw)
    return max(own_kw, *believed, 0.0)
