"""The fleet as columns: one row per site, NaN where a number is not known now.

Numbers live here and in no cache: a site that stops reporting, or reports without a reading,
has no numbers left anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bessai.config import SiteConfig
from bessai.errors import ConfigError
from bessai.model import SiteId, SiteReading, SiteSnapshot, SiteState, Tenure
from bessai.units import MonotonicS

Column = NDArray[np.float64]
Mask = NDArray[np.bool_]

SILENT_AFTER_S: Final = 10.0
STATES: Final = tuple(SiteState)
STATE_CODES: Final = {state: code for code, state in enumerate(STATES)}

READING_COLUMNS: Final = (
    "soc_pct",
    "capacity_kwh",
    "active_power_kw",
    "grid_power_kw",
    "temperature_c",
)


def finite(value: float | None) -> float | None:
    """The value where it is a number, else None."""
    return value if value is not None and math.isfinite(value) else None


class FleetState:
    """Columns of ``n_sites``; the order is the fleet file's.

    Attributes:
        site_ids: Row order.
        soc_pct, capacity_kwh, active_power_kw, grid_power_kw, temperature_c: Fresh numbers.
        lower_kw, upper_kw: Envelope that safety allowed in the last cycle.
        measured_at, reported_at: Control time of the reading and the report; NaN without one.
        market_at_s: Market time of the reading, seconds since 1970; NaN without one.
        state_code: Index into ``STATES``.
        stopped: Where a person or the site itself ordered a stop; such a site delivers nothing.
        writes: Whether the process that reports may write to its device.
        soc_min_pct, soc_max_pct, max_charge_kw, max_discharge_kw, round_trip_efficiency_pct,
            wear_cost_per_mwh, max_age_s: From the fleet file; powers include the grid limits,
            soc_min_pct the backup reserve.
    """

    def __init__(self, sites: Sequence[SiteConfig], started_at: MonotonicS) -> None:
        self.site_ids = tuple(site.site_id for site in sites)
        self._rows = {site_id: row for row, site_id in enumerate(self.site_ids)}
        self._snapshots: list[SiteSnapshot | None] = [None] * len(sites)
        self._started_at = started_at
        self.soc_pct = self._unknown()
        self.capacity_kwh = self._unknown()
        self.active_power_kw = self._unknown()
        self.grid_power_kw = self._unknown()
        self.temperature_c = self._unknown()
        self.lower_kw, self.upper_kw = self._unknown(), self._unknown()
        self.measured_at, self.reported_at = self._unknown(), self._unknown()
        self.market_at_s = self._unknown()
        self.state_code = np.full(len(sites), STATE_CODES[SiteState.STARTING], dtype=np.int8)
        self.stopped = np.zeros(len(sites), dtype=np.bool_)
        self.writes = np.zeros(len(sites), dtype=np.bool_)
        self._take_limits(sites)

    def _unknown(self) -> Column:
        return np.full(len(self.site_ids), np.nan)

    def _take_limits(self, sites: Sequence[SiteConfig]) -> None:
        limits = [site.limits() for site in sites]

        def column(pick: Callable[[int], float]) -> Column:
            return np.array([pick(row) for row in range(len(sites))], dtype=np.float64)

        self.soc_min_pct = column(lambda row: limits[row].soc_floor_pct)
        self.soc_max_pct = column(lambda row: limits[row].soc_max_pct)
        self.max_charge_kw = column(
            lambda row: min(limits[row].max_charge_kw, limits[row].import_limit_kw)
        )
        self.max_discharge_kw = column(
            lambda row: min(limits[row].max_discharge_kw, limits[row].export_limit_kw)
        )
        self.round_trip_efficiency_pct = column(lambda row: limits[row].round_trip_efficiency_pct)
        self.max_age_s = column(lambda row: limits[row].max_age_s)
        self.wear_cost_per_mwh = column(lambda row: sites[row].battery.wear_cost_per_mwh)
        self._own_capacity_kwh = [limit.capacity_kwh for limit in limits]

    def row(self, site_id: SiteId) -> int:
        """Row of a site.

        Raises:
            ConfigError: the fleet file does not name it.
        """
        row = self._rows.get(site_id)
        if row is None:
            raise ConfigError(
                "is not a site of this fleet",
                field="site_id",
                value=repr(site_id),
                fix="use an id of the fleet file, or add the site there",
            )
        return row

    def update(self, batch: Sequence[SiteSnapshot], now: MonotonicS) -> list[SiteSnapshot]:
        """Take a batch of reports; returns those that were news, in order.

        Raises:
            ConfigError: a site is not of this fleet; nothing of the batch was taken.
        """
        rows = [self.row(snapshot.site_id) for snapshot in batch]
        self.expire(now)
        taken = []
        for row, snapshot in zip(rows, batch, strict=True):
            if self._is_old(row, snapshot):
                continue
            self._snapshots[row] = snapshot
            self._take(row, snapshot, now)
            taken.append(snapshot)
        return taken

    def _is_old(self, row: int, snapshot: SiteSnapshot) -> bool:
        last = self._snapshots[row]
        if last is not None and last.epoch != snapshot.epoch:
            return self._is_of_earlier_owner(row, last, snapshot)
        if last is None or last.pid != snapshot.pid or snapshot.sequence > last.sequence:
            return False
        # A container restarts under the same pid: a lower number reported later is a new process.
        return snapshot.sequence == last.sequence or snapshot.reported_at <= last.reported_at

    def _is_of_earlier_owner(self, row: int, last: SiteSnapshot, snapshot: SiteSnapshot) -> bool:
        """An owner without an epoch counts while none with one reports; call ``expire`` before."""
        if snapshot.epoch == 0:
            return self.state(row) is not SiteState.SILENT
        return snapshot.epoch < last.epoch

    def _take(self, row: int, snapshot: SiteSnapshot, now: MonotonicS) -> None:
        self.reported_at[row] = now
        self.state_code[row] = STATE_CODES[snapshot.state]
        self.writes[row] = snapshot.tenure is Tenure.OWNER
        envelope, reading = snapshot.envelope, snapshot.reading
        self.lower_kw[row] = np.nan if envelope is None else envelope.lower_kw
        self.upper_kw[row] = np.nan if envelope is None else envelope.upper_kw
        if reading is None or not math.isfinite(reading.age_s):
            self._clear_reading(row)
            return
        self._take_reading(row, reading)
        self.measured_at[row] = now - max(reading.age_s, 0.0)
        self.market_at_s[row] = snapshot.market_at.timestamp()

    def _take_reading(self, row: int, reading: SiteReading) -> None:
        own = self._own_capacity_kwh[row]
        self.soc_pct[row] = _number(reading.soc_pct)
        self.capacity_kwh[row] = _number(reading.capacity_kwh if own is None else own)
        self.active_power_kw[row] = _number(reading.active_power_kw)
        self.grid_power_kw[row] = _number(reading.grid_power_kw)
        self.temperature_c[row] = _number(reading.temperature_c)

    def _clear_reading(self, rows: int | Mask) -> None:
        for name in READING_COLUMNS:
            column: Column = getattr(self, name)
            column[rows] = np.nan
        self.measured_at[rows] = np.nan
        self.market_at_s[rows] = np.nan

    def expire(self, now: MonotonicS) -> None:
        """Drop the numbers that are too old now, and mark sites that stopped reporting."""
        last_sign = np.where(np.isnan(self.reported_at), self._started_at, self.reported_at)
        silent = now - last_sign > SILENT_AFTER_S
        with np.errstate(invalid="ignore"):
            stale = silent | (now - self.measured_at > self.max_age_s)
        if stale.any():
            self._clear_reading(stale)
        if silent.any():
            self.lower_kw[silent] = self.upper_kw[silent] = np.nan
            self.state_code[silent] = STATE_CODES[SiteState.SILENT]

    def reporting(self) -> Mask:
        """Which sites have reported within the last ten seconds."""
        silent = self.state_code == STATE_CODES[SiteState.SILENT]
        mask: Mask = ~silent & ~np.isnan(self.reported_at)
        return mask

    def plannable(self) -> Mask:
        """Which sites have a fresh state of charge, a known capacity and no stop."""
        return np.isfinite(self.soc_pct) & np.isfinite(self.capacity_kwh) & ~self.stopped

    def state(self, row: int) -> SiteState:
        """State of one site."""
        return STATES[int(self.state_code[row])]

    def snapshot(self, row: int) -> SiteSnapshot | None:
        """The last report of a site that reports now, else None."""
        return None if self.state(row) is SiteState.SILENT else self._snapshots[row]

    def last_pid(self, row: int) -> int | None:
        """Process that reported last, also of a silent site."""
        last = self._snapshots[row]
        return None if last is None else last.pid


def _number(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else value
