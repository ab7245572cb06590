"""What faults put into the registers of a device, checked against its profile."""

from __future__ import annotations

from bessai.config.profile import BITFIELDS, DeviceProfile
from bessai.errors import ConfigError
from bessai.sim.faults import Fault, FaultKind, Faults


def overlay(profile: DeviceProfile, faults: Faults) -> dict[str, int]:
    """Raw values by point that cover what the device would show.

    Raises:
        ConfigError: the profile has no such alarm, no guarded registers, or no such point.
    """
    for name in sorted(faults.points(FaultKind.STUCK)):
        _check_stuck(profile, name)
    return {**_meter_offline(profile, faults), **_alarms(profile, faults)}


def _meter_offline(profile: DeviceProfile, faults: Faults) -> dict[str, int]:
    if FaultKind.METER_OFFLINE not in faults:
        return {}
    if not profile.guards:
        raise ConfigError(
            f"profile {profile.name} has no registers that go offline",
            field="fault",
            value=FaultKind.METER_OFFLINE.value,
        )
    return {guard.requires: int(guard.equals == 0) for guard in profile.guards}


def _alarms(profile: DeviceProfile, faults: Faults) -> dict[str, int]:
    raised: dict[str, int] = {}
    for fault in faults:
        if fault.kind is FaultKind.ALARM:
            _check_alarm(profile, fault)
            raised[fault.point] = raised.get(fault.point, 0) | 1 << int(fault.amount)
    return raised


def _check_alarm(profile: DeviceProfile, fault: Fault) -> None:
    point = profile.points.get(fault.point)
    if point is None or point.type not in BITFIELDS or fault.amount >= 16 * point.count:
        known = [name for name, other in profile.points.items() if other.type in BITFIELDS]
        raise ConfigError(
            f"profile {profile.name} has no such bit",
            field="fault",
            value=str(fault),
            fix=f"use a bit of {', '.join(known) or 'another profile'}",
        )


def _check_stuck(profile: DeviceProfile, name: str) -> None:
    if name not in profile.simulation.shows:
        raise ConfigError(
            f"profile {profile.name} measures no such point",
            field="fault",
            value=f"{FaultKind.STUCK}:{name}",
            fix=f"use one of {', '.join(profile.simulation.shows)}",
        )
