"""The forest without scikit-learn scores as scikit-learn does, and refuses what is no forest."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from bessai.errors import ModelError
from bessai.intrusion.forest import Forest
from training.intrusion import TOP, fit, isolation_forest, mean_path, to_forest
from training.intrusion_features import Job, day_of

N_FEATURES = 17


@pytest.fixture(scope="module")
def pair() -> tuple[IsolationForest, Forest]:
    rng = np.random.default_rng(7)
    fitted = isolation_forest(np.abs(rng.standard_t(3, (4000, N_FEATURES))), 5)
    return fitted, to_forest(fitted)


def test_scores_equal_scikit_learn_on_random_samples(pair: tuple[IsolationForest, Forest]) -> None:
    fitted, forest = pair
    samples = np.random.default_rng(1).normal(0, 4, (1500, N_FEATURES))
    wanted = fitted.score_samples(samples)
    assert np.abs(forest.score_many(samples) - wanted).max() < 1e-9
    singles = [forest.score(sample) for sample in samples[:300]]
    assert np.abs(np.array(singles) - wanted[:300]).max() < 1e-9
    assert wanted.std() > 0.01


def test_scores_equal_scikit_learn_on_features_of_a_simulated_site() -> None:
    days = [day_of(Job(1000 + k), 1200) for k in range(2)]
    fitted = fit(days, 3)
    rows = np.minimum(days[0].features / fitted.scale, TOP)
    reference = isolation_forest(rows[::5].astype(np.float64), 9)
    forest = to_forest(reference)
    wanted = reference.score_samples(rows)
    assert np.abs(forest.score_many(rows) - wanted).max() < 1e-9
    assert abs(forest.score(rows[777]) - wanted[777]) < 1e-9


@settings(max_examples=15)
@given(n=st.integers(3, 300), seed=st.integers(0, 1000), trees=st.integers(1, 12))
def test_any_forest_is_carried_over(n: int, seed: int, trees: int) -> None:
    rng = np.random.default_rng(seed)
    data = np.round(rng.normal(0, 1, (n, 3)), 1)  # with ties, so that leaves hold several samples
    fitted = IsolationForest(n_estimators=trees, max_samples=min(n, 64), random_state=seed)
    samples = rng.normal(0, 2, (50, 3))
    wanted = fitted.fit(data).score_samples(samples)
    assert np.abs(to_forest(fitted).score_many(samples) - wanted).max() < 1e-9


def test_a_sample_on_a_threshold_goes_where_scikit_learn_sends_it(
    pair: tuple[IsolationForest, Forest],
) -> None:
    fitted, forest = pair
    samples = np.zeros((200, N_FEATURES))
    samples[np.arange(200), forest.feature[:200]] = forest.threshold[:200]
    wanted = fitted.score_samples(samples)
    assert np.abs(forest.score_many(samples) - wanted).max() < 1e-9
    singles = np.array([forest.score(sample) for sample in samples])
    assert np.abs(singles - wanted).max() < 1e-9


@pytest.mark.parametrize(("n", "wanted"), [(0, 0.0), (1, 0.0), (2, 1.0), (3, 1.2073924)])
def test_mean_path_by_hand(n: int, wanted: float) -> None:
    # n = 3: 2 (ln 2 + 0.5772157) - 2 * 2 / 3
    assert float(mean_path(np.array([n]))[0]) == pytest.approx(wanted, abs=1e-6)


def one_split() -> Forest:
    """One tree of one split at 0.5: a small sample ends in node 1, a large one in node 2."""
    return Forest(
        roots=np.array([0]),
        feature=np.array([0]),
        threshold=np.array([0.5]),
        left=np.array([1]),
        right=np.array([2]),
        path=np.array([0.0, 2.0, 1.0]),
        depth=1,
        expected=1.0,
        n_features=1,
    )


def test_one_split_by_hand() -> None:
    forest = one_split()
    assert forest.score(np.array([0.5])) == -(2.0**-2)
    assert forest.score(np.array([0.6])) == -(2.0**-1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"path": np.zeros(1)}, "do not fit"),
        ({"left": np.array([1, 1])}, "do not fit"),
        ({"roots": np.array([], dtype=np.int64)}, "no trees"),
        ({"roots": np.array([3])}, "outside the table"),
        ({"left": np.array([-1])}, "outside the table"),
        ({"right": np.array([3])}, "outside the table"),
        ({"feature": np.array([1])}, "features outside"),
        ({"threshold": np.array([math.nan])}, "not numbers"),
        ({"path": np.array([0.0, math.inf, 1.0])}, "not numbers"),
        ({"left": np.array([0])}, "does not end"),
        ({"depth": 0}, "depth or expectation"),
        ({"depth": 1000}, "depth or expectation"),
        ({"expected": math.inf}, "depth or expectation"),
    ],
)
def test_what_is_no_forest_is_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        replace(one_split(), **change)  # type: ignore[arg-type]
