"""Time of one anomaly score in a site's process, beside scikit-learn's for the same forest.

Run ``python benchmarks/bench_intrusion.py``; prints microseconds for one sample at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from bessai.config.load import registry_root
from bessai.intrusion import SiteWatch, load_model
from bessai.intrusion.features import FeatureWindow
from bessai.modelstore import ModelStore
from training.intrusion import isolation_forest
from training.intrusion_days import Cycle, Nobody, draw_traits, draw_weather, run_day

CYCLES = 8000
SKLEARN_SAMPLES = 200


def timed(run: Callable[[Cycle], object], cycles: list[Cycle]) -> np.ndarray:
    times = np.empty(len(cycles))
    for k, cycle in enumerate(cycles):
        began = time.perf_counter()
        run(cycle)
        times[k] = time.perf_counter() - began
    return times * 1e6


def show(name: str, times_us: np.ndarray) -> None:
    p50, p99 = np.percentile(times_us, (50, 99))
    print(f"{name:<44} median {p50:8.1f} us, p99 {p99:8.1f} us")


def main() -> None:
    rng = np.random.default_rng(4242)
    traits = draw_traits(rng)
    cycles = list(run_day(traits, draw_weather(traits, rng), Nobody(), seconds=CYCLES))
    model = load_model(ModelStore(registry_root() / "models"))
    window, both = FeatureWindow(traits.limits), FeatureWindow(traits.limits)
    watch = SiteWatch(traits.limits, None, model)
    vectors = []

    def features(c: Cycle) -> None:
        found = window.update(c.telemetry, c.command_kw, c.now, read_s=c.read_s, writes=c.writes)
        vectors.append(found.copy())

    def features_and_score(c: Cycle) -> None:
        found = both.update(c.telemetry, c.command_kw, c.now, read_s=c.read_s, writes=c.writes)
        model.score(found)

    def observe(c: Cycle) -> None:
        watch.observe(c.telemetry, c.command_kw, c.now, read_s=c.read_s, writes=c.writes)

    show("features", timed(features, cycles))
    show("features and score", timed(features_and_score, cycles))
    show("SiteWatch.observe, all of it", timed(observe, cycles))
    rows = model.scaled(np.array(vectors))
    fitted = isolation_forest(rows, 1)
    times = np.empty(SKLEARN_SAMPLES)
    for k in range(SKLEARN_SAMPLES):
        began = time.perf_counter()
        fitted.score_samples(rows[k : k + 1])
        times[k] = time.perf_counter() - began
    show("scikit-learn score_samples, one sample", times * 1e6)
    began = time.perf_counter()
    model.forest.score_many(rows)
    print(
        f"{'score_many, per sample':<44} {(time.perf_counter() - began) / len(rows) * 1e6:8.1f} us"
    )


if __name__ == "__main__":
    main()
