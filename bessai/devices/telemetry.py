"""From registers to one Telemetry, as the profile's ``telemetry`` section maps them."""

from __future__ import annotations

from bessai.config.profile import (
    ALARM_PREFIX,
    FAST_KEYS,
    NUMBER_UNITS,
    CommandInForce,
    DeviceProfile,
    Point,
    Refresh,
)
from bessai.devices.codec import convert
from bessai.devices.reading import Reading
from bessai.errors import ConfigError, DeviceError
from bessai.model import SiteId, Telemetry
from bessai.units import MonotonicS


def check_units(profile: DeviceProfile) -> None:
    """Refuse a profile whose units do not lead to what telemetry and programs need.

    Raises:
        ConfigError: names the point.
    """
    for key, wanted in profile.telemetry.items():
        if key in NUMBER_UNITS and not wanted.product:
            for name in wanted.points:
                _check_unit(profile, name, NUMBER_UNITS[key], f"telemetry.{key}")
    for state in profile.commanded:
        if state.point is not None:
            _check_unit(profile, state.point, "%" if state.percent_of else "kW", "commanded")
        if state.percent_of is not None:
            _check_unit(profile, state.percent_of, "kW", "commanded")


def poll_points(profile: DeviceProfile) -> tuple[dict[str, Point], dict[str, Point]]:
    """Points that a control cycle needs: those of every cycle, and those that may be older."""
    fast: dict[str, Point] = {}
    slow: dict[str, Point] = {}
    for name, is_fast in _used(profile):
        point = profile.points[name]
        if not point.readable:
            continue
        wanted = is_fast if point.refresh is None else point.refresh is Refresh.FAST
        group = fast if wanted else slow
        group[name] = point
        if point.scale_factor is not None:
            # As old as the value, or a factor that changes makes ten times the power of it.
            group[point.scale_factor] = profile.points[point.scale_factor]
    for guard in profile.guards:
        fast[guard.requires] = profile.points[guard.requires]
    for name in (*_needed_to_command(profile), *commanded_models(profile)):
        slow[name] = profile.points[name]
    return fast, {name: point for name, point in slow.items() if name not in fast}


def watched_points(profile: DeviceProfile, state: CommandInForce | None) -> frozenset[str]:
    """Slow points that tell whether another command is in force than ``state``.

    They are read in every second cycle, so that a foreign command is seen within two. The power
    of a state that is not in force does not matter.
    """
    _, slow = poll_points(profile)
    names = {name for known in profile.commanded for name in known.when}
    names.update(() if state is None else state.points)
    scales = {profile.points[name].scale_factor for name in names}
    return frozenset(name for name in slow if name in names or name in scales)


def commanded_models(profile: DeviceProfile) -> dict[str, int]:
    """ID registers of the SunSpec models that programs write to, with the IDs they must hold.

    A device may build another chain while the connection stays, e.g. when somebody switches a
    Fronius from float to integer models; a write would then hit another register.
    """
    steps = (step for program in profile.programs.values() for step in program.steps)
    models = {model for step in steps if (model := profile.points[step.point].model) is not None}
    names = {f"m{model}.ID": model for model in models}
    return {name: model for name, model in names.items() if name in profile.points}


def to_telemetry(
    site_id: SiteId, measured_at: MonotonicS, profile: DeviceProfile, reading: Reading
) -> Telemetry:
    """Decode every mapped field; what is not available is None and named in ``missing``.

    Args:
        site_id: Whose device it is.
        measured_at: Control time of the read.
        profile: Maps the fields.
        reading: Of the profile's points.
    """
    missing: list[str] = []

    def number(key: str) -> float | None:
        wanted = profile.telemetry.get(key)
        if wanted is None:
            return None
        value = reading.value(wanted, NUMBER_UNITS[key])
        if value is None:
            missing.append(_shown(wanted.points))
        return value

    def energy_wh(key: str) -> int | None:
        # Some firmwares count exported energy downwards from zero; a counter has no sign.
        value = number(key)
        return None if value is None else round(abs(value))

    def enum(key: str) -> str | None:
        wanted = profile.telemetry.get(key)
        if wanted is None:
            return None
        found = next((name for p in wanted.any_of if (name := reading.enum(p)) is not None), None)
        if found is None:
            missing.append(_shown(wanted.points))
        return found

    return Telemetry(
        site_id=site_id,
        measured_at=measured_at,
        soc_pct=number("soc_pct"),
        capacity_kwh=number("capacity_kwh"),
        active_power_kw=number("active_power_kw"),
        grid_power_kw=number("grid_power_kw"),
        temperature_c=number("temperature_c"),
        charge_limit_kw=number("charge_limit_kw"),
        discharge_limit_kw=number("discharge_limit_kw"),
        exported_wh=energy_wh("exported_wh"),
        imported_wh=energy_wh("imported_wh"),
        battery_status=enum("battery_status"),
        inverter_status=enum("inverter_status"),
        commanded_kw=reading.commanded_kw(profile.commanded),
        soh_pct=number("soh_pct"),
        pv_power_kw=number("pv_power_kw"),
        alarms=_alarms(profile, reading, missing),
        missing=tuple(missing),
    )


def _alarms(profile: DeviceProfile, reading: Reading, missing: list[str]) -> tuple[str, ...]:
    found: list[str] = []
    for key, wanted in profile.telemetry.items():
        if not key.startswith(ALARM_PREFIX):
            continue
        bits = next((b for name in wanted.any_of if (b := reading.bits(name)) is not None), None)
        if bits is None:
            missing.append(_shown(wanted.points))
        else:
            found.extend(bits)
    return tuple(found)


def _used(profile: DeviceProfile) -> list[tuple[str, bool]]:
    used = [
        (n, key in FAST_KEYS) for key, wanted in profile.telemetry.items() for n in wanted.points
    ]
    return used + [(name, True) for state in profile.commanded for name in state.points]


def _needed_to_command(profile: DeviceProfile) -> set[str]:
    """What programs write, so that only changes are written, and what their powers refer to."""
    needed: set[str] = set()
    for program in profile.programs.values():
        for step in program.steps:
            for name in (step.point, step.percent_of):
                if name is None:
                    continue
                point = profile.points[name]
                if point.scale_factor is not None:
                    needed.add(point.scale_factor)
                if point.readable:
                    needed.add(name)
    return needed


def _shown(names: tuple[str, ...]) -> str:
    return " + ".join(names)


def _check_unit(profile: DeviceProfile, name: str, unit: str, where: str) -> None:
    try:
        convert(1.0, profile.points[name].unit, unit)
    except DeviceError as error:
        raise ConfigError(
            error.message, field=f"{profile.name}: {where}: {name}", fix=error.fix
        ) from None
