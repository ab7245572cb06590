"""Where each site should stand by its plan, so that a plan that lost touch is made anew."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bessai.fleet.state import FleetState
from bessai.model import DispatchRequest, Schedule, SiteId
from bessai.units import S_PER_HOUR

Column = NDArray[np.float64]

TOLERANCE_PCT: Final = 10.0
LAG_S: Final = 3.0
"""Real seconds between a plan and the power it causes (report, cycle, write); a replay moves
much energy in that time, and that alone is no reason to plan again."""


class ExpectedSoc:
    """Expected state of charge of all planned sites on one time grid."""

    def __init__(self, n_sites: int) -> None:
        self._grid_s: Column = np.zeros(1)
        self._soc_pct: NDArray[np.float64] = np.full((n_sites, 1), np.nan)

    def take(
        self,
        state: FleetState,
        request: DispatchRequest,
        schedules: Mapping[SiteId, Schedule],
    ) -> None:
        """Replace the expectation by a new plan that starts at ``request.market_now``."""
        origin = request.market_now
        self._grid_s = _grid_s(request, origin)
        self._soc_pct = np.full((len(state.site_ids), self._grid_s.size), np.nan)
        for site_id, soc_pct in zip(request.site_ids, request.soc_pct, strict=True):
            edges, values = _course(schedules[site_id], origin, float(soc_pct))
            if edges:
                times = np.array([origin.timestamp(), *edges])
                course = np.interp(self._grid_s, times, np.array([soc_pct, *values]))
                self._soc_pct[state.row(site_id)] = course

    def at(self, market_at_s: Column) -> Column:
        """Expected percent per site at its own market time; NaN outside the plan."""
        last = self._grid_s.size - 1
        if last == 0:
            return np.full(market_at_s.shape, np.nan)
        after = np.clip(np.searchsorted(self._grid_s, market_at_s, side="right"), 1, last)
        rows = np.arange(market_at_s.size)
        left, right = self._soc_pct[rows, after - 1], self._soc_pct[rows, after]
        start, end = self._grid_s[after - 1], self._grid_s[after]
        share = (market_at_s - start) / (end - start)
        inside = (market_at_s >= self._grid_s[0]) & (market_at_s <= self._grid_s[last])
        return np.where(inside, left + share * (right - left), np.nan)

    def has_lost_touch(self, state: FleetState, speed: float) -> bool:
        """Whether any site is further from its plan than the tolerance and the lag explain."""
        with np.errstate(invalid="ignore", divide="ignore"):
            off_pct = np.abs(state.soc_pct - self.at(state.market_at_s))
            most_kw = np.maximum(state.max_charge_kw, state.max_discharge_kw)
            lag_pct = 100.0 * most_kw / state.capacity_kwh * LAG_S * speed / S_PER_HOUR
            return bool(np.any(off_pct > TOLERANCE_PCT + lag_pct))


def _grid_s(request: DispatchRequest, origin: datetime) -> Column:
    forecast = request.forecast
    ends = forecast.start.timestamp() + forecast.step.total_seconds() * np.arange(
        1, forecast.n_steps + 1
    )
    return np.concatenate(([origin.timestamp()], ends[ends > origin.timestamp()]))


def _course(
    schedule: Schedule, origin: datetime, soc_pct: float
) -> tuple[list[float], list[float]]:
    """Ends of the intervals after ``origin`` and the state of charge there; flat in gaps."""
    edges: list[float] = []
    values: list[float] = []
    before, last_end = soc_pct, origin
    for interval in schedule.intervals:
        if interval.end <= origin:
            continue
        if interval.start > last_end:
            edges.append(interval.start.timestamp())
            values.append(before)
        edges.append(interval.end.timestamp())
        values.append(interval.soc_end_pct)
        before, last_end = interval.soc_end_pct, interval.end
    return edges, values
