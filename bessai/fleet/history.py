"""What each site really did over the last market day, in bounded memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bessai.fleet.state import finite
from bessai.model import SiteSnapshot

DAY: Final = timedelta(days=1)
MOST_PER_SITE: Final = 1440
LEAST_PER_SITE: Final = 96
MOST_POINTS: Final = 1_000_000
"""All sites together: a large fleet keeps fewer points per site, not more memory."""


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """One sample; None where there was no fresh reading."""

    market_at: datetime
    soc_pct: float | None
    active_power_kw: float | None
    setpoint_kw: float | None


class History:
    """Ring of samples per site, at most one per ``spacing`` of market time."""

    def __init__(self, n_sites: int) -> None:
        share = MOST_POINTS // max(n_sites, 1)
        size = min(max(share, LEAST_PER_SITE), MOST_PER_SITE)
        self.spacing = DAY / size
        self._points: list[deque[HistoryPoint]] = [deque(maxlen=size) for _ in range(n_sites)]

    def add(self, row: int, snapshot: SiteSnapshot) -> None:
        """Take a sample if the last one is old enough; a clock that went back starts anew."""
        points = self._points[row]
        at = snapshot.market_at
        if points and at < points[-1].market_at:
            points.clear()
        if points and at - points[-1].market_at < self.spacing:
            return
        points.append(_point(snapshot))
        while points[0].market_at < at - DAY:
            points.popleft()

    def points(self, row: int) -> list[HistoryPoint]:
        """Samples of a site, oldest first."""
        return list(self._points[row])


def _point(snapshot: SiteSnapshot) -> HistoryPoint:
    reading, setpoint = snapshot.reading, snapshot.setpoint
    return HistoryPoint(
        market_at=snapshot.market_at,
        soc_pct=None if reading is None else finite(reading.soc_pct),
        active_power_kw=None if reading is None else finite(reading.active_power_kw),
        setpoint_kw=None if setpoint is None else finite(setpoint.power_kw),
    )
