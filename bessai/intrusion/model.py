"""The trained part as one file: limits per feature, the forest, and what they were made for.

The file is an ``.npz`` without pickled objects. Its hash is in the model card, so a file that was
changed is refused; so is one for other features than this program computes.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bessai.errors import ModelError
from bessai.intrusion.features import FEATURES, Vector
from bessai.intrusion.forest import Floats, Forest
from bessai.modelstore import ModelStore

KIND: Final = "intrusion"
MODEL_FILE: Final = "model.npz"
FORMAT: Final = "bessai-intrusion-1"
_ARRAYS: Final = ("roots", "feature", "threshold", "left", "right", "path")
_META: Final = "meta"


class Params(BaseModel):
    """All of a model but the forest's nodes.

    Attributes:
        features: Names in the order of the vector.
        scale: What counts as 1 of each feature: the most that clean days showed but for one
            second in ten thousand, or a floor.
        top: Scaled features count up to this.
        limit: A scaled feature above it is a finding.
        threshold: A forest score below it is a finding.
        needed, window: So many cycles of the last so many must be odd.
        lowest, highest: Range of each feature in training.
        depth, expected: See :class:`bessai.intrusion.forest.Forest`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: str
    version: str
    features: tuple[str, ...]
    scale: tuple[float, ...]
    top: float = Field(gt=1)
    limit: float = Field(gt=0)
    threshold: float = Field(ge=-1, le=0)
    needed: int = Field(ge=1)
    window: int = Field(ge=1, le=64)
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    depth: int
    expected: float

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format!r} is not {FORMAT}")
        if self.features != FEATURES:
            raise ValueError("made for other features than this program computes")
        n = len(self.features)
        if {len(self.scale), len(self.lowest), len(self.highest)} != {n}:
            raise ValueError(f"scale, lowest and highest must hold {n} numbers")
        if min(self.scale) <= 0:
            raise ValueError("scale must be positive")
        if self.needed > self.window:
            raise ValueError("needed is more than window")
        return self


@dataclass(frozen=True, slots=True)
class IntrusionModel:
    """Judges one vector of features."""

    params: Params
    forest: Forest
    _scale: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_scale", np.array(self.params.scale))

    def scaled(self, features: NDArray[np.floating]) -> Floats:
        """Features in units of what is usual; the last axis is the feature."""
        return np.minimum(features / self._scale, self.params.top)

    def score(self, features: Vector) -> float:
        """Oddness, 0 to 1: the forest's score without its minus sign."""
        return -self.forest.score(self.scaled(features))

    def to_bytes(self) -> bytes:
        """The file; the same model makes the same bytes."""
        buffer, forest = io.BytesIO(), self.forest
        meta = np.frombuffer(self.params.model_dump_json().encode(), dtype=np.uint8)
        np.savez_compressed(
            buffer,
            roots=forest.roots.astype(np.int32),
            feature=forest.feature.astype(np.int16),
            threshold=forest.threshold,
            left=forest.left.astype(np.int32),
            right=forest.right.astype(np.int32),
            path=forest.path,
            meta=meta,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, origin: str = MODEL_FILE) -> IntrusionModel:
        """The model of a file.

        Raises:
            ModelError: something else is in the file; says what.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in (*_ARRAYS, _META)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(f"is no intrusion model ({error})", field=origin) from None
        try:
            params = Params.model_validate_json(arrays[_META].tobytes())
        except ValidationError as error:
            text = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ModelError(f"cannot be used: {text}", field=origin) from None
        kinds = {name: arrays[name].dtype.kind for name in _ARRAYS}
        wanted = {"roots": "i", "feature": "i", "threshold": "f"}
        wanted |= {"left": "i", "right": "i", "path": "f"}
        if kinds != wanted:
            raise ModelError("its arrays have other types", field=origin, value=str(kinds))
        forest = Forest(
            roots=arrays["roots"].astype(np.int64),
            feature=arrays["feature"].astype(np.int64),
            threshold=arrays["threshold"].astype(np.float64),
            left=arrays["left"].astype(np.int64),
            right=arrays["right"].astype(np.int64),
            path=arrays["path"].astype(np.float64),
            depth=params.depth,
            expected=params.expected,
            n_features=len(params.features),
        )
        return cls(params, forest)


def load_model(store: ModelStore, version: str | None = None) -> IntrusionModel:
    """A version, or the champion, after its hash was compared with its card.

    Raises:
        ModelError: no such version, a file that was changed, or one that cannot be used here.
    """
    chosen = store.champion(KIND) if version is None else version
    card = store.load(KIND, chosen)
    path: Path = store.folder(KIND, chosen) / card.artefact
    model = IntrusionModel.from_bytes(path.read_bytes(), str(path))
    if model.params.version != chosen or card.features != FEATURES:
        raise ModelError("the file belongs to another card", field=str(path))
    return model
