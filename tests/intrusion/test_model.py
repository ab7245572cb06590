"""The model file: the same bytes for the same model, and nothing foreign or changed is loaded."""

from __future__ import annotations

import io
import json
import pickle
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from bessai.config.load import registry_root
from bessai.errors import ModelError
from bessai.intrusion.features import FEATURES
from bessai.intrusion.model import KIND, MODEL_FILE, IntrusionModel, load_model
from bessai.modelstore import DataUsed, ModelCard, ModelStore
from bessai.modelstore.store import sha256_hex
from tests.intrusion.values import random_samples, small_model

DAY = datetime(2000, 1, 1, tzinfo=UTC)


def card_for(
    content: bytes, version: str = "test", features: tuple[str, ...] = FEATURES
) -> ModelCard:
    return ModelCard(
        kind=KIND,
        version=version,
        created_at=DAY,
        node="simulated",
        unit="score",
        summary="test",
        features=features,
        data=DataUsed(
            file="none",
            sha256="0" * 64,
            train_start=DAY,
            train_end=DAY,
            test_start=DAY,
            test_end=DAY,
        ),
        metrics={},
        artefact=MODEL_FILE,
        sha256=sha256_hex(content),
        software={},
    )


def with_params(**changes: object) -> bytes:
    """The small model's file with other parameters."""
    with np.load(io.BytesIO(small_model().to_bytes())) as file:
        arrays = {name: file[name] for name in file.files}
    params = json.loads(arrays["meta"].tobytes()) | changes
    arrays["meta"] = np.frombuffer(json.dumps(params).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_a_model_survives_its_file(tmp_path: Path) -> None:
    model, samples = small_model(), random_samples(50)
    content = model.to_bytes()
    store = ModelStore(tmp_path)
    store.add(card_for(content), content)
    loaded = load_model(store, "test")
    assert loaded.params == model.params
    assert np.array_equal(loaded.forest.score_many(samples), model.forest.score_many(samples))
    assert loaded.to_bytes() == content


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    content = small_model().to_bytes()
    store = ModelStore(tmp_path)
    folder = store.add(card_for(content), content)
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    (folder / MODEL_FILE).write_bytes(changed)
    with pytest.raises(ModelError, match="content does not match its card"):
        load_model(store, "test")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no intrusion model"),
        (b"PK\x03\x04 not a zip", "no intrusion model"),
        (pickle.dumps({"roots": 1}), "no intrusion model"),
    ],
)
def test_something_else_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        IntrusionModel.from_bytes(content)


def test_pickled_objects_are_never_loaded() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, roots=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ModelError, match="no intrusion model"):
        IntrusionModel.from_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "other-2"}, "format 'other-2'"),
        ({"features": ["a", "b"]}, "other features"),
        ({"features": [*FEATURES[1:], FEATURES[0]]}, "other features"),
        ({"scale": [1.0]}, "must hold 17 numbers"),
        ({"scale": [0.0] * len(FEATURES)}, "scale must be positive"),
        ({"needed": 11}, "needed is more than window"),
        ({"threshold": -2.0}, "greater than or equal to -1"),
        ({"extra": 1}, "Extra inputs"),
        ({"depth": 99}, "depth or expectation"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        IntrusionModel.from_bytes(with_params(**changes))


def test_the_file_of_another_version_is_refused(tmp_path: Path) -> None:
    content = small_model().to_bytes()
    store = ModelStore(tmp_path)
    store.add(card_for(content, version="other"), content)
    with pytest.raises(ModelError, match="belongs to another card"):
        load_model(store, "other")


def test_the_shipped_champion_loads_and_finds_the_odd_odder() -> None:
    model = load_model(ModelStore(registry_root() / "models"))
    rest, odd = np.zeros(len(FEATURES)), np.zeros(len(FEATURES))
    odd[:6] = 4.0 * np.array(model.params.scale[:6])
    assert model.score(rest) < -model.params.threshold < model.score(odd)
