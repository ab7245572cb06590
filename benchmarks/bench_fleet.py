"""Time to total 100,000 sites as columns, against a sum over Python objects of the same run.

Run ``python benchmarks/bench_fleet.py``; prints milliseconds and the ratio.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bessai.config import BatteryConfig, SiteConfig
from bessai.fleet.aggregate import aggregate
from bessai.fleet.state import FleetState
from bessai.units import MonotonicS

N_SITES = 100_000
NOW = MonotonicS(1000.0)


@dataclass(frozen=True, slots=True)
class SiteRow:
    """What a fleet without columns would keep per site."""

    soc_pct: float
    capacity_kwh: float
    active_power_kw: float


def best_ms(work: Callable[[], object], repeats: int = 7) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def main() -> None:
    battery = BatteryConfig(max_charge_kw=50, max_discharge_kw=50)
    state = FleetState([SiteConfig(id="a", host="127.0.0.1", battery=battery)] * N_SITES, NOW)
    rng = np.random.default_rng(1)
    state.soc_pct[:] = rng.uniform(10, 90, N_SITES)
    state.capacity_kwh[:] = 100.0
    state.active_power_kw[:] = rng.uniform(-50, 50, N_SITES)
    state.lower_kw[:], state.upper_kw[:] = -50.0, 50.0
    state.reported_at[:] = state.measured_at[:] = NOW
    rows = [
        SiteRow(float(s), float(c), float(p))
        for s, c, p in zip(state.soc_pct, state.capacity_kwh, state.active_power_kw, strict=True)
    ]

    def objects() -> tuple[float, float]:
        energy = math.fsum(r.soc_pct * r.capacity_kwh / 100 for r in rows)
        return energy, math.fsum(r.active_power_kw for r in rows)

    columns_ms, objects_ms = best_ms(lambda: aggregate(state)), best_ms(objects)
    print(
        f"totals and flexibility of {N_SITES} sites: {columns_ms:.1f} ms; two sums over objects: "
        f"{objects_ms:.1f} ms ({objects_ms / columns_ms:.1f} times)"
    )


if __name__ == "__main__":
    main()
