"""Cover the house from the battery and store what the sun leaves over: the meter stays near 0.

It is what most inverters do by themselves, but inside the site's own limits.
"""

from __future__ import annotations

from dataclasses import dataclass

from bessai.model import SiteLimits, Telemetry

DEAD_ZONE_KW = 0.05
"""Flows below this are not worth a start of the battery."""


@dataclass(frozen=True, slots=True)
class SelfConsumption:
    """Battery power that would bring the grid power to 0; needs the meter."""

    name: str = "self_consumption"

    def power_kw(self, telemetry: Telemetry, limits: SiteLimits) -> float | None:
        """The other flow of the site with its sign turned, within the battery's power."""
        grid_kw, battery_kw = telemetry.grid_power_kw, telemetry.active_power_kw
        if grid_kw is None or battery_kw is None:
            return None
        wish_kw = battery_kw - grid_kw
        if abs(wish_kw) < DEAD_ZONE_KW:
            return 0.0
        return min(max(wish_kw, -limits.max_charge_kw), limits.max_discharge_kw)


def build() -> SelfConsumption:
    """The policy."""
    return SelfConsumption()
