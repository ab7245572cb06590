"""Folders of this user."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """Where a fleet's store and records live between runs; made where it is missing.

    ``BESSAI_STATE_DIR`` overrides the XDG state folder.
    """
    override = os.environ.get("BESSAI_STATE_DIR")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(override) if override else Path(base) / "bessai"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
