"""Settings that a client writes and that change what the battery or the command registers do."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from bessai.config.profile import DeviceProfile, Parameter, Persistence
from bessai.devices.codec import Registers, decode_number, raw_value
from bessai.plant import BatteryParams
from bessai.sim.bank import RegisterBank

_SOC_MAX: Final = ("charge_cutoff_soc", "max_soc", "soc_upper_limit")
_SOC_MIN: Final = ("discharge_cutoff_soc", "min_soc")
_MAX_CHARGE: Final = ("max_charging_power", "max_charge_power")
_MAX_DISCHARGE: Final = ("max_discharging_power", "max_discharge_power")
"""Usual names of settings; they count where the profile gives them a value to begin with."""


class Settings:
    """What the writable registers of one device mean for it."""

    def __init__(self, profile: DeviceProfile, bank: RegisterBank) -> None:
        self._profile = profile
        self._bank = bank
        self._commands = _known_commands(profile)

    def start(self) -> None:
        """Bring what may not exceed another point down to it."""
        for name, ceiling in self._profile.simulation.ceilings.items():
            self._bank.put(name, min(self._bank.number(name), self._limit(name, ceiling)))

    def narrowed(self, nameplate: BatteryParams) -> BatteryParams:
        """The nameplate within the present settings."""
        soc_max_pct = self._least(nameplate.soc_max_pct, _SOC_MAX, "%")
        soc_min_pct = self._setting(_SOC_MIN, "%") or 0.0
        return dataclasses.replace(
            nameplate,
            max_charge_kw=self._least(nameplate.max_charge_kw, _MAX_CHARGE, "kW"),
            max_discharge_kw=self._least(nameplate.max_discharge_kw, _MAX_DISCHARGE, "kW"),
            soc_min_pct=min(soc_min_pct, soc_max_pct),
            soc_max_pct=soc_max_pct,
        )

    def refuses(self, wanted: Mapping[str, Registers]) -> bool:
        """Whether a write is beyond a ceiling, or a command that the simulator does not know."""
        return any(self._is_refused(name, registers) for name, registers in wanted.items())

    def _is_refused(self, name: str, registers: Registers) -> bool:
        point = self._profile.points[name]
        known = self._commands.get(name)
        if known is not None and raw_value(point, registers) not in known:
            return True
        ceiling = self._profile.simulation.ceilings.get(name)
        value = decode_number(point, registers, self._bank.reading.gain(name))
        return ceiling is not None and value is not None and value > self._limit(name, ceiling)

    def _limit(self, name: str, ceiling: str) -> float:
        value = self._bank.reading.number(ceiling, self._profile.points[name].unit)
        return 0.0 if value is None else value

    def _least(self, full: float, names: tuple[str, ...], unit: str) -> float:
        value = self._setting(names, unit)
        return full if value is None else min(value, full)

    def _setting(self, names: tuple[str, ...], unit: str) -> float | None:
        known = (name for name in names if name in self._profile.simulation.values)
        name = next(known, None)
        return None if name is None else self._bank.reading.number(name, unit)


def _known_commands(profile: DeviceProfile) -> dict[str, frozenset[int]]:
    """Raw values of command registers that mean something here; others would do nothing."""
    known: defaultdict[str, set[int]] = defaultdict(set)
    for program in profile.programs.values():
        for step in program.steps:
            if not isinstance(step.value, Parameter):
                known[step.point].add(round(step.factor * step.value))
    for state in profile.commanded:
        for name, raw in state.when.items():
            known[name].add(raw)
    if profile.dead_man is not None:
        for name, raw in profile.dead_man.on_expiry.items():
            known[name].add(raw)
    points = profile.points
    return {
        name: frozenset(raws)
        for name, raws in known.items()
        if points[name].enum and points[name].persistence is Persistence.COMMAND
    }
