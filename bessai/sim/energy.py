"""The physics behind the registers: battery, sun, load, and the energy that has flowed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from bessai.plant import BatteryParams, BatteryState, power_limits, step, temperature_factor
from bessai.sim.spec import InverterSpec
from bessai.sim.twin import Books, Flows, Snapshot
from bessai.sim.witness import Stretch
from bessai.units import S_PER_HOUR, MonotonicS

_DAY_S: Final = 24 * S_PER_HOUR


class SiteEnergy:
    """One site with a battery, constant sun and a constant load.

    Args:
        spec: Sizes and the start.
        speed: Seconds of the site per real second.
    """

    def __init__(self, spec: InverterSpec, speed: float) -> None:
        self.nameplate: Final = BatteryParams(
            capacity_kwh=spec.capacity_kwh,
            max_charge_kw=spec.max_charge_kw,
            max_discharge_kw=spec.max_discharge_kw,
            round_trip_efficiency_pct=spec.round_trip_efficiency_pct,
            ambient_c=spec.ambient_c,
        )
        self.params = self.nameplate
        self.state = BatteryState.at(self.nameplate, spec.soc_pct)
        self.books = Books()
        self._spec = spec
        self._speed = speed
        self._ramped_kw = self.own_kw
        self._day_s = 0.0
        self._day_began = (0.0, 0.0)

    @property
    def own_kw(self) -> float:
        """What the device wants of the battery by itself: cover the load, store the surplus."""
        return self._spec.load_kw - self._spec.pv_kw

    @property
    def soc_pct(self) -> float:
        """State of charge, 0-100."""
        return self.state.soc_pct(self.params)

    def power_kw(self, wish_kw: float) -> float:
        """AC power of the battery at this instant, + discharge."""
        followed_kw = wish_kw if self._spec.ramp_kw_per_s is None else self._ramped_kw
        return power_limits(self.state, self.params).clamp(followed_kw)

    def run(
        self,
        wish_kw: float,
        began_at: MonotonicS,
        ended_at: MonotonicS,
        cuts_kw: Collection[float] = (),
    ) -> list[Stretch]:
        """Let time pass while the battery shall have ``wish_kw``, and tell how.

        A ramp comes in a stretch for each side of 0 and of every cut.
        """
        return list(self._run(wish_kw, began_at, ended_at, cuts_kw))

    def _run(
        self,
        wish_kw: float,
        at: MonotonicS,
        ended_at: MonotonicS,
        cuts_kw: Collection[float],
    ) -> Iterator[Stretch]:
        rate_kw_per_s = self._spec.ramp_kw_per_s
        if rate_kw_per_s is not None:
            for stop_kw in _stops(self._ramped_kw, wish_kw, cuts_kw):
                begin_kw, reach_kw = self._ramped_kw, rate_kw_per_s * (ended_at - at)
                way_kw = stop_kw - begin_kw
                if abs(way_kw) <= reach_kw:
                    took_s, self._ramped_kw = abs(way_kw) / rate_kw_per_s, stop_kw
                else:
                    took_s, self._ramped_kw = (
                        ended_at - at,
                        begin_kw + math.copysign(reach_kw, way_kw),
                    )
                at = MonotonicS(at + took_s)
                # The mean of a ramp is exact for the energy.
                yield from self._flow((begin_kw, self._ramped_kw), took_s, at)
        yield from self._flow((wish_kw, wish_kw), ended_at - at, ended_at)

    def snapshot(self, wish_kw: float, *, forced: bool) -> Snapshot:
        """What the registers show now."""
        spec, books = self._spec, self.books
        factor = temperature_factor(self.state.temperature_c, self.nameplate)
        return Snapshot(
            flows=Flows(self.power_kw(wish_kw), spec.pv_kw, spec.load_kw),
            books=books,
            day_charged_kwh=books.charged_kwh - self._day_began[0],
            day_discharged_kwh=books.discharged_kwh - self._day_began[1],
            soc_pct=self.soc_pct,
            capacity_kwh=spec.capacity_kwh,
            temperature_c=self.state.temperature_c,
            charge_limit_kw=spec.max_charge_kw * factor,
            discharge_limit_kw=spec.max_discharge_kw * factor,
            forced=forced,
        )

    def extremes(self) -> list[Snapshot]:
        """What the registers must be able to show: full charge and full discharge."""
        now = self.snapshot(0.0, forced=False)
        powers_kw = (0.0 - self._spec.max_charge_kw, self._spec.max_discharge_kw)
        return [
            replace(now, flows=Flows(kw, self._spec.pv_kw, self._spec.load_kw)) for kw in powers_kw
        ]

    def _flow(
        self, wishes_kw: tuple[float, float], took_s: float, ended_at: MonotonicS
    ) -> Iterator[Stretch]:
        seconds = took_s * self._speed
        if seconds <= 0:
            return
        begin, params = self.state, self.params
        self.state, mean_kw = step(begin, params, sum(wishes_kw) / 2.0, seconds)
        self.books.add(Flows(mean_kw, self._spec.pv_kw, self._spec.load_kw), seconds)
        self._day_s += seconds
        if self._day_s >= _DAY_S:
            self._day_s %= _DAY_S
            self._day_began = (self.books.charged_kwh, self.books.discharged_kwh)
        yield Stretch(params, begin, self.state, wishes_kw, mean_kw, seconds, ended_at)


def _stops(begin_kw: float, end_kw: float, cuts_kw: Collection[float]) -> list[float]:
    """Powers at which a ramp changes its meaning, on the way and in its order."""
    if begin_kw == end_kw:
        return []
    low, high = sorted((begin_kw, end_kw))
    between = {cut for cut in (0.0, *cuts_kw) if low < cut < high}
    return [*sorted(between, reverse=end_kw < begin_kw), end_kw]
