"""Counts, exactly, the energy that flows beyond limits which the battery's owner never sees.

The battery's model moves in stretches of constant wish. Within one stretch the power only ever
falls towards zero (taper, cut-off), so the energy beyond a limit needs no sampling: it is the
highest or the lowest point of a curve with one turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from bessai.plant import BatteryParams, BatteryState, power_limits, step
from bessai.sim.spec import InverterSpec, WitnessSpec
from bessai.units import S_PER_HOUR, MonotonicS

NOISE_KWH: Final = 1e-12
"""Rounding of energies of some hundred kWh in floats; less than this is no violation."""
NOISE_KW: Final = 1e-6
"""Rounding of a ramp in floats; a milliwatt is no violation."""
_END_SHARE: Final = 1e-3
_SEARCH_STEPS: Final = 64
_GOLDEN: Final = (5.0**0.5 - 1.0) / 2.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which the battery had one wish, or one straight ramp.

    Attributes:
        begin, end: States at its ends.
        wishes_kw: Wished power at its ends, + discharge; their mean was stepped.
        mean_kw: AC power that flowed in the mean.
        seconds: Of the battery's own time.
        ended_at: Control time of its end.
    """

    params: BatteryParams
    begin: BatteryState
    end: BatteryState
    wishes_kw: tuple[float, float]
    mean_kw: float
    seconds: float
    ended_at: MonotonicS

    @property
    def hours(self) -> float:
        """Of the battery's own time."""
        return self.seconds / S_PER_HOUR

    @property
    def wish_kw(self) -> float:
        """The wish that was stepped."""
        return (self.wishes_kw[0] + self.wishes_kw[1]) / 2.0

    @property
    def begin_kw(self) -> float:
        """AC power at its begin, as far as the battery could follow."""
        return power_limits(self.begin, self.params).clamp(self.wishes_kw[0])

    @property
    def end_kw(self) -> float:
        """AC power at its end, as far as the battery can follow."""
        if self.mean_kw == self.wish_kw:  # nothing held it back
            return self.wishes_kw[1]
        return power_limits(self.end, self.params).clamp(self.wishes_kw[1])

    def energy_kwh(self, seconds: float) -> float:
        """AC energy of the first ``seconds``, + discharge."""
        mean_kw = step(self.begin, self.params, self.wish_kw, seconds)[1]
        return mean_kw * seconds / S_PER_HOUR


@dataclass(slots=True)
class Excess:
    """What went beyond one limit.

    Attributes:
        limit: Field of :class:`bessai.sim.spec.WitnessSpec`, which names the unit.
        value: The limit.
        forced_kwh: Energy beyond it while the battery followed a forced command; of the ramp none,
            whose violations have no duration.
        own_mode_kwh: The same while the device did what it wanted; of the ramp nothing is counted.
        times: How often it was left.
        worst: Furthest beyond it, in the limit's unit; in kW for the ramp.
        worst_at_s: Control time of the end of the stretch in which that was.
    """

    limit: str
    value: float
    forced_kwh: float = 0.0
    own_mode_kwh: float = 0.0
    times: int = 0
    worst: float = 0.0
    worst_at_s: float | None = None


class _Counter:
    """One limit, and whether it is being violated now."""

    def __init__(self, limit: str, value: float) -> None:
        self.excess: Final = Excess(limit, value)
        self._outside = False

    def count(self, kwh: float, *, forced: bool) -> bool:
        """Add what one stretch had beyond the limit; whether that is anything."""
        was_outside, self._outside = self._outside, kwh > NOISE_KWH
        if not self._outside:
            return False
        self.excess.times += not was_outside
        if forced:
            self.excess.forced_kwh += kwh
        else:
            self.excess.own_mode_kwh += kwh
        return True

    def note(self, beyond: float, at: MonotonicS) -> None:
        """How far the limit was left."""
        if beyond > self.excess.worst:
            self.excess.worst, self.excess.worst_at_s = beyond, at


@dataclass(frozen=True, slots=True)
class _PowerLimit:
    """``sign * battery power <= level_kw``; a level below zero wants power of the other sign."""

    sign: int
    level_kw: float
    counter: _Counter


@dataclass(frozen=True, slots=True)
class _SocLimit:
    """``sign * SoC <= sign * level``: sign -1 is the lower end, where discharging counts."""

    sign: int
    level_pct: float
    counter: _Counter


class Witness:
    """Judges stretches by the limits of a spec.

    Args:
        spec: Limits; with PV and load, which are constant, the meter's become the battery's.
    """

    def __init__(self, spec: InverterSpec) -> None:
        limits = spec.witness or WitnessSpec()
        self._counters: list[_Counter] = []
        self._powers = self._power_limits(limits, spec.load_kw - spec.pv_kw)
        self._socs = self._soc_limits(limits)
        self._ramp = self._ramp_limit(limits)
        self.cuts_kw: Final = tuple(limit.sign * limit.level_kw for limit in self._powers)
        """Battery powers at which a ramp has to be cut to be judged exactly."""

    def excesses(self) -> tuple[Excess, ...]:
        """What was found so far, for each limit of the spec: copies."""
        return tuple(replace(counter.excess) for counter in self._counters)

    def see(self, stretch: Stretch, *, forced: bool) -> None:
        """Judge a stretch; ``forced`` says that the battery followed a forced command."""
        if not self._counters:
            return
        at = stretch.ended_at
        for limit in self._powers:
            kwh = beyond_kwh(stretch, limit.sign, limit.level_kw)
            if limit.counter.count(kwh, forced=forced):
                most_kw = max(limit.sign * stretch.begin_kw, limit.sign * stretch.end_kw)
                limit.counter.note(most_kw - limit.level_kw, at)
        for soc in self._socs:
            kwh, beyond_pct = _beyond_soc(stretch, soc)
            if soc.counter.count(kwh, forced=forced):
                soc.counter.note(beyond_pct, at)

    def jump(self, power_kw: float, at: MonotonicS, *, forced: bool) -> None:
        """Judge how the power came to be what it is now."""
        if self._ramp is not None:
            self._ramp.see(power_kw, at, forced=forced)

    def _power_limits(self, limits: WitnessSpec, need_kw: float) -> tuple[_PowerLimit, ...]:
        """``need_kw`` is the battery power at which nothing flows through the meter."""
        wanted = (
            ("max_charge_kw", -1, limits.max_charge_kw, 0.0),
            ("max_discharge_kw", 1, limits.max_discharge_kw, 0.0),
            ("export_limit_kw", 1, limits.export_limit_kw, need_kw),
            ("import_limit_kw", -1, limits.import_limit_kw, 0.0 - need_kw),
        )
        return tuple(
            _PowerLimit(sign, value + shift_kw, self._counter(name, value))
            for name, sign, value, shift_kw in wanted
            if value is not None
        )

    def _soc_limits(self, limits: WitnessSpec) -> tuple[_SocLimit, ...]:
        wanted = (("soc_min_pct", -1, limits.soc_min_pct), ("soc_max_pct", 1, limits.soc_max_pct))
        return tuple(
            _SocLimit(sign, value, self._counter(name, value))
            for name, sign, value in wanted
            if value is not None
        )

    def _ramp_limit(self, limits: WitnessSpec) -> _Ramp | None:
        rate_kw_per_s = limits.max_ramp_kw_per_s
        if rate_kw_per_s is None:
            return None
        return _Ramp(self._counter("max_ramp_kw_per_s", rate_kw_per_s), limits.ramp_burst_s)

    def _counter(self, name: str, value: float) -> _Counter:
        counter = _Counter(name, value)
        self._counters.append(counter)
        return counter


class _Ramp:
    """Growth of the power's magnitude against a budget that fills at the allowed rate."""

    def __init__(self, counter: _Counter, burst_s: float) -> None:
        self._counter = counter
        self._rate_kw_per_s = counter.excess.value
        self._full_kw = self._rate_kw_per_s * burst_s
        self._left_kw = self._full_kw
        self._last: tuple[float, MonotonicS] | None = None

    def see(self, power_kw: float, at: MonotonicS, *, forced: bool) -> None:
        """Take the power that there is now; what grew beyond the budget is noted."""
        last, self._last = self._last, (power_kw, at)
        if last is None:
            return
        before_kw, before_at = last
        grown_kw = self._rate_kw_per_s * (at - before_at)
        self._left_kw = min(self._full_kw, self._left_kw + grown_kw)
        kept_kw = abs(before_kw) if before_kw * power_kw > 0 else 0.0
        growth_kw = max(abs(power_kw) - kept_kw, 0.0)
        beyond_kw = growth_kw - self._left_kw
        self._left_kw = max(self._left_kw - growth_kw, 0.0)
        if beyond_kw > NOISE_KW and forced:
            self._counter.excess.times += 1
            self._counter.note(beyond_kw, at)


def beyond_kwh(stretch: Stretch, sign: int, level_kw: float) -> float:
    """Energy with ``sign * power`` above ``level_kw``: the integral of its positive part.

    ``F(t)``, the integral of ``sign * power - level``, has one turn at most, because the power
    only falls towards zero. Where it rises first, the positive part ends at the highest point;
    where it falls first, that part begins at the lowest.
    """
    if level_kw >= 0 and (
        sign * stretch.wish_kw <= level_kw or sign * stretch.mean_kw * stretch.hours <= NOISE_KWH
    ):
        return 0.0
    total = (sign * stretch.mean_kw - level_kw) * stretch.hours
    begin_kw = power_limits(stretch.begin, stretch.params).clamp(stretch.wish_kw)
    if math.isclose(stretch.mean_kw, begin_kw, rel_tol=1e-12):
        return max(total, 0.0)

    def beyond(seconds: float) -> float:
        return sign * stretch.energy_kwh(seconds) - level_kw * seconds / S_PER_HOUR

    falls = sign * stretch.wish_kw > 0
    tail_s = stretch.seconds * _END_SHARE
    if falls:
        still_above = total >= beyond(stretch.seconds - tail_s)
        return max(total if still_above else _highest(beyond, stretch.seconds), 0.0)
    above_at_once = beyond(tail_s) >= 0
    return total if above_at_once else total + _highest(lambda s: -beyond(s), stretch.seconds)


def _highest(curve: Callable[[float], float], end: float) -> float:
    """Highest value on ``[0, end]`` of a curve that rises, then falls: golden-section search."""
    low, high = 0.0, end
    best = max(curve(low), curve(high))
    for _ in range(_SEARCH_STEPS):
        width = (high - low) * _GOLDEN
        left, right = high - width, low + width
        at_left, at_right = curve(left), curve(right)
        best = max(best, at_left, at_right)
        if at_left < at_right:
            low = left
        else:
            high = right
    return best


def _beyond_soc(stretch: Stretch, soc: _SocLimit) -> tuple[float, float]:
    """AC energy that led further beyond the limit, and how far in percent it led."""
    sign, params = soc.sign, stretch.params
    level_kwh = params.energy_at_kwh(soc.level_pct)
    way_kwh = sign * (stretch.end.energy_kwh - stretch.begin.energy_kwh)
    beyond = sign * (stretch.end.energy_kwh - level_kwh)
    if way_kwh <= 0 or beyond <= 0:
        return 0.0, 0.0
    # Losses are a constant share in each direction, so shares of both energies are the same.
    share = min(beyond / way_kwh, 1.0)
    kwh = abs(stretch.mean_kw) * stretch.hours * share
    return kwh, 100.0 * beyond / params.capacity_kwh
