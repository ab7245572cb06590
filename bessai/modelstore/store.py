"""Model versions on disk: ``<root>/<kind>/<version>/{card.json, artefact}`` and a champion file."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bessai.errors import ModelError
from bessai.modelstore.card import NAME_PATTERN, ModelCard

CARD_FILE: Final = "card.json"
CHAMPION_FILE: Final = "champion"
FOLDER_MODE: Final = 0o755


@dataclass(frozen=True, slots=True)
class ModelStore:
    """Model versions below ``root``, e.g. ``registry/models``."""

    root: Path

    def versions(self, kind: str) -> tuple[str, ...]:
        """Versions of ``kind`` that have a card, sorted; empty where there is none."""
        cards = (self.root / _checked(kind, "kind")).glob(f"[!.]*/{CARD_FILE}")
        return tuple(sorted(card.parent.name for card in cards))

    def folder(self, kind: str, version: str) -> Path:
        """Folder of a version; it may not exist.

        Raises:
            ModelError: a name that could leave the store.
        """
        return self.root / _checked(kind, "kind") / _checked(version, "version")

    def load(self, kind: str, version: str) -> ModelCard:
        """Read a version's card and verify its artefact.

        Raises:
            ModelError: no such version, a damaged card, or a hash that differs.
        """
        folder = self.folder(kind, version)
        if version not in self.versions(kind):
            known = ", ".join(self.versions(kind)) or "none"
            raise ModelError(
                f"no such version of {kind}", value=repr(version), fix=f"known versions: {known}"
            )
        card = _read_card(folder / CARD_FILE)
        if (card.kind, card.version) != (kind, version):
            raise ModelError(
                "card belongs to another version",
                field=str(folder / CARD_FILE),
                value=f"{card.kind} {card.version}",
            )
        _verify(folder / card.artefact, card.sha256)
        return card

    def champion(self, kind: str) -> str:
        """Version that serves ``kind``.

        Raises:
            ModelError: no version was promoted yet.
        """
        path = self.root / _checked(kind, "kind") / CHAMPION_FILE
        try:
            return _checked(path.read_text(encoding="utf-8").strip(), "champion")
        except OSError:
            raise ModelError(
                f"no champion of {kind}", field=str(path), fix="train a model, then promote it"
            ) from None

    def champion_folder(self, kind: str) -> Path:
        """Folder of the verified champion.

        Raises:
            ModelError: no champion, or it cannot be verified.
        """
        version = self.champion(kind)
        self.load(kind, version)
        return self.folder(kind, version)

    def promote(self, kind: str, version: str) -> None:
        """Make a verified version the champion, atomically.

        Raises:
            ModelError: the version cannot be verified, or the store cannot be written.
        """
        self.load(kind, version)
        path = self.root / kind / CHAMPION_FILE
        partial = path.with_name(f".{CHAMPION_FILE}.{os.getpid()}")
        try:
            partial.write_text(version + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise ModelError(f"cannot be written ({error.strerror})", field=str(path)) from error

    def add(self, card: ModelCard, artefact: bytes) -> Path:
        """Store a new version: the folder appears whole or not at all.

        Raises:
            ModelError: the version exists, the hash differs, or the store cannot be written.
        """
        folder = self.folder(card.kind, card.version)
        if sha256_hex(artefact) != card.sha256:
            raise ModelError("artefact does not match the card's sha256", field=card.artefact)
        self.require_new(card.kind, card.version)
        try:
            _write_whole(folder, {CARD_FILE: card_bytes(card), card.artefact: artefact})
        except OSError as error:
            if folder.exists():
                self.require_new(card.kind, card.version)
            raise ModelError(f"cannot be written ({error.strerror})", field=str(folder)) from error
        return folder

    def require_new(self, kind: str, version: str) -> None:
        """Refuse a version that is there already, e.g. before a long training.

        Raises:
            ModelError: the version exists.
        """
        folder = self.folder(kind, version)
        if folder.exists():
            raise ModelError(
                "model version exists and is never overwritten",
                field=str(folder),
                fix="choose another version, or delete the folder first",
            )


def sha256_hex(content: bytes) -> str:
    """SHA-256 of ``content`` as hex digits."""
    return hashlib.sha256(content).hexdigest()


def card_bytes(card: ModelCard) -> bytes:
    """The card as it is stored."""
    return (card.model_dump_json(indent=2) + "\n").encode()


def _checked(name: str, field: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name):
        raise ModelError("is not a usable name", field=field, value=repr(name))
    return name


def _read_card(path: Path) -> ModelCard:
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", field=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"is not a model card: {where} {first['msg']}", field=str(path)) from error


def _verify(path: Path, expected: str) -> None:
    try:
        found = sha256_hex(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", field=str(path)) from error
    if found != expected:
        raise ModelError(
            "content does not match its card",
            field=str(path),
            value=f"sha256 {found[:12]}..., card says {expected[:12]}...",
            fix="restore the file, or train again",
        )


def _write_whole(folder: Path, files: dict[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        for name, content in files.items():
            (partial / name).write_bytes(content)
        partial.chmod(FOLDER_MODE)
        # Renaming onto a folder with files fails, so a racing second writer loses.
        partial.rename(folder)
    finally:
        if partial.exists():
            shutil.rmtree(partial)
