"""One site of a fleet file."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from bessai.config.base import ConfigModel
from bessai.config.profile import DeviceProfile
from bessai.errors import ConfigError
from bessai.model import SiteId, SiteLimits

STOP_S: Final = 8.0
STOP_WITHOUT_DEAD_MAN_S: Final = 28.0
Dispensable = Literal["temperature_c", "battery_status", "inverter_status"]
"""Telemetry that some families do not offer; a site must accept its absence by name."""

DeratingCurve = Annotated[
    tuple[tuple[float, Annotated[float, Field(ge=0, le=1)]], ...], Field(min_length=2)
]
"""Points ``[temperature in °C, share of the nameplate]``."""

SITE_ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class BatteryConfig(ConfigModel):
    """Limits of one battery; the defaults are cautious values for LFP home storage.

    ``capacity_kwh`` left out takes what the device reports. A derating curve left out falls to 0
    over the last 5 K before each temperature limit.
    """

    capacity_kwh: float | None = Field(default=None, gt=0)
    max_charge_kw: float = Field(gt=0)
    max_discharge_kw: float = Field(gt=0)
    soc_min_pct: float = Field(default=10.0, ge=0, le=100)
    soc_max_pct: float = Field(default=95.0, ge=0, le=100)
    backup_reserve_pct: float = Field(default=0.0, ge=0, le=100)
    temperature_min_c: float = 0.0
    temperature_max_c: float = 50.0
    charge_derating: DeratingCurve | None = None
    discharge_derating: DeratingCurve | None = None
    round_trip_efficiency_pct: float = Field(default=90.0, gt=0, le=100)
    wear_cost_per_mwh: float = Field(default=10.0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.soc_min_pct >= self.soc_max_pct:
            raise ValueError(
                f"soc_min_pct {self.soc_min_pct:g} must be below soc_max_pct {self.soc_max_pct:g}"
            )
        if self.backup_reserve_pct >= self.soc_max_pct:
            raise ValueError(
                f"backup_reserve_pct {self.backup_reserve_pct:g} must be below "
                f"soc_max_pct {self.soc_max_pct:g}"
            )
        if self.temperature_min_c >= self.temperature_max_c:
            raise ValueError(
                f"temperature_min_c {self.temperature_min_c:g} must be below "
                f"temperature_max_c {self.temperature_max_c:g}"
            )
        return self

    @field_validator("charge_derating", "discharge_derating")
    @classmethod
    def _rising(cls, curve: DeratingCurve | None) -> DeratingCurve | None:
        for (before_c, _), (after_c, _) in pairwise(curve or ()):
            if before_c >= after_c:
                raise ValueError(
                    f"temperatures must rise from point to point, {after_c:g} follows {before_c:g}"
                )
        return curve


class TlsConfig(ConfigModel):
    """Modbus/TCP Security: PEM files; relative paths count from the fleet file's folder.

    ``server_name`` is the name in the device's certificate, where it is not ``host``.
    """

    ca_file: Path
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None


class LoginConfig(ConfigModel):
    """For devices that want a login before a write; the password is the file's first line."""

    user: str = "installer"
    password_file: Path


class SiteConfig(ConfigModel):
    """One site: where its inverter is and what its battery may do.

    ``export_limit_kw`` and ``import_limit_kw`` are limits of the grid connection; left out,
    the connection sets none, and other loads or PV of the site do not narrow the battery.
    """

    id: str = Field(pattern=SITE_ID_PATTERN)
    profile: str = "huawei_sun2000"
    host: str = Field(min_length=1)
    port: int | None = Field(default=None, ge=1, le=65535)
    unit_id: int | None = Field(default=None, ge=0, le=255)
    battery: BatteryConfig
    export_limit_kw: float | None = Field(default=None, ge=0)
    import_limit_kw: float | None = Field(default=None, ge=0)
    ramp_kw_per_s: float | None = Field(default=None, gt=0)
    cycle_s: float = Field(default=1.0, ge=0.2, le=5.0)
    max_age_s: float = Field(default=10.0, gt=0, le=10.0)
    accept_no_dead_man: bool = False
    accept_missing: tuple[Dispensable, ...] = ()
    write_budget_per_day: int | None = Field(default=None, ge=1)
    local_policy: str | None = None
    foreign_writes: Literal["reassert", "yield", "alarm"] = "reassert"
    intrusion: Literal["off", "alarm", "freeze"] = "alarm"
    decisions_mb: int = Field(default=64, ge=1, le=4096)
    tls: TlsConfig | None = None
    login: LoginConfig | None = None
    ray_resource: str | None = None

    @property
    def site_id(self) -> SiteId:
        """The id as its own type."""
        return SiteId(self.id)

    @property
    def stop_deadline_s(self) -> float:
        """Real seconds the site may take to give its inverter back.

        A device that would keep its command for ever is asked longer to let go.
        """
        return STOP_WITHOUT_DEAD_MAN_S if self.accept_no_dead_man else STOP_S

    def limits(self, profile: DeviceProfile | None = None) -> SiteLimits:
        """The limits as the safety core wants them, with the ready states of ``profile``."""
        ready = None if profile is None else profile.ready
        battery = self.battery
        peak_kw = max(battery.max_charge_kw, battery.max_discharge_kw)
        return SiteLimits(
            capacity_kwh=battery.capacity_kwh,
            max_charge_kw=battery.max_charge_kw,
            max_discharge_kw=battery.max_discharge_kw,
            soc_min_pct=battery.soc_min_pct,
            soc_max_pct=battery.soc_max_pct,
            temperature_min_c=battery.temperature_min_c,
            temperature_max_c=battery.temperature_max_c,
            export_limit_kw=math.inf if self.export_limit_kw is None else self.export_limit_kw,
            import_limit_kw=math.inf if self.import_limit_kw is None else self.import_limit_kw,
            round_trip_efficiency_pct=battery.round_trip_efficiency_pct,
            ramp_kw_per_s=self._ramp_kw_per_s(peak_kw, profile),
            max_age_s=self.max_age_s,
            battery_ready=None if ready is None else frozenset(ready.battery_status),
            inverter_ready=None if ready is None else frozenset(ready.inverter_status),
            not_offered=frozenset(self.accept_missing),
            charge_derating=battery.charge_derating,
            discharge_derating=battery.discharge_derating,
            backup_reserve_pct=battery.backup_reserve_pct,
        )

    def _ramp_kw_per_s(self, peak_kw: float, profile: DeviceProfile | None) -> float:
        """By default the peak power in a second; in one cycle where each step wears memory out."""
        if self.ramp_kw_per_s is not None:
            return self.ramp_kw_per_s
        wears = profile is not None and profile.power_wears
        return peak_kw / min(1.0, self.cycle_s) if wears else peak_kw

    def check_against(self, profile: DeviceProfile, field: str) -> None:
        """Refuse limits wider than the profile's.

        Raises:
            ConfigError: names the first field that is too wide.
        """
        allowed, battery = profile.limits, self.battery
        upper = ("max_charge_kw", "max_discharge_kw", "soc_max_pct", "temperature_max_c")
        for name in (*upper, "soc_min_pct", "temperature_min_c"):
            value, limit = float(getattr(battery, name)), float(getattr(allowed, name))
            word = "at most" if name in upper else "at least"
            if (value > limit) if name in upper else (value < limit):
                raise ConfigError(
                    f"is outside what profile {profile.name} allows",
                    field=f"{field}.battery.{name}",
                    value=f"{value:g}",
                    fix=f"set {word} {limit:g}",
                )
        if not profile.controllable:
            raise ConfigError(
                f"profile {profile.name} is for monitoring only: the family takes no power command",
                field=f"{field}.profile",
                value=repr(self.profile),
                fix="see docs/reference/devices.md for families that can be controlled",
            )
        if self.ramp_kw_per_s is not None and profile.power_wears:
            raise ConfigError(
                f"profile {profile.name} writes each power to memory that may wear out",
                field=f"{field}.ramp_kw_per_s",
                value=f"{self.ramp_kw_per_s:g}",
                fix="remove it: a ramp takes many writes",
            )
        if self.login is not None and profile.connection.login is None:
            raise ConfigError(
                f"profile {profile.name} knows no login", field=f"{field}.login", fix="remove it"
            )
        for name in get_args(Dispensable):
            if name not in profile.telemetry and name not in self.accept_missing:
                raise ConfigError(
                    f"profile {profile.name} cannot tell {name}",
                    field=f"{field}.accept_missing",
                    value=str(list(self.accept_missing)),
                    fix=f"add {name} to accept that this check is left to the device itself",
                )
        if profile.dead_man is None and not self.accept_no_dead_man:
            raise ConfigError(
                f"profile {profile.name} has no dead-man timer on the device",
                field=f"{field}.accept_no_dead_man",
                value="false",
                fix="set it to true to accept that a crash leaves the last command in force",
            )
