"""What a simulator process is told: a JSON file, checked before a port is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from bessai.config.base import ConfigModel
from bessai.config.load import parse
from bessai.config.site import SITE_ID_PATTERN
from bessai.errors import ConfigError
from bessai.model import MarketClock, SiteId
from bessai.sim.faults import Fault

__all__ = ["ClockSpec", "Fault", "InverterSpec", "SimSpec", "WitnessSpec", "load_spec"]


class ClockSpec(ConfigModel):
    """Market time of the simulation, as :class:`bessai.model.MarketClock` has it."""

    market_start: AwareDatetime
    wall_start: AwareDatetime
    speed: float = Field(gt=0)

    def to_clock(self) -> MarketClock:
        """The clock as a domain value."""
        return MarketClock(self.market_start, self.wall_start, self.speed)

    @classmethod
    def from_clock(cls, clock: MarketClock) -> ClockSpec:
        """The wire form of a clock."""
        return cls(market_start=clock.market_start, wall_start=clock.wall_start, speed=clock.speed)


class WitnessSpec(ConfigModel):
    """Limits by which the simulator judges what its battery does; it never enforces them.

    They come from whoever starts the simulator, not from the site that is judged.

    Attributes:
        soc_min_pct, soc_max_pct: Of the true state of charge, not of the one that is reported.
        max_charge_kw, max_discharge_kw: AC power of the battery, positive.
        export_limit_kw, import_limit_kw: At the meter, positive.
        max_ramp_kw_per_s: How fast the magnitude of the power may grow, in real seconds.
        ramp_burst_s: Growth of so many seconds may come at once, as a loop commands in steps.
    """

    soc_min_pct: float | None = Field(default=None, ge=0, le=100)
    soc_max_pct: float | None = Field(default=None, ge=0, le=100)
    max_charge_kw: float | None = Field(default=None, ge=0)
    max_discharge_kw: float | None = Field(default=None, ge=0)
    export_limit_kw: float | None = Field(default=None, ge=0)
    import_limit_kw: float | None = Field(default=None, ge=0)
    max_ramp_kw_per_s: float | None = Field(default=None, gt=0)
    ramp_burst_s: float = Field(default=2.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.soc_min_pct, self.soc_max_pct
        if low is not None and high is not None and low > high:
            raise ValueError(f"soc_min_pct {low:g} is above soc_max_pct {high:g}; swap them")
        return self


class InverterSpec(ConfigModel):
    """One simulated inverter with its battery; port 0 takes a free one.

    Attributes:
        unit_id: None for the profile's first one.
        pv_kw, load_kw: Constant production and consumption beside the battery.
        ramp_kw_per_s: How fast the power follows, in real seconds; None at once.
        minute_s: Real length of one minute of the device's own timer; short ones speed up tests.
        witness: What the simulator judges the battery by; None counts nothing.
        journal_entries: Most entries that each log of the device keeps.
    """

    site_id: str = Field(pattern=SITE_ID_PATTERN)
    port: int = Field(default=0, ge=0, le=65535)
    unit_id: int | None = Field(default=None, ge=0, le=255)
    profile: str = "huawei_sun2000"
    capacity_kwh: float = Field(gt=0)
    max_charge_kw: float = Field(gt=0)
    max_discharge_kw: float = Field(gt=0)
    soc_pct: float = Field(default=50.0, ge=0, le=100)
    ambient_c: float = Field(default=20.0, ge=-40, le=70)
    round_trip_efficiency_pct: float = Field(default=90.0, gt=0, le=100)
    pv_kw: float = Field(default=0.0, ge=0)
    load_kw: float = Field(default=0.0, ge=0)
    ramp_kw_per_s: float | None = Field(default=None, gt=0)
    minute_s: float = Field(default=60.0, gt=0)
    witness: WitnessSpec | None = None
    journal_entries: int = Field(default=4096, ge=1, le=1_000_000)

    @property
    def id(self) -> SiteId:
        """The site id as its own type."""
        return SiteId(self.site_id)


class SimSpec(ConfigModel):
    """A whole simulator process."""

    clock: ClockSpec
    inverters: tuple[InverterSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = [inverter.site_id for inverter in self.inverters]
        ports = [str(inverter.port) for inverter in self.inverters if inverter.port]
        for name, values in (("site_id", ids), ("port", ports)):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"{name} {', '.join(twice)} is used twice; give each its own")
        return self


def load_spec(path: Path) -> SimSpec:
    """Read a spec file.

    Raises:
        ConfigError: one line about the first mistake.
    """
    try:
        data: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read as JSON ({error})", field=str(path)) from None
    return parse(SimSpec, data, path.name)
