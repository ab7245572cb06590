"""One read of a site, and the limits its owner set."""

from __future__ import annotations

from dataclasses import dataclass

from bessai.model.ids import SiteId
from bessai.units import MonotonicS


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What the inverter says it is; an unknown text is empty."""

    model: str
    serial_number: str
    firmware: str


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One complete read of one site; None is "not available", never a made-up number.

    Attributes:
        measured_at: Control time at which the first register was read; values that move slowly
            may be up to the profile's ``slow_s`` older.
        soc_pct: State of charge, 0-100.
        capacity_kwh: Usable capacity the device reports.
        active_power_kw: Battery power at the AC side, + discharge.
        grid_power_kw: Meter power, + export.
        temperature_c: Battery temperature.
        charge_limit_kw: Most the device can charge now, as a positive number.
        discharge_limit_kw: Most the device can discharge now.
        exported_wh, imported_wh: Lifetime meter counters at the grid connection.
        battery_status, inverter_status: Profile's enum names; ``unknown(n)`` if not listed.
        commanded_kw: Power that the device's forced-command registers hold now, + discharge;
            None where no forced command is active.
        soh_pct: State of health, 0-100.
        pv_power_kw: Power of the site's own PV, where the inverter reports it.
        alarms: Names of active alarms.
        missing: Names of points that were read but not available.
    """

    site_id: SiteId
    measured_at: MonotonicS
    soc_pct: float | None
    capacity_kwh: float | None
    active_power_kw: float | None
    grid_power_kw: float | None
    temperature_c: float | None
    charge_limit_kw: float | None
    discharge_limit_kw: float | None
    exported_wh: int | None
    imported_wh: int | None
    battery_status: str | None
    inverter_status: str | None
    commanded_kw: float | None
    soh_pct: float | None = None
    pv_power_kw: float | None = None
    alarms: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """What the site file allows; never wider than the device profile.

    Attributes:
        capacity_kwh: Usable energy; None takes what the device reports.
        max_charge_kw, max_discharge_kw: Positive numbers.
        soc_min_pct, soc_max_pct: Normal band.
        temperature_min_c, temperature_max_c: Outside: no power at all.
        export_limit_kw, import_limit_kw: Grid connection, positive numbers; inf is no limit.
        round_trip_efficiency_pct: AC to AC, used to look ahead.
        ramp_kw_per_s: Fastest growth of power; shrinking is free.
        max_age_s: Telemetry older than this is stale.
        battery_ready, inverter_ready: Status names in which the battery may be used; None takes
            those of the SUN2000.
        not_offered: Telemetry fields that the device cannot tell and the owner does without.
        charge_derating, discharge_derating: Points ``(temperature in °C, share of the nameplate)``
            with rising temperature; None falls to 0 over the last 5 K before a limit.
        backup_reserve_pct: State of charge below which nothing may be discharged.
    """

    capacity_kwh: float | None
    max_charge_kw: float
    max_discharge_kw: float
    soc_min_pct: float
    soc_max_pct: float
    temperature_min_c: float
    temperature_max_c: float
    export_limit_kw: float
    import_limit_kw: float
    round_trip_efficiency_pct: float
    ramp_kw_per_s: float
    max_age_s: float
    battery_ready: frozenset[str] | None = None
    inverter_ready: frozenset[str] | None = None
    not_offered: frozenset[str] = frozenset()
    charge_derating: tuple[tuple[float, float], ...] | None = None
    discharge_derating: tuple[tuple[float, float], ...] | None = None
    backup_reserve_pct: float = 0.0

    @property
    def soc_floor_pct(self) -> float:
        """No discharge at or below this state of charge: band or reserve, the higher one."""
        return max(self.soc_min_pct, self.backup_reserve_pct)
