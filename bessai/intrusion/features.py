"""What the anomaly score looks at: physics that must agree, and how the device answers.

An attacker who changes one number has to change all that follow from it: energy from power, the
meter's counters from its power, the command from what was written. Each feature is 0 when they
agree, so that one model serves sites of any size: powers count as shares of the peak, energies as
per cent of the capacity.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bessai.intrusion.history import History, Mark
from bessai.model import SiteLimits, Telemetry
from bessai.units import S_PER_HOUR, WH_PER_KWH, MonotonicS

FEATURES: Final = (
    "follow_error_share",
    "command_gap_share",
    "soc_jump_pct",
    "energy_error_10min_pct",
    "energy_error_60min_pct",
    "energy_error_60min_ratio",
    "counter_error_share",
    "negative_load_share",
    "temperature_1min_c",
    "temperature_10min_c",
    "grid_stuck_share",
    "soc_stuck_pct",
    "limit_drop_share",
    "read_time_log_ratio",
    "failed_share",
    "missing_values",
    "writes_per_min",
)
"""Order of the vector; a model names the same order or is refused."""

GAP_S: Final = 30.0
"""Without a read for longer than this the flows between are unknown: the windows start again."""

TAPER_PCT: Final = 5.0
"""This near to a limit of the state of charge the device may give less than it was told."""

RESOLUTION_PCT: Final = 1.0
"""Coarsest state of charge that families report: whole per cent."""

LOSS_SHARE: Final = 0.06
"""Part of the energy moved by which the efficiency in the site file may be wrong."""

METER_S: Final = 300.0
"""Shortest window in which counters of 10 Wh say something about a power."""

METER_LAG_S: Final = 5.0
"""How much later than the battery's power the meter's may show the same step."""

METER_GAP_S: Final = 5.0
"""Without the meter for longer than this its counters are compared anew."""

STEP_SHARE: Final = 0.02
"""A change of power by more than this share of the peak is a step."""

_MINUTE: Final = 1.0 / 60.0
_READ: Final = 1.0 / 15.0
_LOAD: Final = 1.0 / 10.0
_SLOW: Final = 1.0 / 1800.0
_NONE: Final = math.nan

Vector = NDArray[np.float64]


class FeatureWindow:
    """Turns each cycle into one vector in a few microseconds; remembers an hour at most.

    Args:
        limits: Sizes of the site; a site without a capacity takes what the device reports.
        effect_s: Real seconds in which the device's power follows a command.
        speed: Seconds of energy flow per real second, 1 live.
    """

    def __init__(self, limits: SiteLimits, *, effect_s: float = 10.0, speed: float = 1.0) -> None:
        self._limits = limits
        self._peak_kw = max(limits.max_charge_kw, limits.max_discharge_kw)
        self._one_way = math.sqrt(limits.round_trip_efficiency_pct / 100.0)
        self._hours_per_s = speed / S_PER_HOUR
        self._effect_s = effect_s
        self._values: Vector = np.zeros(len(FEATURES))
        self._usual_read_s: float | None = None
        self._read_log = self._failed = self._missing = self._writes = 0.0
        self._knows_command = False
        self._last: Telemetry | None = None
        self._restart()

    def update(
        self,
        telemetry: Telemetry | None,
        setpoint_kw: float | None,
        now: MonotonicS,
        *,
        read_s: float | None = None,
        writes: int = 0,
    ) -> Vector:
        """Features of this cycle in the order of :data:`FEATURES`, all finite.

        The array is reused: copy it to keep it. What the device does not tell leaves its features
        as they were, and counts in ``missing_values``.

        Args:
            telemetry: The read of this cycle, or None where it failed.
            setpoint_kw: Command in force as this site knows it, or None where it holds none.
            now: Control time.
            read_s: How long the read took.
            writes: Registers written since the last call.
        """
        self._count(telemetry, read_s, writes)
        if telemetry is None:
            return self._values
        last = self._last
        if last is None or telemetry.measured_at - last.measured_at > GAP_S:
            self._restart()
            self._battery_kw = telemetry.active_power_kw or 0.0
            self._metered_kw = telemetry.grid_power_kw or 0.0
            last = telemetry
        self._follow(telemetry, setpoint_kw, now)
        passed_h = (telemetry.measured_at - last.measured_at) * self._hours_per_s
        self._charge(telemetry, last, passed_h)
        self._meter(telemetry, passed_h)
        self._limit(telemetry)
        self._last = telemetry
        return self._values

    def _restart(self) -> None:
        """Forget what must be continuous."""
        self._last = None
        self._minute = History(60.0, 5.0)
        self._mid = History(600.0, 20.0)
        self._metered = History(600.0, 20.0)
        self._long = History(3600.0, 120.0)
        self._next_mark_at = -math.inf
        self._cells_pct = self._moved_pct = self._grid_kwh = 0.0
        self._stuck_from_pct = 0.0
        self._battery_kw = self._metered_kw = self._stepped_kw = self._grid_stuck_kw = 0.0
        self._load_kw = 0.0
        self._stepped_at = self._metered_at = -math.inf
        self._commands: deque[tuple[float, float]] = deque()
        self._top_charge_kw = self._top_discharge_kw = 0.0
        self._values[:13] = 0.0

    def _count(self, telemetry: Telemetry | None, read_s: float | None, writes: int) -> None:
        values, failed = self._values, telemetry is None
        self._failed += _MINUTE * (failed - self._failed)
        self._writes += _MINUTE * (60.0 * writes - self._writes)
        if telemetry is not None:
            self._missing += _MINUTE * (len(telemetry.missing) - self._missing)
        if read_s is not None and not failed:
            usual_s = self._usual_read_s or read_s
            ratio = math.log(max(read_s, 1e-4) / max(usual_s, 1e-4))
            self._read_log += _READ * (ratio - self._read_log)
            # The usual time moves slowly, and never by much at once.
            self._usual_read_s = usual_s * (1.0 + _SLOW * max(-1.0, min(ratio, 1.0)))
        values[13] = abs(self._read_log)
        values[14] = self._failed
        values[15] = self._missing
        values[16] = self._writes

    def _follow(self, telemetry: Telemetry, setpoint_kw: float | None, now: float) -> None:
        values, commands, held_kw = self._values, self._commands, telemetry.commanded_kw
        if setpoint_kw is None:
            commands.clear()
            values[0] = values[1] = 0.0
            return
        if not commands or commands[-1][1] != setpoint_kw:
            commands.append((now, setpoint_kw))
        since = now - self._effect_s
        while len(commands) > 1 and commands[1][0] <= since:
            commands.popleft()
        if held_kw is not None:
            self._knows_command = True
            values[1] = min([abs(held_kw - kw) for _, kw in commands]) / self._peak_kw
        else:
            values[1] = 1.0 if self._knows_command else 0.0
        power_kw = telemetry.active_power_kw
        if power_kw is not None and commands[0][0] <= since:
            values[0] = self._away_kw(power_kw, telemetry) / self._peak_kw

    def _away_kw(self, power_kw: float, telemetry: Telemetry) -> float:
        """Distance of the power from the commands of the last seconds and the way between them."""
        asked = [kw for _, kw in self._commands]
        low, high = min(asked), max(asked)
        charge_kw, discharge_kw = telemetry.charge_limit_kw, telemetry.discharge_limit_kw
        if charge_kw is not None:
            low, high = max(low, -charge_kw), max(high, -charge_kw)
        if discharge_kw is not None:
            low, high = min(low, discharge_kw), min(high, discharge_kw)
        soc = telemetry.soc_pct
        if high > 0 and (soc is None or soc <= self._limits.soc_min_pct + TAPER_PCT):
            low = min(low, 0.0)
        if low < 0 and (soc is None or soc >= self._limits.soc_max_pct - TAPER_PCT):
            high = max(high, 0.0)
        return max(low - power_kw, power_kw - high, 0.0)

    def _charge(self, telemetry: Telemetry, last: Telemetry, passed_h: float) -> None:
        """Whether the state of charge moves as the power says."""
        values, soc, was_kw = self._values, telemetry.soc_pct, self._battery_kw
        if telemetry.active_power_kw is not None:
            self._battery_kw = telemetry.active_power_kw
        self._stepped_kw = abs(self._battery_kw - was_kw)
        if self._stepped_kw > STEP_SHARE * self._peak_kw:
            self._stepped_at = telemetry.measured_at
        capacity_kwh = self._limits.capacity_kwh or telemetry.capacity_kwh
        if not capacity_kwh:
            return
        ac_pct = 50.0 * (was_kw + self._battery_kw) * passed_h / capacity_kwh
        moved_pct = ac_pct / self._one_way if ac_pct > 0 else ac_pct * self._one_way
        self._cells_pct += moved_pct
        self._moved_pct += abs(moved_pct)
        if soc is None:
            return
        if last.soc_pct is not None:
            jump_pct = abs(soc - last.soc_pct)
            values[2] = max(jump_pct - abs(moved_pct) - RESOLUTION_PCT, 0.0)
            if jump_pct > 0:
                self._stuck_from_pct = self._cells_pct
        values[11] = max(abs(self._cells_pct - self._stuck_from_pct) - RESOLUTION_PCT, 0.0)

    def _meter(self, telemetry: Telemetry, passed_h: float) -> None:
        """Whether grid power, battery power, sun and counters tell one story."""
        values, was_kw, grid_kw = self._values, self._metered_kw, telemetry.grid_power_kw
        now = telemetry.measured_at
        if grid_kw is not None:
            if now - self._metered_at > METER_GAP_S:
                # Counters went on, and nobody knows at what power.
                self._metered = History(600.0, 20.0)
            self._metered_kw, self._metered_at = grid_kw, now
            self._grid_kwh += 0.5 * (was_kw + grid_kw) * passed_h
            pv_kw, battery_kw = telemetry.pv_power_kw, telemetry.active_power_kw
            steady = now - self._stepped_at >= METER_LAG_S
            if pv_kw is not None and battery_kw is not None and steady:
                self._load_kw += _LOAD * (battery_kw + pv_kw - grid_kw - self._load_kw)
                values[7] = max(-self._load_kw, 0.0) / self._peak_kw
            stuck_kw = self._grid_stuck_kw + self._stepped_kw
            self._grid_stuck_kw = stuck_kw if grid_kw == was_kw else 0.0
            values[10] = self._grid_stuck_kw / self._peak_kw
        if now >= self._next_mark_at:
            self._next_mark_at = now + 5.0
            self._compare(self._mark(telemetry))

    def _mark(self, telemetry: Telemetry) -> Mark:
        out_wh, in_wh = telemetry.exported_wh, telemetry.imported_wh
        counted = out_wh is not None and in_wh is not None
        soc, celsius = telemetry.soc_pct, telemetry.temperature_c
        return Mark(
            at=telemetry.measured_at,
            soc_pct=_NONE if soc is None else soc,
            cells_pct=self._cells_pct,
            moved_pct=self._moved_pct,
            grid_kwh=self._grid_kwh,
            counted_kwh=((out_wh or 0) - (in_wh or 0)) / WH_PER_KWH if counted else _NONE,
            temperature_c=_NONE if celsius is None else celsius,
        )

    def _compare(self, mark: Mark) -> None:
        values = self._values
        minute, mid, long = self._minute.add(mark), self._mid.add(mark), self._long.add(mark)
        error_pct = _energy_error_pct(mid, mark)
        if error_pct == error_pct:  # noqa: PLR0124  # NaN: one of the two is not available
            values[3] = abs(error_pct)
        error_pct = _energy_error_pct(long, mark)
        if error_pct == error_pct:  # noqa: PLR0124
            expected_pct = RESOLUTION_PCT + LOSS_SHARE * (mark.moved_pct - long.moved_pct)
            values[4], values[5] = abs(error_pct), abs(error_pct) / expected_pct
        old = self._metered.add(mark)
        passed_s = mark.at - old.at
        metered_kwh = (mark.counted_kwh - old.counted_kwh) - (mark.grid_kwh - old.grid_kwh)
        if passed_s >= METER_S and metered_kwh == metered_kwh:  # noqa: PLR0124
            values[6] = abs(metered_kwh) / (passed_s * self._hours_per_s) / self._peak_kw
        for index, old in ((8, minute), (9, mid)):
            rise_c = mark.temperature_c - old.temperature_c
            if rise_c == rise_c:  # noqa: PLR0124
                values[index] = abs(rise_c)

    def _limit(self, telemetry: Telemetry) -> None:
        """How far the device's own limits fell where the state of charge does not explain it."""
        soc, limits = telemetry.soc_pct, self._limits
        charge_kw, discharge_kw = telemetry.charge_limit_kw, telemetry.discharge_limit_kw
        drop_kw = 0.0
        if charge_kw is not None:
            top_kw = max(self._top_charge_kw, min(charge_kw, limits.max_charge_kw))
            self._top_charge_kw = top_kw
            if soc is not None and soc < limits.soc_max_pct - 2 * TAPER_PCT:
                drop_kw = top_kw - charge_kw
        if discharge_kw is not None:
            top_kw = max(self._top_discharge_kw, min(discharge_kw, limits.max_discharge_kw))
            self._top_discharge_kw = top_kw
            if soc is not None and soc > limits.soc_min_pct + 2 * TAPER_PCT:
                drop_kw = max(drop_kw, top_kw - discharge_kw)
        self._values[12] = max(drop_kw, 0.0) / self._peak_kw


def _energy_error_pct(old: Mark, new: Mark) -> float:
    """What the state of charge gained that the power did not bring; NaN where unknown."""
    return (new.soc_pct - old.soc_pct) + (new.cells_pct - old.cells_pct)
