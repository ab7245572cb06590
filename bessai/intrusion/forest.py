"""An isolation forest as flat arrays: scores one sample without scikit-learn.

Source: Liu, Ting and Zhou, "Isolation Forest", 2008, doi:10.1109/ICDM.2008.17. The score is
scikit-learn's ``IsolationForest.score_samples``: minus two to the power of the mean path length
over its expectation, between -1 (alone) and 0; lower is odder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bessai.errors import ModelError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHUNK: Final = 8192
MAX_DEPTH: Final = 16


@dataclass(frozen=True, slots=True)
class Forest:
    """Nodes of all trees in one table: those that split first, then the leaves.

    Attributes:
        roots: Node of each tree's root, shape ``(n_trees,)``.
        feature: What a splitting node asks for, shape ``(n_splits,)``.
        threshold: A sample goes right above it.
        left, right: Children, as nodes of the table.
        path: Path length that ends in a node, the unsplit samples of a leaf included; shape
            ``(n_splits + n_leaves,)``, 0 where the node splits.
        depth: Of the deepest tree.
        expected: Path length that halves the score, times the number of trees.
        n_features: Length of a sample.

    Raises:
        ModelError: the arrays describe no forest.
    """

    roots: Ints
    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    path: Floats
    depth: int
    expected: float
    n_features: int

    def __post_init__(self) -> None:
        wrong = next(self._problems(), None)
        if wrong is not None:
            raise ModelError(f"is no forest: {wrong}", field="forest")

    def score(self, sample: Floats) -> float:
        """Score of one sample of shape ``(n_features,)``; finite values only.

        All splits are decided at once, then each tree is walked: for some thousand nodes that
        costs less than to look up feature and threshold again on every level.
        """
        # scikit-learn compares single precision values with double precision thresholds.
        values = sample.astype(np.float32).astype(np.float64)
        following = np.arange(self.path.size)
        goes_right = values[self.feature] > self.threshold
        following[: self.feature.size] = np.where(goes_right, self.right, self.left)
        at = self.roots
        for _ in range(self.depth):
            at = following[at]
        return float(-(2.0 ** (-self.path[at].sum() / self.expected)))

    def score_many(self, samples: NDArray[np.floating]) -> Floats:
        """Scores of samples of shape ``(n_samples, n_features)``."""
        scores = np.empty(len(samples))
        leaves = np.arange(self.feature.size, self.path.size)
        left, right = np.concatenate((self.left, leaves)), np.concatenate((self.right, leaves))
        feature = np.concatenate((self.feature, np.zeros_like(leaves)))
        threshold = np.concatenate((self.threshold, np.zeros(leaves.size)))
        for start in range(0, len(samples), CHUNK):
            part = samples[start : start + CHUNK].astype(np.float32).astype(np.float64)
            at = np.broadcast_to(self.roots, (len(part), self.roots.size))
            rows = np.arange(len(part))[:, None]
            for _ in range(self.depth):
                at = np.where(part[rows, feature[at]] > threshold[at], right[at], left[at])
            paths = self.path[at].sum(axis=1)
            scores[start : start + CHUNK] = -(2.0 ** (-paths / self.expected))
        return scores

    def _problems(self) -> Iterator[str]:
        """What is wrong, the first thing first: each check relies on those before it."""
        n_splits, n_nodes = self.feature.size, self.path.size
        shapes = {a.shape for a in (self.feature, self.threshold, self.left, self.right)}
        if shapes != {(n_splits,)} or self.path.ndim != 1 or n_nodes <= n_splits:
            yield "its arrays do not fit each other"
        if self.roots.ndim != 1 or self.roots.size == 0:
            yield "it has no trees"
        if not (0 < self.depth <= MAX_DEPTH and 0 < self.expected < np.inf):
            yield "depth or expectation"
        if not all(_inside(nodes, n_nodes) for nodes in (self.roots, self.left, self.right)):
            yield "nodes outside the table"
        if not _inside(self.feature, self.n_features):
            yield "features outside the sample"
        if not (np.isfinite(self.threshold).all() and np.isfinite(self.path).all()):
            yield "thresholds or paths are not numbers"
        level = self.roots
        for _ in range(self.depth):
            split = level[level < n_splits]
            level = np.unique(np.concatenate((self.left[split], self.right[split])))
        if bool((level < n_splits).any()):
            yield "a path does not end"


def _inside(indices: Ints, size: int) -> bool:
    return bool(np.all((indices >= 0) & (indices < size)))
