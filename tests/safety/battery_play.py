"""A physical battery that is read once a cycle, with a meter and a display that are not perfect."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bessai.model import SiteLimits, Telemetry
from bessai.plant import BatteryParams, BatteryState, power_limits, step
from bessai.safety import Trace, observe
from tests.support.site_values import LIMITS, telemetry_at

Lie = Callable[[Telemetry], Telemetry]


@dataclass(frozen=True)
class Scene:
    """One site.

    Attributes:
        capacity_kwh, size_kw: Of battery and inverter.
        stated_share: Capacity in the site file, as a share of the real one.
        tells_capacity: Whether the device tells the real one.
        noise_kw: Largest error of the power, random and as a constant offset together.
        resolution_pct: Step of the state of charge shown.
        lag: Longest time a value is taken after the begin of its read, as a share of the cycle.
    """

    capacity_kwh: float = 10.0
    size_kw: float = 5.0
    stated_share: float = 1.0
    tells_capacity: bool = True
    efficiency_pct: float = 90.0
    noise_kw: float = 0.0
    resolution_pct: float = 0.1
    speed: float = 1.0
    cycle_s: float = 1.0
    lag: float = 0.3
    seed: int = 0

    @property
    def limits(self) -> SiteLimits:
        return replace(
            LIMITS,
            capacity_kwh=self.capacity_kwh * self.stated_share,
            max_charge_kw=self.size_kw,
            max_discharge_kw=self.size_kw,
            round_trip_efficiency_pct=self.efficiency_pct,
            export_limit_kw=math.inf,
            import_limit_kw=math.inf,
        )


@dataclass
class Play:
    """Runs a scene; ``soc_pct`` and ``through_kwh`` are the truth."""

    scene: Scene
    start_pct: float = 50.0
    trace: Trace = field(default_factory=Trace)
    now: float = 1000.0
    wish_kw: float = 0.0
    through_kwh: float = 0.0

    def __post_init__(self) -> None:
        scene = self.scene
        self.random = random.Random(scene.seed)
        self.params = BatteryParams(
            scene.capacity_kwh,
            scene.size_kw,
            scene.size_kw,
            round_trip_efficiency_pct=scene.efficiency_pct,
            standby_w=3.0 * scene.size_kw,
            thermal_resistance_c_per_kw=100.0 / scene.size_kw,
        )
        self.state = BatteryState.at(self.params, self.start_pct)
        self.offset = self.random.uniform(-0.5, 0.5) * scene.noise_kw
        self.round = self.random.choice((round, math.floor))

    @property
    def soc_pct(self) -> float:
        return self.state.soc_pct(self.params)

    @property
    def power_kw(self) -> float:
        return power_limits(self.state, self.params).clamp(self.wish_kw)

    def read(self, lie: Lie | None = None) -> Telemetry:
        """One cycle: values are taken late, the wish acts after them, then the cycle passes."""
        scene, share = self.scene, self.scene.lag / 2
        first, second = (self.random.uniform(0, share) * scene.cycle_s for _ in range(2))
        self._pass(first)
        soc = self.round(self.soc_pct / scene.resolution_pct) * scene.resolution_pct
        self._pass(second)
        noise = self.offset + self.random.uniform(-0.5, 0.5) * scene.noise_kw
        seen = telemetry_at(
            self.now,
            soc_pct=min(max(soc, 0.0), 100.0),
            active_power_kw=round(self.power_kw + noise, 3),
            capacity_kwh=scene.capacity_kwh if scene.tells_capacity else None,
            charge_limit_kw=scene.size_kw,
            discharge_limit_kw=scene.size_kw,
            temperature_c=round(self.state.temperature_c, 1),
        )
        seen = seen if lie is None else lie(seen)
        self.trace = observe(self.trace, seen, scene.limits, scene.speed)
        self._rest_s = scene.cycle_s - first - second
        return seen

    def act(self, wish_kw: float) -> None:
        """Command a power; the rest of the cycle passes."""
        self.wish_kw = wish_kw
        self._pass(self._rest_s)
        self.now += self.scene.cycle_s

    def skip(self, seconds: float) -> None:
        """Let time pass without a read."""
        self._pass(seconds)
        self.now += seconds

    def _pass(self, real_s: float) -> None:
        before = self.state.energy_kwh
        self.state, _ = step(self.state, self.params, self.wish_kw, real_s * self.scene.speed)
        self.through_kwh += abs(self.state.energy_kwh - before)
