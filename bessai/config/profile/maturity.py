"""What was verified of a family, and how; and what its simulated twin shows."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from bessai.config.base import ConfigModel


class Evidence(StrEnum):
    """How something was verified, weakest first."""

    NONE = "none"
    DOCUMENTED = "documented"
    SIMULATOR = "simulator"
    THIRD_PARTY = "third party"
    HARDWARE = "hardware"


class Maturity(ConfigModel):
    """The checklist of a family; the table in ``docs/reference/devices.md`` is made from it.

    Attributes:
        reading: Values, units and signs.
        control: Charge, discharge, hold and release.
        dead_man: The device ends a command by itself.
        persistence: Which registers are stored.
        notes: What a person who commissions a site must know.
    """

    reading: Evidence
    control: Evidence
    dead_man: Evidence
    persistence: Evidence
    notes: str


class Quantity(StrEnum):
    """What a simulated device can show; powers in W, + discharge, export and PV production."""

    BATTERY_POWER_W = "battery_power_w"
    CHARGE_POWER_W = "charge_power_w"
    DISCHARGE_POWER_W = "discharge_power_w"
    AC_POWER_W = "ac_power_w"
    AC_PHASE_POWER_W = "ac_phase_power_w"
    AC_PHASE_CURRENT_A = "ac_phase_current_a"
    AC_CURRENT_A = "ac_current_a"
    PV_POWER_W = "pv_power_w"
    LOAD_POWER_W = "load_power_w"
    GRID_POWER_W = "grid_power_w"
    EXPORT_POWER_W = "export_power_w"
    IMPORT_POWER_W = "import_power_w"
    GRID_PHASE_POWER_W = "grid_phase_power_w"
    GRID_PHASE_CURRENT_A = "grid_phase_current_a"
    PHASE_VOLTAGE_V = "phase_voltage_v"
    LINE_VOLTAGE_V = "line_voltage_v"
    FREQUENCY_HZ = "frequency_hz"
    BUS_VOLTAGE_V = "bus_voltage_v"
    BATTERY_CURRENT_A = "battery_current_a"
    SOC_PCT = "soc_pct"
    SOH_PCT = "soh_pct"
    TEMPERATURE_C = "temperature_c"
    CAPACITY_WH = "capacity_wh"
    STORED_ENERGY_WH = "stored_energy_wh"
    CHARGE_LIMIT_W = "charge_limit_w"
    DISCHARGE_LIMIT_W = "discharge_limit_w"
    CHARGE_LIMIT_A = "charge_limit_a"
    DISCHARGE_LIMIT_A = "discharge_limit_a"
    EXPORTED_WH = "exported_wh"
    IMPORTED_WH = "imported_wh"
    CHARGED_WH = "charged_wh"
    DISCHARGED_WH = "discharged_wh"
    DAY_CHARGED_WH = "day_charged_wh"
    DAY_DISCHARGED_WH = "day_discharged_wh"
    YIELD_WH = "yield_wh"


class States(ConfigModel):
    """An enum point that follows what the battery does: raw values."""

    idle: int
    charging: int
    discharging: int


class Simulation(ConfigModel):
    """What the simulated twin shows besides what is written to it.

    Attributes:
        values: Constants by point: a number in the point's unit, or a text.
        shows: Quantities by point; the simulator converts to the point's unit.
        states: Enum points that follow the battery.
        forced: Enum points that follow whether a forced command is in force: raw values
            ``[own mode, forced]``.
        absent: Points that always read "not available", e.g. of a second battery.
        bridged_gap: Widest run of undocumented registers that the device answers with 0.
        ceilings: Writable points that may not exceed the value of another point.
        timer_rest: Point in s or min that counts down to the end of a forced command.
    """

    values: dict[str, float | str] = Field(default_factory=dict)
    shows: dict[str, Quantity] = Field(default_factory=dict)
    states: dict[str, States] = Field(default_factory=dict)
    forced: dict[str, tuple[int, int]] = Field(default_factory=dict)
    absent: tuple[str, ...] = ()
    bridged_gap: int | None = Field(default=None, ge=0)
    ceilings: dict[str, str] = Field(default_factory=dict)
    timer_rest: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        groups = (self.values, self.shows, self.states, self.forced, self.absent)
        names = [name for group in groups for name in group]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"point {twice[0]!r} is shown twice; keep one")
        return self

    @property
    def points(self) -> tuple[str, ...]:
        """All points named."""
        rest = () if self.timer_rest is None else (self.timer_rest,)
        more = (*self.ceilings, *self.ceilings.values(), *rest)
        return (*self.values, *self.shows, *self.states, *self.forced, *self.absent, *more)
