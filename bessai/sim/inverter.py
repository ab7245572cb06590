"""One simulated inverter of any family: its registers in front of the battery model, no sockets.

Energy runs in market time (real seconds x speed); the dead-man of a forced command and the ramp
run in real time, because they concern a real link. Without a forced command the device covers
the load from the battery and stores what the sun leaves over. Not modelled: forced mode until a
target SoC, and leaving forced mode at 100 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bessai.config.profile import BITFIELDS, MAIN, DeviceProfile, Persistence, Space
from bessai.devices.codec import Registers
from bessai.devices.sunspec import chain_layout
from bessai.errors import ConfigError
from bessai.plant import BatteryParams, BatteryState
from bessai.sim.bank import HOLDING, ILLEGAL_ADDRESS, ILLEGAL_VALUE, RegisterBank
from bessai.sim.energy import SiteEnergy
from bessai.sim.faults import FaultKind, Faults
from bessai.sim.settings import Settings
from bessai.sim.spec import InverterSpec
from bessai.sim.timer import DeadManTimer
from bessai.sim.twin import Twin
from bessai.units import MonotonicS

DEVICE_FAILURE: Final = 4
_FORGOTTEN: Final = frozenset({Persistence.VOLATILE, Persistence.COMMAND})


class SimulatedInverter:
    """Registers and battery of one device; single-threaded.

    Args:
        spec: Size and start of the battery.
        profile: Register map and what it shows, as loaded.
        speed: Market seconds per real second; drives the energy.
        now: Control time in real seconds.
        minute_s: Real length of one minute of the device's own timer.

    Raises:
        ConfigError: the battery is beyond the profile, or the profile's simulation is wrong.
        DeviceError: a point cannot hold what it shall show.
    """

    def __init__(
        self,
        spec: InverterSpec,
        profile: DeviceProfile,
        speed: float,
        *,
        now: Callable[[], MonotonicS],
        minute_s: float = 60.0,
    ) -> None:
        _check_size(spec, profile)
        profile, chain = chain_layout(profile)
        self.spec = spec
        self.profile = profile
        self.faults = Faults()
        self.bank = RegisterBank(profile.points, _bridged_gap(profile), chain)
        self.now: Final = now
        self._at = now()
        self._energy = SiteEnergy(spec, speed)
        self._timer = DeadManTimer(profile, self.bank, minute_s)
        self._twin = Twin(self.bank, profile)
        self._settings = Settings(profile, self.bank)
        self._overlaid: dict[str, Registers] = {}
        self._twin.start(spec.site_id)
        for extreme in self._energy.extremes():
            self._twin.show(extreme)
        self._show()
        self._settings.start()
        self._energy.params = self._settings.narrowed(self._energy.nameplate)
        self._start = {
            name: self.bank.registers(name)
            for name, point in profile.points.items()
            if point.persistence in _FORGOTTEN
        }

    @property
    def units(self) -> dict[int, str]:
        """Devices by unit id; 0 and 255 mean the one that is connected, as the standard advises.

        Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 4.4.2.1.
        """
        others = self.profile.connection.other_units
        units = {0: MAIN, 255: MAIN, self.unit_id: MAIN}
        return {**{ids[0]: name for name, ids in others.items()}, **units}

    @property
    def unit_id(self) -> int:
        """Unit id of the main unit."""
        given = self.spec.unit_id
        return self.profile.connection.default_unit_id if given is None else given

    @property
    def params(self) -> BatteryParams:
        """The battery within its present settings."""
        return self._energy.params

    @property
    def state(self) -> BatteryState:
        """Energy and temperature at the last :meth:`advance`."""
        return self._energy.state

    @property
    def soc_pct(self) -> float:
        """State of charge, 0-100, at the last :meth:`advance`."""
        return self._energy.soc_pct

    @property
    def power_kw(self) -> float:
        """AC power of the battery at this instant, + discharge."""
        return self._energy.power_kw(self._wish_kw())

    @property
    def commanded_kw(self) -> float | None:
        """Power of the forced command in force, + discharge; None in the device's own mode."""
        return self.bank.reading.commanded_kw(self.profile.commanded)

    @property
    def forced(self) -> bool:
        """Whether a forced command is in force."""
        return self.commanded_kw is not None

    @property
    def exported_kwh(self) -> float:
        """Energy that the meter has counted out of the site."""
        return self._energy.books.exported_kwh

    @exported_kwh.setter
    def exported_kwh(self, kwh: float) -> None:
        self._energy.books.exported_kwh = kwh

    @property
    def imported_kwh(self) -> float:
        """Energy that the meter has counted into the site."""
        return self._energy.books.imported_kwh

    @imported_kwh.setter
    def imported_kwh(self, kwh: float) -> None:
        self._energy.books.imported_kwh = kwh

    def advance(self) -> None:
        """Bring the battery up to now, ending a forced command at its own moment."""
        now = self.now()
        deadline = self._timer.deadline
        if deadline is not None and deadline <= now:
            self._run_until(deadline)
            self._timer.deadline = None
            for name, raw in self._timer.on_expiry.items():
                self.bank.put_raw(name, raw)
        self._run_until(now)

    def read(self, address: int, count: int, space: Space = HOLDING) -> list[int] | int | None:
        """Words as they are now, or the Modbus exception code that refuses the read.

        None where the device would drop the connection instead.
        Source: wlcrs/huawei_solar#151, reading the meter while it is offline.
        """
        self.advance()
        self._show()
        if self._is_guarded(space, address, count):
            return None
        garbage = FaultKind.GARBAGE in self.faults
        read = self.bank.read_garbage if garbage else self.bank.read
        words = read(space, address, count)
        return ILLEGAL_ADDRESS if words is None else words

    def write(self, address: int, words: Sequence[int], device: str = MAIN) -> int | None:
        """Take a write, or return the Modbus exception code that refuses it."""
        self.advance()
        self._show()
        if FaultKind.WRITE_FAILURE in self.faults:
            return DEVICE_FAILURE
        wanted = self.bank.requested(device, address, words)
        if isinstance(wanted, int):
            return wanted
        if self._settings.refuses(wanted):
            return ILLEGAL_VALUE
        if FaultKind.WRITE_IGNORED not in self.faults:
            self._accept(wanted)
        return None

    def set_faults(self, faults: Faults) -> None:
        """Break or heal what the registers and the battery do.

        Raises:
            ConfigError: the profile has no such alarm, or no guarded registers.
        """
        overlay = {**self._meter_offline(faults), **self._alarms(faults)}
        self.advance()
        self._show()
        for name, registers in self._overlaid.items():
            self.bank.put_registers(name, registers)
        self._overlaid = {name: self.bank.registers(name) for name in overlay}
        for name, raw in overlay.items():
            self.bank.put_raw(name, raw)
        self.faults = faults

    def reboot(self) -> None:
        """Forget what the device does not store: commands, and the timer that guards them."""
        self.advance()
        self._timer.deadline = None
        for name, registers in self._start.items():
            self.bank.put_registers(name, registers)

    def _accept(self, wanted: dict[str, Registers]) -> None:
        was_forced = self.forced
        for name, registers in wanted.items():
            self.bank.put_registers(name, registers)
        self._timer.note_write(wanted, self._at)
        if self.forced and not was_forced and self._timer.deadline is None:
            self._timer.arm(self._at)
        self._energy.params = self._settings.narrowed(self._energy.nameplate)

    def _wish_kw(self) -> float:
        deaf = FaultKind.NO_EFFECT in self.faults
        commanded_kw = None if deaf else self.commanded_kw
        return self._energy.own_kw if commanded_kw is None else commanded_kw

    def _run_until(self, moment: MonotonicS) -> None:
        real_s = moment - self._at
        if real_s > 0:
            self._at = moment
            self._energy.run(self._wish_kw(), real_s)

    def _show(self) -> None:
        self._timer.show_rest(self._at)
        if FaultKind.FROZEN not in self.faults:
            self._twin.show(self._energy.snapshot(self._wish_kw(), forced=self.forced))

    def _is_guarded(self, space: Space, address: int, count: int) -> bool:
        return any(
            guard.touches(space, address, count)
            and self.bank.reading.raw(guard.requires) != guard.equals
            for guard in self.profile.guards
        )

    def _meter_offline(self, faults: Faults) -> dict[str, int]:
        if FaultKind.METER_OFFLINE not in faults:
            return {}
        if not self.profile.guards:
            raise ConfigError(
                f"profile {self.profile.name} has no registers that go offline",
                field="fault",
                value=FaultKind.METER_OFFLINE.value,
            )
        return {guard.requires: int(guard.equals == 0) for guard in self.profile.guards}

    def _alarms(self, faults: Faults) -> dict[str, int]:
        raised: dict[str, int] = {}
        for fault in faults:
            if fault.kind is not FaultKind.ALARM:
                continue
            point = self.profile.points.get(fault.point)
            if point is None or point.type not in BITFIELDS or fault.amount >= 16 * point.count:
                known = [n for n, p in self.profile.points.items() if p.type in BITFIELDS]
                raise ConfigError(
                    f"profile {self.profile.name} has no such bit",
                    field="fault",
                    value=str(fault),
                    fix=f"use a bit of {', '.join(known) or 'another profile'}",
                )
            raised[fault.point] = raised.get(fault.point, 0) | 1 << int(fault.amount)
        return raised


def _bridged_gap(profile: DeviceProfile) -> int:
    own = profile.simulation.bridged_gap
    return profile.connection.max_gap if own is None else own


def _check_size(spec: InverterSpec, profile: DeviceProfile) -> None:
    limits = profile.limits
    for name, power_kw, most_kw in (
        ("max_charge_kw", spec.max_charge_kw, limits.max_charge_kw),
        ("max_discharge_kw", spec.max_discharge_kw, limits.max_discharge_kw),
    ):
        if power_kw > most_kw:
            raise ConfigError(
                f"profile {profile.name} takes up to {most_kw:g} kW",
                field=f"{spec.site_id}: {name}",
                value=f"{power_kw:g}",
                fix="make the battery smaller",
            )
