"""One simulated inverter of any family: its registers in front of the battery model, no sockets.

Energy runs in market time (real seconds x speed); the dead-man of a forced command and the ramp
run in real time, because they concern a real link. Without a forced command the device covers
the load from the battery and stores what the sun leaves over. Not modelled: forced mode until a
target SoC, and leaving forced mode at 100 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from bessai.config.profile import MAIN, DeviceProfile, Persistence, Space
from bessai.devices.codec import Registers
from bessai.devices.sunspec import chain_layout
from bessai.errors import ConfigError
from bessai.plant import BatteryParams, BatteryState
from bessai.sim.bank import HOLDING, ILLEGAL_ADDRESS, ILLEGAL_VALUE, RegisterBank
from bessai.sim.energy import SiteEnergy
from bessai.sim.faults import FaultKind, Faults
from bessai.sim.journal import Cause, Drive, Journal
from bessai.sim.overlay import overlay
from bessai.sim.settings import Settings
from bessai.sim.spec import InverterSpec
from bessai.sim.timer import DeadManTimer
from bessai.sim.twin import Part, Snapshot, Twin
from bessai.sim.witness import Witness
from bessai.units import S_PER_HOUR, MonotonicS

DEVICE_FAILURE: Final = 4
_FORGOTTEN: Final = frozenset({Persistence.VOLATILE, Persistence.COMMAND})


class SimulatedInverter:
    """Registers and battery of one device; single-threaded.

    Args:
        spec: Size and start of the battery.
        profile: Register map and what it shows, as loaded.
        speed: Market seconds per real second; drives the energy.
        now: Control time in real seconds.
        minute_s: Real length of one minute of the device's own timer; None for the spec's.

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
        minute_s: float | None = None,
    ) -> None:
        _check_size(spec, profile)
        profile, chain = chain_layout(profile)
        self.spec = spec
        self.profile = profile
        self.faults = Faults()
        self.bank = RegisterBank(profile.points, _bridged_gap(profile), chain)
        self.now: Final = now
        self._at = now()
        self.speed: Final = speed
        self._energy = SiteEnergy(spec, speed)
        self.witness: Final = Witness(spec)
        nameplate_kw = max(spec.max_charge_kw, spec.max_discharge_kw)
        self.journal: Final = Journal(now, spec.journal_entries, nameplate_kw)
        length_s = spec.minute_s if minute_s is None else minute_s
        self._timer = DeadManTimer(profile, self.bank, length_s)
        self._twin = Twin(self.bank, profile)
        self._settings = Settings(profile, self.bank)
        self._overlaid: dict[str, Registers] = {}
        self._faulty_since = self._at
        self._for_writes = self._twin.whole.only(_read_by_writes(profile))
        self._twin.start(spec.site_id)
        for extreme in self._energy.extremes():
            self._twin.show(extreme, self._twin.whole)
        self._show(self._twin.whole)
        self._settings.start()
        self._energy.params = self._settings.narrowed(self._energy.nameplate)
        self._start = {
            name: self.bank.registers(name)
            for name, point in profile.points.items()
            if point.persistence in _FORGOTTEN
        }
        self._note()

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
        return self._energy.power_kw(self._drive().wish_kw)

    @property
    def commanded_kw(self) -> float | None:
        """Power of the forced command in force, + discharge; None in the device's own mode."""
        return self.bank.reading.commanded_kw(self.profile.commanded)

    @property
    def forced(self) -> bool:
        """Whether a forced command is in force."""
        return self.commanded_kw is not None

    @property
    def at(self) -> MonotonicS:
        """Control time of the last :meth:`advance`."""
        return self._at

    @property
    def throughput_kwh(self) -> tuple[float, float]:
        """AC energy that the battery was charged and discharged with."""
        return self._energy.books.charged_kwh, self._energy.books.discharged_kwh

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
            before_kw = self.commanded_kw
            for name, raw in self._timer.on_expiry.items():
                self.bank.put_raw(name, raw)
            self.journal.command((before_kw, self.commanded_kw), Cause.DEAD_MAN, deadline)
            self._note()
        self._run_until(now)

    def show(self) -> None:
        """Bring every register up to now, also those that nobody asked for."""
        self.advance()
        self._show(self._twin.whole)

    def read(self, address: int, count: int, space: Space = HOLDING) -> list[int] | int | None:
        """Words as they are now, or the Modbus exception code that refuses the read.

        None where the device would drop the connection instead.
        Source: wlcrs/huawei_solar#151, reading the meter while it is offline.
        """
        self.advance()
        self._show(self._twin.touched(space, address, count))
        if self._is_guarded(space, address, count):
            return None
        garbage = FaultKind.GARBAGE in self.faults
        read = self.bank.read_garbage if garbage else self.bank.read
        words = read(space, address, count)
        return ILLEGAL_ADDRESS if words is None else words

    def write(self, address: int, words: Sequence[int], device: str = MAIN) -> int | None:
        """Take a write, or return the Modbus exception code that refuses it."""
        self.advance()
        self._show(self._for_writes)
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

    def write_from(
        self, connection: int, address: int, words: Sequence[int], device: str = MAIN
    ) -> int | None:
        """A :meth:`write` whose effect on the command is logged as this connection's."""
        self.journal.writer = connection
        try:
            return self.write(address, words, device)
        finally:
            self.journal.writer = None

    def set_faults(self, faults: Faults) -> None:
        """Break or heal what the registers and the battery do.

        Raises:
            ConfigError: the profile has no such alarm, no guarded registers, or no such point.
        """
        covered = overlay(self.profile, faults)
        self.show()
        for name, registers in self._overlaid.items():
            self.bank.put_registers(name, registers)
        self._overlaid = {name: self.bank.registers(name) for name in covered}
        for name, raw in covered.items():
            self.bank.put_raw(name, raw)
        self._change(faults)

    def booted(self) -> None:
        """The device is back after a reboot."""
        self.advance()
        self._change(self.faults.without(FaultKind.REBOOT))

    def reboot(self) -> None:
        """Forget what the device does not store: commands, and the timer that guards them."""
        self.advance()
        self._timer.deadline = None
        before_kw = self.commanded_kw
        for name, registers in self._start.items():
            self.bank.put_registers(name, registers)
        self.journal.command((before_kw, self.commanded_kw), Cause.REBOOT, self._at)
        self._note()

    def _change(self, faults: Faults) -> None:
        self.faults, self._faulty_since = faults, self._at
        self._twin.stuck = faults.points(FaultKind.STUCK)
        self.journal.fault(str(faults), self._at)
        self._note()

    def _accept(self, wanted: dict[str, Registers]) -> None:
        before_kw, deadline = self.commanded_kw, self._timer.deadline
        for name, registers in wanted.items():
            self.bank.put_registers(name, registers)
        self._timer.note_write(wanted, self._at)
        after_kw = self.commanded_kw
        if after_kw is not None and before_kw is None and self._timer.deadline is None:
            self._timer.arm(self._at)
        self._energy.params = self._settings.narrowed(self._energy.nameplate)
        renewed = after_kw is not None and self._timer.deadline not in (None, deadline)
        self.journal.command((before_kw, after_kw), Cause.WRITE, self._at, renewed=renewed)
        self._note()

    def _drive(self) -> Drive:
        commanded_kw = self.commanded_kw
        if FaultKind.REBOOT in self.faults:
            return Drive(commanded_kw, 0.0, follows=False)
        if commanded_kw is None or FaultKind.NO_EFFECT in self.faults:
            return Drive(commanded_kw, self._energy.own_kw, follows=False)
        return Drive(commanded_kw, commanded_kw, follows=True)

    def _run_until(self, moment: MonotonicS) -> None:
        if moment <= self._at:
            return
        drive, began_at = self._drive(), self._at
        self._at = moment
        cuts_kw = self.witness.cuts_kw
        for stretch in self._energy.run(drive.wish_kw, began_at, moment, cuts_kw):
            power_kw, ended_at = stretch.end_kw, stretch.ended_at
            self.witness.see(stretch, forced=drive.follows)
            self.witness.jump(power_kw, ended_at, forced=drive.follows)
            self.journal.power(drive, power_kw, stretch.end.soc_pct(stretch.params), ended_at)

    def _note(self) -> None:
        """Note what the battery does since this moment."""
        drive = self._drive()
        power_kw = self._energy.power_kw(drive.wish_kw)
        self.witness.jump(power_kw, self._at, forced=drive.follows)
        self.journal.power(drive, power_kw, self.soc_pct, self._at)

    def _show(self, part: Part) -> None:
        self._timer.show_rest(self._at)
        if FaultKind.FROZEN not in self.faults:
            self._twin.show(self._snapshot(), part)

    def _snapshot(self) -> Snapshot:
        drive = self._drive()
        now = self._energy.snapshot(drive.wish_kw, forced=drive.commanded_kw is not None)
        error_pct = self._soc_error_pct()
        if error_pct == 0.0:
            return now
        return replace(now, soc_pct=min(max(now.soc_pct + error_pct, 0.0), 100.0))

    def _soc_error_pct(self) -> float:
        """How much more the device reports than its battery holds."""
        offset_pct = self.faults.amount(FaultKind.SOC_OFFSET) or 0.0
        drift_pct_per_h = self.faults.amount(FaultKind.SOC_DRIFT) or 0.0
        hours = (self._at - self._faulty_since) * self.speed / S_PER_HOUR
        return offset_pct + drift_pct_per_h * hours

    def _is_guarded(self, space: Space, address: int, count: int) -> bool:
        return any(
            guard.touches(space, address, count)
            and self.bank.reading.raw(guard.requires) != guard.equals
            for guard in self.profile.guards
        )


def _read_by_writes(profile: DeviceProfile) -> set[str]:
    """Points that say whether a write is allowed and what it means."""
    references = (state.percent_of for state in profile.commanded)
    return {*profile.simulation.ceilings.values(), *filter(None, references)}


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
