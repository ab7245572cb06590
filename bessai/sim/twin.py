"""What the registers of a simulated device show: the profile's ``simulation`` section at work.

The battery is coupled to the DC side, so the inverter's AC power is PV plus battery, and the meter
sees that less the load.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from bessai.config.profile import (
    SIGNED,
    DeviceProfile,
    Point,
    PointType,
    Quantity,
    Space,
    States,
)
from bessai.devices.codec import convert
from bessai.errors import ConfigError, DeviceError
from bessai.sim.bank import RegisterBank
from bessai.units import S_PER_HOUR, W_PER_KW, WH_PER_KWH

MAINS_V: Final = 230.0
MAINS_HZ: Final = 50.0
BUS_V: Final = 360.0
_PHASES: Final = 3
_MOST_PARTS: Final = 256
_BASE_UNITS: Final = {
    "w": "W",
    "wh": "Wh",
    "a": "A",
    "v": "V",
    "hz": "Hz",
    "pct": "%",
    "c": "degC",
}
"""Units of the quantities, by the last part of their names."""


@dataclass(frozen=True, slots=True)
class Flows:
    """Powers in kW at one instant, or their means: + is discharge, production, consumption."""

    battery_kw: float
    pv_kw: float
    load_kw: float

    @property
    def ac_kw(self) -> float:
        """The inverter's AC side, + out of it."""
        return self.pv_kw + self.battery_kw

    @property
    def grid_kw(self) -> float:
        """The meter, + export."""
        return self.ac_kw - self.load_kw


@dataclass(slots=True)
class Books:
    """Energy counted since the start, in kWh."""

    exported_kwh: float = 0.0
    imported_kwh: float = 0.0
    charged_kwh: float = 0.0
    discharged_kwh: float = 0.0
    yield_kwh: float = 0.0

    def add(self, mean: Flows, seconds: float) -> None:
        """Count ``seconds`` of the site's own time at these mean powers."""
        hours = seconds / S_PER_HOUR
        self.exported_kwh += max(mean.grid_kw, 0.0) * hours
        self.imported_kwh += max(-mean.grid_kw, 0.0) * hours
        self.charged_kwh += max(-mean.battery_kw, 0.0) * hours
        self.discharged_kwh += max(mean.battery_kw, 0.0) * hours
        self.yield_kwh += max(mean.ac_kw, 0.0) * hours


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the registers follow.

    Attributes:
        flows: Powers now.
        books: Energy so far.
        day_charged_kwh, day_discharged_kwh: Energy of the running day.
        charge_limit_kw, discharge_limit_kw: What the battery could do now.
        forced: Whether a forced command is in force.
    """

    flows: Flows
    books: Books
    day_charged_kwh: float
    day_discharged_kwh: float
    soc_pct: float
    capacity_kwh: float
    temperature_c: float
    charge_limit_kw: float
    discharge_limit_kw: float
    forced: bool

    def quantities(self) -> dict[Quantity, float]:
        """The closed list, in W, Wh, V, A, Hz, % and degC."""
        q, w, wh = Quantity, W_PER_KW, WH_PER_KWH
        battery_w, pv_w, load_w = (
            self.flows.battery_kw * w,
            self.flows.pv_kw * w,
            self.flows.load_kw * w,
        )
        ac_w, grid_w = self.flows.ac_kw * w, self.flows.grid_kw * w
        charge_w, discharge_w = self.charge_limit_kw * w, self.discharge_limit_kw * w
        return {
            q.BATTERY_POWER_W: battery_w,
            q.CHARGE_POWER_W: max(-battery_w, 0.0),
            q.DISCHARGE_POWER_W: max(battery_w, 0.0),
            q.AC_POWER_W: ac_w,
            q.AC_PHASE_POWER_W: ac_w / _PHASES,
            q.AC_PHASE_CURRENT_A: ac_w / _PHASES / MAINS_V,
            q.AC_CURRENT_A: ac_w / MAINS_V,
            q.PV_POWER_W: pv_w,
            q.LOAD_POWER_W: load_w,
            q.GRID_POWER_W: grid_w,
            q.EXPORT_POWER_W: max(grid_w, 0.0),
            q.IMPORT_POWER_W: max(-grid_w, 0.0),
            q.GRID_PHASE_POWER_W: grid_w / _PHASES,
            q.GRID_PHASE_CURRENT_A: grid_w / _PHASES / MAINS_V,
            q.PHASE_VOLTAGE_V: MAINS_V,
            q.LINE_VOLTAGE_V: MAINS_V * math.sqrt(_PHASES),
            q.FREQUENCY_HZ: MAINS_HZ,
            q.BUS_VOLTAGE_V: BUS_V,
            q.BATTERY_CURRENT_A: battery_w / BUS_V,
            q.SOC_PCT: self.soc_pct,
            q.SOH_PCT: 100.0,
            q.TEMPERATURE_C: self.temperature_c,
            q.CAPACITY_WH: self.capacity_kwh * wh,
            q.STORED_ENERGY_WH: self.capacity_kwh * wh * self.soc_pct / 100.0,
            q.CHARGE_LIMIT_W: charge_w,
            q.DISCHARGE_LIMIT_W: discharge_w,
            q.CHARGE_LIMIT_A: charge_w / BUS_V,
            q.DISCHARGE_LIMIT_A: discharge_w / BUS_V,
            q.EXPORTED_WH: self.books.exported_kwh * wh,
            q.IMPORTED_WH: self.books.imported_kwh * wh,
            q.CHARGED_WH: self.books.charged_kwh * wh,
            q.DISCHARGED_WH: self.books.discharged_kwh * wh,
            q.DAY_CHARGED_WH: self.day_charged_kwh * wh,
            q.DAY_DISCHARGED_WH: self.day_discharged_kwh * wh,
            q.YIELD_WH: self.books.yield_kwh * wh,
        }


@dataclass(frozen=True, slots=True)
class _Shown:
    name: str
    quantity: Quantity
    factor: float
    magnitude: bool


@dataclass(frozen=True, slots=True)
class Part:
    """Points that follow the site, all or those that somebody asks for."""

    measured: tuple[_Shown, ...]
    states: tuple[tuple[str, States], ...]
    forced: tuple[tuple[str, tuple[int, int]], ...]

    def only(self, names: Container[str]) -> Part:
        """Those of them with these names."""
        return Part(
            tuple(shown for shown in self.measured if shown.name in names),
            tuple(item for item in self.states if item[0] in names),
            tuple(item for item in self.forced if item[0] in names),
        )


class Twin:
    """Puts a site's state into the points that the profile names.

    Raises:
        ConfigError: the profile shows a quantity in a unit that it does not convert to.
    """

    def __init__(self, bank: RegisterBank, profile: DeviceProfile) -> None:
        self._bank = bank
        self._profile = profile
        simulation = profile.simulation
        self.whole: Final = Part(
            tuple(_shown(profile, name, quantity) for name, quantity in simulation.shows.items()),
            tuple(simulation.states.items()),
            tuple(simulation.forced.items()),
        )
        self.stuck: frozenset[str] = frozenset()
        """Measured points that stand still."""
        self._guarding = {guard.requires for guard in profile.guards}
        self._parts: dict[tuple[Space, int, int], Part] = {}

    def touched(self, space: Space, address: int, count: int) -> Part:
        """The points that a request touches; clients ask the same again and again."""
        key = (space, address, count)
        part = self._parts.get(key)
        if part is None:
            end, points = address + count, self._profile.points.items()
            inside = [(n, p) for n, p in points if p.address < end and address < p.end]
            names = {name for name, point in inside if point.space == space}
            part = self.whole.only(names | self._guarding)
            if len(self._parts) >= _MOST_PARTS:
                self._parts.clear()
            self._parts[key] = part
        return part

    def start(self, site_id: str) -> None:
        """Constants, identity and what the device lacks; once, before anything is shown."""
        simulation, points = self._profile.simulation, self._profile.points
        self._leave_out_unknown()
        scales = {point.scale_factor for point in points.values()}
        for name in sorted(simulation.values, key=lambda n: n not in scales):
            self._put_constant(name, simulation.values[name])
        for name in simulation.absent:
            self._bank.put_marker(name)
        self._put_serial(site_id)

    def show(self, now: Snapshot, part: Part) -> None:
        """Measured values and states as they are now."""
        found = now.quantities() if part.measured else {}
        for shown in part.measured:
            if shown.name in self.stuck:
                continue
            value = found[shown.quantity] * shown.factor
            self._bank.put(shown.name, abs(value) if shown.magnitude else value)
        for name, states in part.states:
            self._bank.put_raw(name, _state(states, now.flows.battery_kw))
        for name, (own_mode, forced) in part.forced:
            self._bank.put_raw(name, forced if now.forced else own_mode)

    def _put_constant(self, name: str, value: float | str) -> None:
        is_text = self._profile.points[name].type is PointType.STRING
        if is_text and isinstance(value, str):
            self._bank.put_text(name, value)
        elif is_text or isinstance(value, str):
            wanted = "a text" if is_text else "a number"
            raise ConfigError(
                f"must be {wanted}",
                field=f"{self._profile.name}: simulation.values.{name}",
                value=repr(value),
            )
        else:
            self._bank.put(name, value)

    def _put_serial(self, site_id: str) -> None:
        """A serial number of its own for each site, in the form of the profile's."""
        name, number = self._profile.identification.serial, crc32(site_id.encode())
        example = None if name is None else self._profile.simulation.values.get(name)
        if name is not None and isinstance(example, str):
            self._bank.put_text(name, "SIM" + f"{number:010d}"[-max(len(example) - 3, 1) :])
        elif name is not None and self._profile.points[name].count > 1:
            self._bank.put_raw(name, number % 10**9)

    def _leave_out_unknown(self) -> None:
        """What the profile says nothing about is not implemented in a SunSpec model."""
        points = self._profile.points
        said = {*self._profile.simulation.points, *(p.scale_factor for p in points.values())}
        for name, point in points.items():
            if point.model is not None and name not in said:
                self._bank.put_marker(name)


def _shown(profile: DeviceProfile, name: str, quantity: Quantity) -> _Shown:
    point, base = profile.points[name], _BASE_UNITS[quantity.rsplit("_", 1)[1]]
    try:
        factor = convert(1.0, base, "W" if point.unit == "VA" else point.unit)
    except DeviceError:
        raise ConfigError(
            f"{quantity} is in {base}",
            field=f"{profile.name}: simulation.shows.{name}",
            value=repr(point.unit),
            fix="correct the point's unit, or show another quantity",
        ) from None
    return _Shown(name, quantity, factor, _only_magnitude(point))


def _only_magnitude(point: Point) -> bool:
    """An unsigned register counts how much, not which way; so does apparent power."""
    plain = point.sign == 1 and point.offset == 0
    return point.unit == "VA" or (plain and not point.is_float and point.type not in SIGNED)


def _state(states: States, battery_kw: float) -> int:
    if battery_kw == 0:
        return states.idle
    return states.discharging if battery_kw > 0 else states.charging
