"""What the envelope must know besides telemetry and limits: the clock and the last setpoint."""

from __future__ import annotations

from dataclasses import dataclass

from bessai.model import Telemetry
from bessai.units import S_PER_HOUR, MonotonicS


@dataclass(frozen=True, slots=True)
class Outlook:
    """One look ahead from ``now``.

    Attributes:
        now: Control time of the decision.
        since_last_s: Real seconds since the last setpoint; the ramp may use them.
        horizon_s: Real seconds until the next cycle's write takes effect at the latest.
        speed: Market seconds per real second, 1 live; energy moves this much faster.
        last_power_kw: Setpoint that is in force, + discharge.
    """

    now: MonotonicS
    since_last_s: float
    horizon_s: float
    speed: float
    last_power_kw: float

    def age_s(self, telemetry: Telemetry) -> float:
        """Real seconds since the telemetry was measured."""
        return self.now - telemetry.measured_at

    def energy_hours(self, real_s: float) -> float:
        """Hours of energy flow that pass in ``real_s`` real seconds."""
        return real_s * self.speed / S_PER_HOUR
