"""One simulated SUN2000 with LUNA2000: registers in front of the battery model, no sockets.

Energy runs in market time (real seconds x speed); the dead-man of a forced command runs in real
time, because it guards a real link. The site has no load and no sun, so the meter sees the
battery alone. Not modelled: forced mode until a target SoC, and leaving forced mode at 100 %.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from bessai.config.profile import DeviceProfile
from bessai.plant import BatteryParams, BatteryState, power_limits, step, temperature_factor
from bessai.sim.bank import ILLEGAL_VALUE, RegisterBank
from bessai.sim.panel import show, show_identity
from bessai.sim.spec import Fault, InverterSpec
from bessai.units import S_PER_HOUR, W_PER_KW, MonotonicS

CHARGE: Final = 1
_METER_BLOCK: Final = range(37101, 37139)
_CEILINGS: Final = {
    "forced_charge_power": "max_charge_power_now",
    "max_charging_power": "max_charge_power_now",
    "forced_discharge_power": "max_discharge_power_now",
    "max_discharging_power": "max_discharge_power_now",
}


class SimulatedInverter:
    """Registers and battery of one device; single-threaded.

    Args:
        spec: Size and start of the battery.
        profile: Register map.
        speed: Market seconds per real second; drives the energy.
        now: Control time in real seconds.
        minute_s: Real length of one minute of the forced period.
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
        self.spec = spec
        self.fault = Fault.NONE
        self.bank = RegisterBank(profile)
        self.exported_kwh = 0.0
        self.imported_kwh = 0.0
        self._speed = speed
        self._now = now
        self._minute_s = minute_s
        self._at = now()
        self._forced_until: MonotonicS | None = None
        self._nameplate = BatteryParams(
            capacity_kwh=spec.capacity_kwh,
            max_charge_kw=spec.max_charge_kw,
            max_discharge_kw=spec.max_discharge_kw,
            round_trip_efficiency_pct=spec.round_trip_efficiency_pct,
            ambient_c=spec.ambient_c,
        )
        self.state = BatteryState.at(self._nameplate, spec.soc_pct)
        self._put_settings()
        show_identity(self.bank, spec)
        self.params = self._settled_params()
        self._show()

    @property
    def soc_pct(self) -> float:
        """State of charge, 0-100, at the last :meth:`advance`."""
        return self.state.soc_pct(self.params)

    @property
    def power_kw(self) -> float:
        """AC power at this instant, + discharge."""
        return power_limits(self.state, self.params).clamp(self._wish_kw())

    @property
    def forced(self) -> bool:
        """Whether a forced command is in force."""
        return self._forced_until is not None

    def advance(self) -> None:
        """Bring the battery up to now, ending a forced command at its own moment."""
        now = self._now()
        if self._forced_until is not None and self._forced_until <= now:
            self._run_until(self._forced_until)
            self._forced_until = None
            self.bank.put("forced_command", 0)
        self._run_until(now)

    def read(self, address: int, count: int) -> list[int] | None:
        """Words as they are now; None where the device would drop the connection instead.

        Source: wlcrs/huawei_solar#151, reading the meter while it is offline.
        """
        self.advance()
        self._show()
        if self.fault is Fault.METER_OFFLINE and self._touches_meter(address, count):
            return None
        if self.fault is Fault.GARBAGE:
            return self.bank.read_garbage(address, count)
        return self.bank.read(address, count)

    def write(self, address: int, words: Sequence[int]) -> int | None:
        """Take a write, or return the Modbus exception code that refuses it."""
        self.advance()
        self._show()
        values = self.bank.requested(address, words)
        if isinstance(values, int):
            return values
        if self._beyond_limits(values):
            return ILLEGAL_VALUE
        self._accept(values)
        return None

    def _accept(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.bank.put(name, value)
        if "forced_command" in values:
            self._arm(values["forced_command"])
        self.params = self._settled_params()

    def _arm(self, command: float) -> None:
        if command == 0:
            self._forced_until = None
            return
        period_s = self.bank.number("forced_period") * self._minute_s
        self._forced_until = MonotonicS(self._at + period_s)

    def _beyond_limits(self, values: dict[str, float]) -> bool:
        if values.get("forced_target_mode", 0) != 0:
            return True
        return any(
            values[name] > self.bank.number(ceiling)
            for name, ceiling in _CEILINGS.items()
            if name in values
        )

    def _wish_kw(self) -> float:
        if self._forced_until is None:
            return 0.0
        if self.bank.number("forced_command") == CHARGE:
            return 0.0 - self.bank.number("forced_charge_power") / W_PER_KW
        return self.bank.number("forced_discharge_power") / W_PER_KW

    def _run_until(self, moment: MonotonicS) -> None:
        real_s = moment - self._at
        if real_s <= 0:
            return
        self._at = moment
        battery_s = real_s * self._speed
        self.state, mean_kw = step(self.state, self.params, self._wish_kw(), battery_s)
        energy_kwh = mean_kw * battery_s / S_PER_HOUR
        self.exported_kwh += max(energy_kwh, 0.0)
        self.imported_kwh += max(-energy_kwh, 0.0)

    def _settled_params(self) -> BatteryParams:
        """The nameplate narrowed by the settings that a client may write."""
        bank, nameplate = self.bank, self._nameplate
        charge_kw = bank.number("max_charging_power") / W_PER_KW
        discharge_kw = bank.number("max_discharging_power") / W_PER_KW
        return dataclasses.replace(
            nameplate,
            max_charge_kw=min(nameplate.max_charge_kw, charge_kw),
            max_discharge_kw=min(nameplate.max_discharge_kw, discharge_kw),
            soc_min_pct=bank.number("discharge_cutoff_soc"),
            soc_max_pct=bank.number("charge_cutoff_soc"),
        )

    def _put_settings(self) -> None:
        bank = self.bank
        bank.put("max_charging_power", self.spec.max_charge_kw * W_PER_KW)
        bank.put("max_discharging_power", self.spec.max_discharge_kw * W_PER_KW)
        bank.put("charge_cutoff_soc", 100.0)
        bank.put("discharge_cutoff_soc", 5.0)
        bank.put("working_mode", 2)
        bank.put("charge_from_grid_enable", 1)

    def _show(self) -> None:
        factor = temperature_factor(self.state.temperature_c, self._nameplate)
        self.bank.put("max_charge_power_now", self.spec.max_charge_kw * factor * W_PER_KW)
        self.bank.put("max_discharge_power_now", self.spec.max_discharge_kw * factor * W_PER_KW)
        self.bank.put("meter_status", 0 if self.fault is Fault.METER_OFFLINE else 1)
        show(self.bank, self)

    @staticmethod
    def _touches_meter(address: int, count: int) -> bool:
        return address < _METER_BLOCK.stop and address + count > _METER_BLOCK.start
