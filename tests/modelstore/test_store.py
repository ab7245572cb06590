from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bessai.config.load import registry_root
from bessai.errors import ModelError
from bessai.modelstore import DataUsed, ModelCard, ModelStore
from bessai.modelstore.store import sha256_hex

ARTEFACT = b'{"a": 1}\n'
DAY = datetime(2024, 1, 1, tzinfo=UTC)


def card(version: str = "v1", content: bytes = ARTEFACT) -> ModelCard:
    return ModelCard(
        kind="price",
        version=version,
        created_at=DAY,
        node="n",
        unit="USD/MWh",
        summary="s",
        features=("f",),
        data=DataUsed(
            file="f", sha256="0" * 64, train_start=DAY, train_end=DAY, test_start=DAY, test_end=DAY
        ),
        metrics={"mae_per_mwh": 1.0},
        artefact="model.json",
        sha256=sha256_hex(content),
        software={"python": "3.11"},
    )


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_a_version_comes_back_as_it_was_stored(store: ModelStore) -> None:
    folder = store.add(card(), ARTEFACT)
    assert store.load("price", "v1") == card()
    assert (folder / "model.json").read_bytes() == ARTEFACT
    assert store.versions("price") == ("v1",)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_an_empty_store_has_no_versions_and_no_champion(store: ModelStore) -> None:
    assert store.versions("price") == ()
    with pytest.raises(ModelError, match=r"no champion of price.*promote"):
        store.champion("price")


def test_a_version_is_never_overwritten(store: ModelStore) -> None:
    store.add(card(), ARTEFACT)
    other = b"other"
    with pytest.raises(ModelError, match="exists and is never overwritten"):
        store.add(card(content=other), other)
    assert store.load("price", "v1").sha256 == sha256_hex(ARTEFACT)


def test_a_changed_artefact_is_noticed(store: ModelStore) -> None:
    folder = store.add(card(), ARTEFACT)
    (folder / "model.json").write_bytes(ARTEFACT + b" ")
    with pytest.raises(ModelError, match=r"model\.json: content does not match its card"):
        store.load("price", "v1")
    with pytest.raises(ModelError, match="does not match"):
        store.promote("price", "v1")


def test_a_missing_artefact_and_a_damaged_card_are_one_line(store: ModelStore) -> None:
    folder = store.add(card(), ARTEFACT)
    (folder / "model.json").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        store.load("price", "v1")
    (folder / "card.json").write_text("{")
    with pytest.raises(ModelError, match="is not a model card"):
        store.load("price", "v1")


def test_a_card_of_another_version_is_refused(store: ModelStore) -> None:
    folder = store.add(card(), ARTEFACT)
    folder.rename(folder.with_name("v2"))
    with pytest.raises(ModelError, match="belongs to another version; got price v1"):
        store.load("price", "v2")


def test_artefact_and_card_must_agree_when_stored(store: ModelStore) -> None:
    with pytest.raises(ModelError, match="does not match the card"):
        store.add(card(), b"something else")
    assert store.versions("price") == ()


def test_promotion_and_rollback(store: ModelStore) -> None:
    for version in ("v1", "v2"):
        store.add(card(version), ARTEFACT)
    store.promote("price", "v2")
    assert store.champion("price") == "v2"
    store.promote("price", "v1")
    assert store.champion_folder("price") == store.folder("price", "v1")
    assert [p.name for p in (store.root / "price").glob(".*")] == []


def test_an_unknown_version_lists_the_known_ones(store: ModelStore) -> None:
    store.add(card(), ARTEFACT)
    with pytest.raises(ModelError, match="'v9'; known versions: v1"):
        store.promote("price", "v9")


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "a b", "x" * 81])
def test_a_name_cannot_leave_the_store(store: ModelStore, name: str) -> None:
    with pytest.raises(ModelError, match="not a usable name"):
        store.folder("price", name)
    with pytest.raises(ModelError, match="not a usable name"):
        store.versions(name)


def test_a_champion_file_cannot_leave_the_store(store: ModelStore) -> None:
    store.add(card(), ARTEFACT)
    (store.root / "price" / "champion").write_text("../../etc")
    with pytest.raises(ModelError, match="champion: is not a usable name"):
        store.champion("price")


def test_an_unwritable_store_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ModelError, match="cannot be written"):
        ModelStore(tmp_path / "file").add(card(), ARTEFACT)


def test_a_failed_write_leaves_nothing_behind(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ModelError, match="No space left"):
        store.add(card(), ARTEFACT)
    assert list((store.root / "price").iterdir()) == []


def test_the_shipped_champion_is_whole_and_says_what_it_was_judged_on() -> None:
    store = ModelStore(registry_root() / "models")
    shipped = store.load("price", store.champion("price"))
    assert shipped.data.train_end <= shipped.data.test_start
    assert shipped.metrics["mae_per_mwh"] < shipped.metrics["mae_naive_24h_per_mwh"]
    assert json.loads((store.champion_folder("price") / "card.json").read_text())["node"]
