"""From registers to one Telemetry, as the profile's ``telemetry`` section maps them.

Keys are the measured fields of :class:`bessai.model.Telemetry`; besides them ``forced_command``
(an enum with ``stop``, ``charge``, ``discharge``), ``forced_charge_kw`` and
``forced_discharge_kw`` tell which command the device holds, and every key that begins with
``alarms_`` names a bit field of alarms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bessai.config.profile import DeviceProfile, Point
from bessai.devices.codec import (
    RegisterImage,
    convert,
    decode_bits,
    decode_enum,
    decode_number,
    is_available,
)
from bessai.errors import ConfigError
from bessai.model import SiteId, Telemetry
from bessai.units import MonotonicS

NUMBER_UNITS: Final = {
    "soc_pct": "%",
    "capacity_kwh": "kWh",
    "active_power_kw": "kW",
    "grid_power_kw": "kW",
    "temperature_c": "degC",
    "charge_limit_kw": "kW",
    "discharge_limit_kw": "kW",
    "exported_wh": "Wh",
    "imported_wh": "Wh",
    "forced_charge_kw": "kW",
    "forced_discharge_kw": "kW",
}
ENUM_KEYS: Final = frozenset({"battery_status", "inverter_status", "forced_command"})
ALARM_PREFIX: Final = "alarms_"


def check_mapping(profile: DeviceProfile) -> None:
    """Refuse a telemetry section that maps something no one reads.

    Raises:
        ConfigError: names the unknown key.
        DeviceError: a point's unit does not convert.
    """
    for key, point in profile.telemetry.items():
        if key in NUMBER_UNITS:
            convert(profile.points[point], 1.0, NUMBER_UNITS[key])
        elif key not in ENUM_KEYS and not key.startswith(ALARM_PREFIX):
            known = ", ".join(sorted(NUMBER_UNITS.keys() | ENUM_KEYS))
            raise ConfigError(
                "is not a telemetry field",
                field=f"{profile.name}: telemetry.{key}",
                fix=f"use one of {known}, or {ALARM_PREFIX}<n>",
            )


@dataclass(slots=True)
class _Reader:
    """Decodes mapped points and remembers which of them are not available."""

    profile: DeviceProfile
    image: RegisterImage
    missing: list[str] = field(default_factory=list)

    def number(self, key: str) -> float | None:
        found = self._find(key)
        if found is None:
            return None
        point, registers = found
        value = decode_number(point, registers)
        if value is None:
            self._note(key)
            return None
        return convert(point, value, NUMBER_UNITS[key])

    def energy_wh(self, key: str) -> int | None:
        # Some firmwares count exported energy downwards from zero; a counter has no sign.
        value = self.number(key)
        return None if value is None else round(abs(value))

    def enum(self, key: str) -> str | None:
        found = self._find(key)
        if found is None:
            return None
        name = decode_enum(*found)
        if name is None:
            self._note(key)
        return name

    def alarms(self) -> tuple[str, ...]:
        keys = [key for key in self.profile.telemetry if key.startswith(ALARM_PREFIX)]
        return tuple(name for key in keys for name in self._bits(key))

    def _bits(self, key: str) -> tuple[str, ...]:
        found = self._find(key)
        if found is None:
            return ()
        if not is_available(*found):
            self._note(key)
            return ()
        return decode_bits(*found)

    def _find(self, key: str) -> tuple[Point, tuple[int, ...]] | None:
        name = self.profile.telemetry.get(key)
        if name is None:
            return None
        point = self.profile.points[name]
        registers = self.image.registers(point)
        if registers is None:
            self._note(key)
            return None
        return point, registers

    def _note(self, key: str) -> None:
        self.missing.append(self.profile.telemetry[key])


def to_telemetry(
    site_id: SiteId, measured_at: MonotonicS, profile: DeviceProfile, image: RegisterImage
) -> Telemetry:
    """Decode every mapped point; what is not available is None and named in ``missing``."""
    read = _Reader(profile, image)
    return Telemetry(
        site_id=site_id,
        measured_at=measured_at,
        soc_pct=read.number("soc_pct"),
        capacity_kwh=read.number("capacity_kwh"),
        active_power_kw=read.number("active_power_kw"),
        grid_power_kw=read.number("grid_power_kw"),
        temperature_c=read.number("temperature_c"),
        charge_limit_kw=read.number("charge_limit_kw"),
        discharge_limit_kw=read.number("discharge_limit_kw"),
        exported_wh=read.energy_wh("exported_wh"),
        imported_wh=read.energy_wh("imported_wh"),
        battery_status=read.enum("battery_status"),
        inverter_status=read.enum("inverter_status"),
        commanded_kw=_commanded_kw(read),
        alarms=read.alarms(),
        missing=tuple(read.missing),
    )


def _commanded_kw(read: _Reader) -> float | None:
    match read.enum("forced_command"):
        case "charge":
            power_kw = read.number("forced_charge_kw")
            return None if power_kw is None else 0.0 - power_kw
        case "discharge":
            return read.number("forced_discharge_kw")
        case _:
            return None
