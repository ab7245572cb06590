from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.files import PROFILE, Folder, dump


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder for fleet files, whose registry holds the profile ``small``."""
    devices = tmp_path / "registry" / "devices"
    devices.mkdir(parents=True)
    (devices / "small.yaml").write_text(dump(PROFILE), encoding="utf-8")
    monkeypatch.setenv("BESSAI_REGISTRY", str(tmp_path / "registry"))
    return Folder(tmp_path)
