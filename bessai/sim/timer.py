"""The device's own timer, which ends a forced command that nobody renews."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

from bessai.config.profile import DeviceProfile, Parameter, WriteStep
from bessai.errors import ConfigError
from bessai.sim.bank import RegisterBank
from bessai.units import MonotonicS

_MINUTES_PER: Final = {"s": 1.0 / 60.0, "min": 1.0}


class DeadManTimer:
    """Armed by a write to one of the profile's points; a profile without dead-man never is.

    Args:
        profile: Names the points and the period.
        bank: Holds the period where a register carries it.
        minute_s: Real length of one minute of the device.

    Raises:
        ConfigError: the register of the period counts neither seconds nor minutes.
    """

    def __init__(self, profile: DeviceProfile, bank: RegisterBank, minute_s: float) -> None:
        self.deadline: MonotonicS | None = None
        self._dead_man = profile.dead_man
        self._points = profile.points
        self._bank = bank
        self._minute_s = minute_s
        self._step = _period_step(profile)
        self._rest = profile.simulation.timer_rest
        unit = "" if self._step is None else profile.points[self._step.point].unit
        shown = (None if self._step is None else self._step.point, self._rest)
        for name in shown:
            if name is not None and profile.points[name].unit not in _MINUTES_PER:
                raise ConfigError(
                    "counts the dead-man, so it must be in s or min",
                    field=f"{profile.name}: points.{name}.unit",
                    value=repr(profile.points[name].unit),
                )
        self._per_unit_s = minute_s * _MINUTES_PER.get(unit, 1.0)

    @property
    def on_expiry(self) -> dict[str, int]:
        """Raw values that the device falls back to."""
        return {} if self._dead_man is None else self._dead_man.on_expiry

    def note_write(self, names: Collection[str], at: MonotonicS) -> None:
        """Start again if one of the points written restarts the timer."""
        if self._dead_man is not None and not set(self._dead_man.restarted_by).isdisjoint(names):
            self.arm(at)

    def arm(self, at: MonotonicS) -> None:
        """Start again now."""
        if self._dead_man is None:
            return
        period_s = self._period_s()
        self.deadline = None if period_s is None else MonotonicS(at + period_s)

    def show_rest(self, now: MonotonicS) -> None:
        """Count down in the register where the family shows it."""
        if self._rest is None:
            return
        rest_s = 0.0 if self.deadline is None else max(self.deadline - now, 0.0)
        per_unit_s = self._minute_s * _MINUTES_PER[self._points[self._rest].unit]
        # A hair less than a whole second is float noise of the clock.
        self._bank.put(self._rest, math.ceil(rest_s / per_unit_s - 1e-6))

    def _period_s(self) -> float | None:
        """Real seconds; None where the register switches the timer off."""
        if self._step is None:
            period_s = 0.0 if self._dead_man is None else self._dead_man.period_s
            return period_s / 60.0 * self._minute_s
        period = self._bank.number(self._step.point)
        if period == 0 and self._points[self._step.point].model is not None:
            return None  # a reversion time of 0 is none at all (SunSpec models 124 and 704)
        return period / self._step.factor * self._per_unit_s


def _period_step(profile: DeviceProfile) -> WriteStep | None:
    steps = (step for program in profile.programs.values() for step in program.steps)
    return next((step for step in steps if step.value is Parameter.DEAD_MAN), None)
