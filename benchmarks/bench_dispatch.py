"""Time to plan many sites: blocks of sites per solver call against one call per site.

Run ``python benchmarks/bench_dispatch.py``; prints milliseconds, best of several runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np

from bessai.model import DispatchRequest, QuantileForecast, SiteId
from bessai.policies import highs
from bessai.policies.linear import LinearPolicy

START = datetime(2024, 5, 21, 17, tzinfo=UTC)
RUNS = 5


def make_request(n_sites: int, n_steps: int) -> DispatchRequest:
    rng = np.random.default_rng(1)
    p50 = 70 + 60 * np.sin(np.arange(n_steps) / 24 * 2 * np.pi) + rng.normal(0, 10, n_steps)
    p50 = np.maximum(p50, 0)
    capacity = rng.uniform(50, 300, n_sites)
    full = np.full(n_sites, 1.0)
    return DispatchRequest(
        market_now=START + timedelta(minutes=20),
        forecast=QuantileForecast(
            START, START, START, timedelta(hours=1), p50 * 0.6, p50, p50 * 1.6, "USD/MWh", "bench"
        ),
        currency="USD",
        site_ids=tuple(SiteId(f"site-{k}") for k in range(n_sites)),
        soc_pct=rng.uniform(12, 88, n_sites),
        capacity_kwh=capacity,
        soc_min_pct=10 * full,
        soc_max_pct=90 * full,
        max_charge_kw=capacity / 2,
        max_discharge_kw=capacity / 2,
        round_trip_efficiency_pct=rng.uniform(85, 95, n_sites),
        wear_cost_per_mwh=10 * full,
    )


def best_ms(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def one_by_one(request: DispatchRequest) -> None:
    whole = highs.BLOCK_SITES
    highs.BLOCK_SITES = 1  # type: ignore[misc]
    try:
        LinearPolicy().plan_now(request)
    finally:
        highs.BLOCK_SITES = whole  # type: ignore[misc]


def main() -> None:
    print(f"{'sites':>6}{'steps':>7}{'blocks ms':>12}{'per site ms':>13}{'ratio':>8}")
    for n_sites, n_steps in ((1, 24), (10, 24), (100, 24), (100, 48), (1000, 24)):
        request = make_request(n_sites, n_steps)
        blocks = best_ms(partial(LinearPolicy().plan_now, request))
        single = best_ms(partial(one_by_one, request))
        print(f"{n_sites:>6}{n_steps:>7}{blocks:>12.1f}{single:>13.1f}{single / blocks:>8.2f}")


if __name__ == "__main__":
    main()
