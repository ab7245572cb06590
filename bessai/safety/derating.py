"""Less power at cold and hot cells: the owner's curves, or a straight line before each limit.

Charging and discharging are separate: lithium cells must not be charged below about 0 °C, because
metal plates out on the anode, and still deliver power far below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from bessai.model import Bounds, Narrowing, SiteLimits, Telemetry

DERATING_K: Final = 5.0
"""Without a curve power falls linearly to 0 over the last 5 K before a temperature limit."""

Curve = Sequence[tuple[float, float]]


def temperature_narrowings(telemetry: Telemetry, limits: SiteLimits) -> Iterator[Narrowing]:
    """Scale each direction's nameplate; an unknown temperature is a matter of the holds."""
    celsius = telemetry.temperature_c
    if celsius is None:
        return
    charge = derated_share(celsius, limits.charge_derating, limits)
    discharge = derated_share(celsius, limits.discharge_derating, limits)
    full_in, full_out = limits.max_charge_kw, limits.max_discharge_kw
    if charge < 1.0:
        text = f"battery at {celsius:g} °C, charging derated to {charge:.0%}"
        yield Narrowing("charge_derating", text, Bounds(0.0 - full_in * charge, full_out))
    if discharge < 1.0:
        text = f"battery at {celsius:g} °C, discharging derated to {discharge:.0%}"
        yield Narrowing("discharge_derating", text, Bounds(0.0 - full_in, full_out * discharge))


def derated_share(celsius: float, curve: Curve | None, limits: SiteLimits) -> float:
    """Share of the nameplate at a temperature, 0-1."""
    if curve is not None:
        return share_on(curve, celsius)
    margin_k = min(celsius - limits.temperature_min_c, limits.temperature_max_c - celsius)
    return min(max(margin_k / DERATING_K, 0.0), 1.0)


def share_on(curve: Curve, celsius: float) -> float:
    """Linear between the points ``(temperature in °C, share)``, constant outside them."""
    if celsius <= curve[0][0]:
        return curve[0][1]
    for (cold_c, cold), (warm_c, warm) in pairwise(curve):
        if celsius <= warm_c:
            return cold + (warm - cold) * (celsius - cold_c) / (warm_c - cold_c)
    return curve[-1][1]
