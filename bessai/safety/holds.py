"""Reasons to allow no power at all: old, missing or impossible values, faults and alarms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from bessai.model import Narrowing, SiteLimits, Telemetry
from bessai.model.power import HOLD_BOUNDS
from bessai.safety.outlook import Outlook

CLOCK_TOLERANCE_S: Final = 0.5
"""Telemetry measured this far in the future still counts as measured now."""

MAX_POWER_KW: Final = 1e6
"""No site has a gigawatt; a larger number is a wrong register."""

BATTERY_READY: Final = frozenset({"running", "standby"})

INVERTER_READY: Final = ("on grid", "grid scheduling")
"""Beginnings of status names in which the inverter feeds the grid. Source: Huawei Solar Inverter
Modbus Interface Definitions, register 32089 (0x0200..0x0202 and 0x0401..0x0405)."""

HARMLESS_ALARMS: Final = (
    "license",
    "upgrade failed",
    "monitoring unit",
    "power collector",
    "optimizer",
    "pv module",
    "pv string loss",
    "abnormal string power",
    "adjust instruction",
    "discharge capacity low",
)
"""Words of alarms that are shown but do not stop the battery; every other alarm holds, an unknown
one too. Source: alarm ids 2013, 2015, 2065..2067, 2080, 2081, 2090, 2091, 2094 and 61440 of the
same document; they concern PV strings, licences and communication."""

_NEEDED: Final = {
    "soc_pct": ("missing_soc", "state of charge"),
    "active_power_kw": ("missing_power", "battery power"),
    "temperature_c": ("missing_temperature", "battery temperature"),
    "battery_status": ("missing_battery_status", "battery status"),
    "inverter_status": ("missing_inverter_status", "inverter status"),
}

_PLAUSIBLE: Final = {
    "soc_pct": (0.0, 100.0, "state of charge", "%"),
    "capacity_kwh": (0.0, math.inf, "capacity", "kWh"),
    "active_power_kw": (-MAX_POWER_KW, MAX_POWER_KW, "battery power", "kW"),
    "grid_power_kw": (-MAX_POWER_KW, MAX_POWER_KW, "grid power", "kW"),
    "temperature_c": (-60.0, 150.0, "battery temperature", "°C"),
    "charge_limit_kw": (0.0, math.inf, "charge limit", "kW"),
    "discharge_limit_kw": (0.0, math.inf, "discharge limit", "kW"),
}


def hold_reasons(
    telemetry: Telemetry | None,
    limits: SiteLimits,
    outlook: Outlook,
    found: Iterable[Narrowing] = (),
) -> tuple[Narrowing, ...]:
    """Every reason for which the battery must rest; empty when there is none.

    ``found`` are those that earlier reads gave. Old data says nothing about the rest, so
    ``stale_data`` always stands alone.
    """
    if telemetry is None:
        return (_hold("stale_data", "no telemetry"),)
    age_s = outlook.age_s(telemetry)
    if not -CLOCK_TOLERANCE_S <= age_s <= limits.max_age_s:
        text = f"telemetry is {age_s:.1f} s old, {limits.max_age_s:g} s are allowed"
        return (_hold("stale_data", text),)
    return (
        *_missing(telemetry, limits),
        *_implausible(telemetry),
        *_status(telemetry, limits),
        *_alarms(telemetry),
        *_temperature(telemetry, limits),
        *found,
    )


def possible(field: str, value: float | None) -> float | None:
    """The value of a telemetry field where it can be, else None."""
    lowest, highest, _, _ = _PLAUSIBLE[field]
    return value if value is not None and lowest <= value <= highest else None


def usable_capacity_kwh(telemetry: Telemetry, limits: SiteLimits) -> float | None:
    """The smaller of what the owner and the device say, or None where neither does."""
    known = [c for c in (limits.capacity_kwh, telemetry.capacity_kwh) if c is not None]
    return min(known, default=None)


def _hold(code: str, text: str) -> Narrowing:
    return Narrowing(code, text, HOLD_BOUNDS)


def _missing(telemetry: Telemetry, limits: SiteLimits) -> Iterator[Narrowing]:
    for field, (code, name) in _NEEDED.items():
        if getattr(telemetry, field) is None and field not in limits.not_offered:
            yield _hold(code, f"{name} is not available")
    if usable_capacity_kwh(telemetry, limits) is None:
        yield _hold("missing_capacity", "neither the site file nor the device tells the capacity")


def _implausible(telemetry: Telemetry) -> Iterator[Narrowing]:
    for field, (lowest, highest, name, unit) in _PLAUSIBLE.items():
        value: float | None = getattr(telemetry, field)
        if value is None:
            continue
        if not (math.isfinite(value) and lowest <= value <= highest):
            yield _hold("implausible", f"{name} of {value:g} {unit} cannot be")


def _status(telemetry: Telemetry, limits: SiteLimits) -> Iterator[Narrowing]:
    battery, inverter = telemetry.battery_status, telemetry.inverter_status
    if battery is not None and not _battery_ready(battery, limits):
        yield _hold("battery_status", f"battery is {battery}")
    if inverter is not None and not _inverter_ready(inverter, limits):
        yield _hold("inverter_status", f"inverter is {inverter}")


def _battery_ready(status: str, limits: SiteLimits) -> bool:
    if limits.battery_ready is None:
        return _words(status) in BATTERY_READY
    return status in limits.battery_ready


def _inverter_ready(status: str, limits: SiteLimits) -> bool:
    if limits.inverter_ready is None:
        return _words(status).startswith(INVERTER_READY)
    return status in limits.inverter_ready


def _alarms(telemetry: Telemetry) -> Iterator[Narrowing]:
    serious = [name for name in telemetry.alarms if not is_harmless(name)]
    if serious:
        yield _hold("alarm", f"active alarm: {', '.join(serious)}")


def _temperature(telemetry: Telemetry, limits: SiteLimits) -> Iterator[Narrowing]:
    celsius = telemetry.temperature_c
    if celsius is None:
        return
    if celsius <= limits.temperature_min_c:
        text = f"battery at {celsius:g} °C, needs more than {limits.temperature_min_c:g} °C"
        yield _hold("temperature_low", text)
    if celsius >= limits.temperature_max_c:
        text = f"battery at {celsius:g} °C, needs less than {limits.temperature_max_c:g} °C"
        yield _hold("temperature_high", text)


def is_harmless(alarm: str) -> bool:
    """Whether an alarm is only shown and does not stop the battery."""
    return any(word in _words(alarm) for word in HARMLESS_ALARMS)


def _words(name: str) -> str:
    return name.lower().replace("_", " ").replace("-", " ").strip()
