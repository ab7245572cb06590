"""An isolation forest as flat arrays: scores one sample without scikit-learn.

Source: Liu, Ting and Zhou, "Isolation Forest", 2008, doi:10.1109/ICDM.2008.17. The score is
scikit-learn's ``IsolationForest.score_samples``: minus two to the power of the mean path length
over its expectation, between -1 (alone) and 0; lower is odder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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
    """Nodes of all trees in one table; the right child of a node follows its left child.

    Attributes:
        roots: Node of each tree's root, shape ``(n_trees,)``.
        feature: What a node asks for, shape ``(n_nodes,)``; 0 in a leaf.
        threshold: A sample goes right above it; inf in a leaf.
        left: Left child; in a leaf the leaf itself.
        path: Path length that ends in a leaf, its unsplit samples included; 0 in other nodes.
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
    path: Floats
    depth: int
    expected: float
    n_features: int
    _top: tuple[Ints, Ints, Floats] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        wrong = next(self._problems(), None)
        if wrong is not None:
            raise ModelError(f"is no forest: {wrong}", field="forest")
        # The first level is the same for every sample.
        top = (self.left[self.roots], self.feature[self.roots], self.threshold[self.roots])
        object.__setattr__(self, "_top", top)

    def score(self, sample: Floats) -> float:
        """Score of one sample of shape ``(n_features,)``; finite values only."""
        # scikit-learn compares single precision values with double precision thresholds.
        values = sample.astype(np.float32).astype(np.float64)
        left, feature, threshold = self.left, self.feature, self.threshold
        first, asked, above = self._top
        at = first + (values[asked] > above)
        for _ in range(self.depth - 1):
            at = left[at] + (values[feature[at]] > threshold[at])
        return float(-(2.0 ** (-self.path[at].sum() / self.expected)))

    def score_many(self, samples: NDArray[np.floating]) -> Floats:
        """Scores of samples of shape ``(n_samples, n_features)``."""
        scores = np.empty(len(samples))
        for start in range(0, len(samples), CHUNK):
            part = samples[start : start + CHUNK].astype(np.float32).astype(np.float64)
            paths = self.path[self._leaves_of(part)].sum(axis=1)
            scores[start : start + CHUNK] = -(2.0 ** (-paths / self.expected))
        return scores

    def _leaves_of(self, samples: Floats) -> Ints:
        at = np.broadcast_to(self.roots, (len(samples), self.roots.size))
        rows = np.arange(len(samples))[:, None]
        for _ in range(self.depth):
            at = self.left[at] + (samples[rows, self.feature[at]] > self.threshold[at])
        return at

    def _problems(self) -> Iterator[str]:
        """What is wrong, the first thing first: each check relies on those before it."""
        n = self.feature.size
        shapes = {a.shape for a in (self.feature, self.threshold, self.left, self.path)}
        if shapes != {(n,)} or n == 0 or self.roots.ndim != 1 or self.roots.size == 0:
            yield "its arrays do not fit each other"
        if not (0 < self.depth <= MAX_DEPTH and 0 < self.expected < np.inf):
            yield "depth or expectation"
        if not (_inside(self.roots, n) and _inside(self.left, n)):
            yield "nodes outside the table"
        if not _inside(self.feature, self.n_features):
            yield "features outside the sample"
        if bool(np.isnan(self.threshold).any()) or not bool(np.isfinite(self.path).all()):
            yield "thresholds or paths are not numbers"
        inner = np.isfinite(self.threshold)
        if bool((self.left[inner] == n - 1).any()):
            yield "children outside the table"
        if not bool((self.left == np.arange(n))[~inner].all()):
            yield "leaves lead on"
        level = self.roots
        for _ in range(self.depth):
            split = level[inner[level]]
            level = np.unique(np.concatenate((self.left[split], self.left[split] + 1)))
        if bool(inner[level].any()):
            yield "a path does not end"


def _inside(indices: Ints, size: int) -> bool:
    return bool(np.all((indices >= 0) & (indices < size)))
