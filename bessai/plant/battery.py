"""The one battery model: for the simulator, the training environment and back-tests.

Power is AC, in kW, + discharge. Energy is what the cells hold. Each way costs the square root of
the round-trip efficiency. Near full and near empty the allowed power falls linearly (taper), near
the temperature limits too (derating). A step is exact inside the taper and at the cut-offs, so
one step of an hour equals sixty of a minute while the temperature allows full power.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bessai.model import Bounds
from bessai.units import S_PER_HOUR


@dataclass(frozen=True, slots=True)
class BatteryParams:
    """Constants of one battery; defaults describe LFP home storage of 5 to 30 kWh.

    Attributes:
        capacity_kwh: Usable energy between 0 and 100 % SoC.
        max_charge_kw, max_discharge_kw: AC nameplate, positive; 0 forbids the direction.
        round_trip_efficiency_pct: AC to AC.
        soc_min_pct, soc_max_pct: Cut-offs; power never carries the SoC past them.
        standby_w: Constant loss taken from the cells.
        taper_band_pct: Width of the band above 0 % and below 100 % in which power falls.
        taper_floor: Share of the nameplate that is left at 0 % and at 100 %, in (0, 1].
        temperature_min_c, temperature_max_c: Outside there is no power.
        derating_band_c: Width of the band inside these limits in which power falls to 0.
        thermal_resistance_c_per_kw: Rise over ambient per kW of loss, at rest.
        thermal_time_constant_s: Of the first-order thermal model.
        ambient_c: Temperature of the surroundings.
    """

    capacity_kwh: float
    max_charge_kw: float
    max_discharge_kw: float
    round_trip_efficiency_pct: float = 90.0
    soc_min_pct: float = 0.0
    soc_max_pct: float = 100.0
    standby_w: float = 0.0
    taper_band_pct: float = 5.0
    taper_floor: float = 0.2
    temperature_min_c: float = -10.0
    temperature_max_c: float = 55.0
    derating_band_c: float = 5.0
    thermal_resistance_c_per_kw: float = 20.0
    thermal_time_constant_s: float = 3 * S_PER_HOUR
    ambient_c: float = 20.0

    def __post_init__(self) -> None:
        checks = {
            "capacity_kwh": self.capacity_kwh > 0,
            "max_charge_kw": self.max_charge_kw >= 0,
            "max_discharge_kw": self.max_discharge_kw >= 0,
            "round_trip_efficiency_pct": 0 < self.round_trip_efficiency_pct <= 100,
            "soc_min_pct": 0 <= self.soc_min_pct <= self.soc_max_pct <= 100,
            "standby_w": self.standby_w >= 0,
            "taper_band_pct": 0 <= self.taper_band_pct <= 50,
            "taper_floor": 0 < self.taper_floor <= 1,
            "derating_band_c": self.derating_band_c >= 0,
            "thermal_time_constant_s": self.thermal_time_constant_s > 0,
        }
        for name, good in checks.items():
            if not good:
                raise ValueError(f"{name} cannot be {getattr(self, name)}")

    @property
    def one_way_efficiency(self) -> float:
        """Share of the power that survives one conversion."""
        return math.sqrt(self.round_trip_efficiency_pct / 100.0)

    def energy_at_kwh(self, soc_pct: float) -> float:
        """Energy in the cells at a SoC."""
        return self.capacity_kwh * soc_pct / 100.0


@dataclass(frozen=True, slots=True)
class BatteryState:
    """What changes: energy in the cells and their temperature."""

    energy_kwh: float
    temperature_c: float

    @classmethod
    def at(cls, params: BatteryParams, soc_pct: float) -> BatteryState:
        """A battery at rest: ``soc_pct`` full and as warm as its surroundings."""
        return cls(params.energy_at_kwh(soc_pct), params.ambient_c)

    def soc_pct(self, params: BatteryParams) -> float:
        """State of charge, 0-100."""
        return min(max(100.0 * self.energy_kwh / params.capacity_kwh, 0.0), 100.0)


@dataclass(frozen=True, slots=True)
class _Room:
    """One direction of flow, seen from the empty side of its bucket.

    Attributes:
        kwh: Energy left to the physical end (full or empty).
        cutoff_kwh: Room at which the cut-off ends the flow.
        band_kwh: Room below which the taper acts.
        cells_per_ac: Energy moved in the cells per energy at the AC side.
        nameplate_kw: AC power allowed by nameplate and temperature.
        floor: Share of the nameplate left at no room.
    """

    kwh: float
    cutoff_kwh: float
    band_kwh: float
    cells_per_ac: float
    nameplate_kw: float
    floor: float

    def limit_kw(self) -> float:
        if self.kwh <= self.cutoff_kwh:
            return 0.0
        if self.kwh >= self.band_kwh:
            return self.nameplate_kw
        return self.nameplate_kw * (self.floor + (1 - self.floor) * self.kwh / self.band_kwh)

    def moved_kwh(self, wish_kw: float, hours: float) -> float:
        """Energy through the cells at the wished AC power, held back by taper and cut-off."""
        power_kw = min(wish_kw, self.nameplate_kw)
        if power_kw <= 0 or self.kwh <= self.cutoff_kwh:
            return 0.0
        knee_kwh = min(max(self._knee_kwh(power_kw), self.cutoff_kwh), self.kwh)
        constant_h = (self.kwh - knee_kwh) / (self.cells_per_ac * power_kw)
        if hours <= constant_h:
            return self.cells_per_ac * power_kw * hours
        return self.kwh - max(self._tapered(knee_kwh, hours - constant_h), self.cutoff_kwh)

    def _knee_kwh(self, power_kw: float) -> float:
        """Room at which the tapered limit falls below ``power_kw``."""
        share = power_kw / self.nameplate_kw
        if share <= self.floor:
            return 0.0
        return self.band_kwh * (share - self.floor) / (1 - self.floor)

    def _tapered(self, start_kwh: float, hours: float) -> float:
        """Room left: solves ``room' = -(a + b * room)``, the flow while the taper sets it."""
        full = self.cells_per_ac * self.nameplate_kw
        a, b = full * self.floor, full * (1 - self.floor) / max(self.band_kwh, 1e-12)
        if self.band_kwh <= 0 or b <= 0:
            return 0.0
        return (start_kwh + a / b) * math.exp(-b * hours) - a / b


def power_limits(state: BatteryState, params: BatteryParams) -> Bounds:
    """Power that taper, cut-offs and temperature allow at this instant."""
    charge = _charge_room(state, params).limit_kw()
    return Bounds(0.0 - charge, _discharge_room(state, params).limit_kw())


def temperature_factor(temperature_c: float, params: BatteryParams) -> float:
    """Share of the nameplate that the temperature allows, 0-1."""
    inside_c = min(
        temperature_c - params.temperature_min_c, params.temperature_max_c - temperature_c
    )
    if inside_c <= 0:
        return 0.0
    return 1.0 if inside_c >= params.derating_band_c else inside_c / params.derating_band_c


def step(
    state: BatteryState, params: BatteryParams, power_kw: float, dt_s: float
) -> tuple[BatteryState, float]:
    """Advance by ``dt_s`` seconds of the battery's own time.

    The temperature is the start's for the derating, and follows the exact exponential of a
    first-order model, so that it is stable for any ``dt_s``.

    Returns:
        The new state and the mean AC power over the step, + discharge: nearer to zero than
        ``power_kw`` where a limit held it back.

    Raises:
        ValueError: a negative time, or a power that is not finite.
    """
    if not (dt_s >= 0 and math.isfinite(dt_s) and math.isfinite(power_kw)):
        raise ValueError(f"cannot step {dt_s} s at {power_kw} kW")
    if dt_s == 0:
        return state, 0.0
    hours = dt_s / S_PER_HOUR
    moved_kwh, actual_kw = _flow(state, params, power_kw, hours)
    standby_kwh = params.standby_w / 1000.0 * hours
    energy = min(max(state.energy_kwh + moved_kwh - standby_kwh, 0.0), params.capacity_kwh)
    lost_kw = max(-actual_kw - moved_kwh / hours, 0.0)
    temperature = _temperature(state.temperature_c, params, lost_kw, dt_s)
    return BatteryState(energy, temperature), actual_kw


def _flow(
    state: BatteryState, params: BatteryParams, power_kw: float, hours: float
) -> tuple[float, float]:
    """Energy into the cells in kWh and mean AC power in kW."""
    charging = power_kw < 0
    room = _charge_room(state, params) if charging else _discharge_room(state, params)
    moved_kwh = room.moved_kwh(abs(power_kw), hours)
    mean_kw = min(moved_kwh / room.cells_per_ac / hours, abs(power_kw))  # rounding never adds
    return (moved_kwh, 0.0 - mean_kw) if charging else (0.0 - moved_kwh, mean_kw)


def _charge_room(state: BatteryState, params: BatteryParams) -> _Room:
    return _Room(
        kwh=params.capacity_kwh - state.energy_kwh,
        cutoff_kwh=params.energy_at_kwh(100.0 - params.soc_max_pct),
        band_kwh=params.energy_at_kwh(params.taper_band_pct),
        cells_per_ac=params.one_way_efficiency,
        nameplate_kw=params.max_charge_kw * temperature_factor(state.temperature_c, params),
        floor=params.taper_floor,
    )


def _discharge_room(state: BatteryState, params: BatteryParams) -> _Room:
    return _Room(
        kwh=state.energy_kwh,
        cutoff_kwh=params.energy_at_kwh(params.soc_min_pct),
        band_kwh=params.energy_at_kwh(params.taper_band_pct),
        cells_per_ac=1.0 / params.one_way_efficiency,
        nameplate_kw=params.max_discharge_kw * temperature_factor(state.temperature_c, params),
        floor=params.taper_floor,
    )


def _temperature(start_c: float, params: BatteryParams, lost_kw: float, dt_s: float) -> float:
    settled_c = params.ambient_c + params.thermal_resistance_c_per_kw * lost_kw
    decay = math.exp(-dt_s / params.thermal_time_constant_s)
    return settled_c + (start_c - settled_c) * decay
