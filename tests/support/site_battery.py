"""An exact battery behind an inverter that does as it is told; it knows nothing of bessai.plant.

Power is AC in kW, + discharge; each way costs the square root of the round trip. The only limits
are empty and full: a battery that is commanded too far goes too far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

S_PER_HOUR = 3600.0


@dataclass(slots=True)
class Cells:
    """Energy in the cells."""

    capacity_kwh: float
    one_way: float
    kwh: float

    @property
    def soc_pct(self) -> float:
        return 100.0 * self.kwh / self.capacity_kwh

    def flow(self, power_kw: float, hours: float) -> float:
        """Let power flow; what went into the cells, in kWh."""
        wished = (
            -power_kw * hours / self.one_way if power_kw > 0 else -power_kw * hours * self.one_way
        )
        before = self.kwh
        self.kwh = min(max(before + wished, 0.0), self.capacity_kwh)
        return self.kwh - before


@dataclass(slots=True)
class Registers:
    """What the inverter is told to do, with its own timer.

    Attributes:
        forced_kw: Command in force, or None; without one the battery rests.
        armed_at: Control time at which it was written.
        dead_man_s: After this time it forgets the command, or None.
    """

    dead_man_s: float | None
    forced_kw: float | None = None
    armed_at: float = 0.0

    @property
    def power_kw(self) -> float:
        """What the battery does; a command that is no number is none."""
        told = self.forced_kw
        return told if told is not None and math.isfinite(told) else 0.0

    @property
    def ends_at(self) -> float | None:
        """When the command ends by itself, or None."""
        if self.forced_kw is None or self.dead_man_s is None:
            return None
        return self.armed_at + self.dead_man_s

    def force(self, power_kw: float | None, now: float) -> None:
        self.forced_kw, self.armed_at = power_kw, now
