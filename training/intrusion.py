"""Train the anomaly model of a site: limits and an isolation forest, on clean simulated days.

Run ``python -m training.intrusion --out registry/models``; it never sees an attack. What counts as
too much is chosen on further clean days, the validation days.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from bessai.errors import BessaiError, ConfigError
from bessai.intrusion.features import FEATURES
from bessai.intrusion.forest import Forest
from bessai.intrusion.model import FORMAT, KIND, MODEL_FILE, IntrusionModel, Params
from bessai.modelstore import DataUsed, ModelCard, ModelStore
from bessai.modelstore.store import sha256_hex
from training.intrusion_features import Day, Flags, Job, alarm_spans, days_of
from training.provenance import software_versions

TRAIN_SEED: Final = 1000
VALIDATE_SEED: Final = 2000
SEED_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The card wants dates; a seed counts as that many days after this one."""

FLOORS: Final = {
    "follow_error_share": 0.02,
    "command_gap_share": 0.01,
    "soc_jump_pct": 1.0,
    "energy_error_10min_pct": 0.5,
    "energy_error_60min_pct": 0.5,
    "energy_error_60min_ratio": 0.5,
    "counter_error_share": 0.03,
    "negative_load_share": 0.03,
    "temperature_1min_c": 1.0,
    "temperature_10min_c": 1.0,
    "grid_stuck_share": 0.1,
    "soc_stuck_pct": 0.2,
    "limit_drop_share": 0.05,
    "read_time_log_ratio": 0.1,
    "failed_share": 0.1,
    "missing_values": 0.3,
    "writes_per_min": 5.0,
}
"""Least scale of each feature: what clean days never show must not count at its first digit."""

SCALE_QUANTILE: Final = 0.9999
SAMPLES: Final = 100_000
TREES: Final = 100
SAMPLES_PER_TREE: Final = 256
TOP: Final = 8.0
SPREAD_SHARE: Final = 0.3
"""Share of the training rows in which one feature is replaced by any value up to ``TOP``. Clean
days leave most features at 0, where a tree finds nothing to split; no attack is used."""

NEEDED, WINDOW = 8, 10
MOST_FALSE: Final = 1
"""False alarms that are accepted on all validation days together, for limits and forest each."""

LIMITS: Final = tuple(float(x) for x in np.round(np.arange(1.0, 4.01, 0.1), 1))
Floats32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    out: Path
    version: str
    train_days: int
    validate_days: int
    seed: int
    workers: int
    promote: bool


@dataclass(frozen=True, slots=True)
class Fitted:
    """The parts before the threshold is known."""

    scale: NDArray[np.float64]
    forest: Forest
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and store; the exit code is 2 after one clear line on bad input."""
    try:
        train(_parse(arguments))
    except BessaiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def train(options: Options) -> Path:
    """Run the whole job and return the folder of the new version.

    Raises:
        BessaiError: bad input, or the version exists.
    """
    began = time.monotonic()
    store = ModelStore(options.out)
    store.require_new(KIND, options.version)
    _say(f"simulate {options.train_days} clean days to train, {options.validate_days} to choose")
    clean = days_of([Job(TRAIN_SEED + k) for k in range(options.train_days)], options.workers)
    unseen = days_of(
        [Job(VALIDATE_SEED + k) for k in range(options.validate_days)], options.workers
    )
    fitted = fit(clean, options.seed)
    model = choose(fitted, unseen, options.version, _say)
    artefact = model.to_bytes()
    folder = store.add(_card(options, clean, unseen, model, artefact), artefact)
    if options.promote:
        store.promote(KIND, options.version)
    _say(f"wrote {folder}, {len(artefact)} bytes, in {time.monotonic() - began:.0f} s")
    return folder


def fit(days: Sequence[Day], seed: int) -> Fitted:
    """Scale and forest from clean days."""
    rng = np.random.default_rng(seed)
    rows: Floats32 = np.concatenate([day.features for day in days])
    floors = np.array([FLOORS[name] for name in FEATURES])
    scale = np.maximum(np.quantile(rows, SCALE_QUANTILE, axis=0), floors)
    sample = np.minimum(rows[rng.integers(0, len(rows), SAMPLES)] / scale, TOP)
    forest = to_forest(isolation_forest(_spread(sample, rng), seed))
    return Fitted(scale, forest, rows.min(axis=0), rows.max(axis=0))


def isolation_forest(sample: NDArray[np.float64], seed: int) -> IsolationForest:
    """scikit-learn's forest."""
    samples = min(SAMPLES_PER_TREE, len(sample))
    forest = IsolationForest(n_estimators=TREES, max_samples=samples, random_state=seed, n_jobs=1)
    return forest.fit(sample)


def to_forest(fitted: IsolationForest) -> Forest:
    """The same forest as flat arrays, splits before leaves."""
    trees = [estimator.tree_ for estimator in fitted.estimators_]
    sizes = [tree.node_count for tree in trees]
    offsets = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64)
    left, right, feature, threshold, samples = (
        np.concatenate([getattr(tree, name) for tree in trees])
        for name in ("children_left", "children_right", "feature", "threshold", "n_node_samples")
    )
    edges = np.concatenate([_depths(t.children_left, t.children_right) for t in trees])
    base, splits = np.repeat(offsets, sizes), left >= 0
    # New place of each node: splits keep their order, leaves come after them.
    place = np.where(splits, np.cumsum(splits) - 1, splits.sum() + np.cumsum(~splits) - 1)
    path = np.zeros(len(left))
    path[place[~splits]] = edges[~splits] + mean_path(samples[~splits])
    per_tree = float(mean_path(np.array([fitted.max_samples_]))[0])
    return Forest(
        roots=place[offsets],
        feature=feature[splits].astype(np.int64),
        threshold=threshold[splits],
        left=place[(left + base)[splits]],
        right=place[(right + base)[splits]],
        path=path,
        depth=int(edges.max()),
        expected=per_tree * len(trees),
        n_features=int(fitted.n_features_in_),
    )


def mean_path(n_samples: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean path length of an unsuccessful search in a tree of so many samples.

    Source: Liu, Ting and Zhou 2008, doi:10.1109/ICDM.2008.17, equation 1.
    """
    n = np.asarray(n_samples, dtype=np.float64)
    more = np.maximum(n, 3.0)
    long = 2.0 * (np.log(more - 1.0) + np.euler_gamma) - 2.0 * (more - 1.0) / more
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, long))


def choose(
    fitted: Fitted, unseen: Sequence[Day], version: str, say: Callable[[str], None]
) -> IntrusionModel:
    """Limit and threshold: the tightest ones that cause few alarms on clean validation days."""
    scaled = [np.minimum(day.features / fitted.scale, TOP) for day in unseen]
    scores = [fitted.forest.score_many(rows) for rows in scaled]
    largest = [rows.max(axis=1) for rows in scaled]
    limit = next((x for x in LIMITS if _false([top > x for top in largest]) <= MOST_FALSE), TOP)
    threshold = lowest_threshold(scores)
    say(f"limit {limit:g} times the usual, forest threshold {threshold:.4f}")
    return IntrusionModel(
        Params(
            format=FORMAT,
            version=version,
            features=FEATURES,
            scale=tuple(float(x) for x in fitted.scale),
            top=TOP,
            limit=limit,
            threshold=threshold,
            needed=NEEDED,
            window=WINDOW,
            lowest=tuple(float(x) for x in fitted.lowest),
            highest=tuple(float(x) for x in fitted.highest),
            depth=fitted.forest.depth,
            expected=fitted.forest.expected,
        ),
        fitted.forest,
    )


def lowest_threshold(scores: Sequence[NDArray[np.float64]]) -> float:
    """The most sensitive threshold with at most :data:`MOST_FALSE` alarms on these clean days."""
    pooled = np.sort(np.concatenate(scores))
    ranks = np.unique(np.geomspace(1, len(pooled) * 2e-3, 40).astype(int))[::-1]
    tried = (float(pooled[rank]) for rank in ranks if rank < len(pooled))
    chosen = (t for t in tried if _false([s < t for s in scores]) <= MOST_FALSE)
    return next(chosen, float(pooled[0]))


def _false(flags: Sequence[Flags]) -> int:
    return sum(len(alarm_spans(odd, NEEDED, WINDOW)) for odd in flags)


def _spread(sample: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    rows = rng.random(len(sample)) < SPREAD_SHARE
    columns = rng.integers(0, sample.shape[1], int(rows.sum()))
    spread = sample.copy()
    spread[np.flatnonzero(rows), columns] = rng.uniform(0.0, TOP, len(columns))
    return spread


def _depths(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    depths = np.zeros(len(left))
    for node in range(len(left)):  # a parent comes before its children
        for child in (left[node], right[node]):
            if child >= 0:
                depths[child] = depths[node] + 1
    return depths


def _card(
    options: Options,
    clean: Sequence[Day],
    unseen: Sequence[Day],
    model: IntrusionModel,
    artefact: bytes,
) -> ModelCard:
    digest = sha256_hex(b"".join(day.features.tobytes() for day in (*clean, *unseen)))
    software = software_versions() | {"scikit-learn": version_of("scikit-learn")}
    return ModelCard(
        kind=KIND,
        version=options.version,
        created_at=datetime.now(UTC).replace(microsecond=0),
        node="simulated",
        unit="score",
        summary=(
            "Limits per feature and an isolation forest for cycles of about a second in real time; "
            "judge it with training.intrusion_evaluate. The dates are seeds of simulated days, "
            "counted from 1970-01-01; the test days here are the validation days"
        ),
        features=FEATURES,
        data=DataUsed(
            file="training.intrusion_days",
            sha256=digest,
            train_start=_seed_date(TRAIN_SEED),
            train_end=_seed_date(TRAIN_SEED + options.train_days),
            test_start=_seed_date(VALIDATE_SEED),
            test_end=_seed_date(VALIDATE_SEED + options.validate_days),
        ),
        metrics={
            "limit_times_usual": model.params.limit,
            "forest_threshold": round(model.params.threshold, 6),
            "trees": float(model.forest.roots.size),
            "nodes": float(model.forest.path.size),
            "depth": float(model.forest.depth),
            "train_site_days": float(options.train_days),
            "validation_site_days": float(options.validate_days),
        },
        artefact=MODEL_FILE,
        sha256=sha256_hex(artefact),
        software=software,
    )


def _seed_date(seed: int) -> datetime:
    return SEED_EPOCH + timedelta(days=seed)


def _say(line: str) -> None:
    print(line, flush=True)


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="training.intrusion", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="model store, registry/models")
    parser.add_argument("--version", default=None, help="default: days and seed")
    parser.add_argument("--train-days", type=int, default=16, help="default %(default)s")
    parser.add_argument("--validate-days", type=int, default=16, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the forest, default %(default)s")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--promote", action="store_true", help="make it the champion")
    found = parser.parse_args(arguments)
    if found.train_days < 1 or found.validate_days < 1:
        raise ConfigError("must be at least 1", field="--train-days, --validate-days")
    version = found.version or f"simulated-{found.train_days}d-seed{found.seed}"
    return Options(
        out=found.out,
        version=version,
        train_days=found.train_days,
        validate_days=found.validate_days,
        seed=found.seed,
        workers=found.workers,
        promote=found.promote,
    )


if __name__ == "__main__":
    sys.exit(main())
