"""Folders of this user."""

from __future__ import annotations

import os
from pathlib import Path

from bessai.errors import ConfigError


def state_folder() -> Path:
    """Where a fleet's store and records live between runs; made where it is missing.

    ``BESSAI_STATE_DIR`` overrides the XDG state folder.

    Raises:
        ConfigError: the folder cannot be made.
    """
    override = os.environ.get("BESSAI_STATE_DIR")
    try:
        folder = (Path(override) if override else _xdg_state_home() / "bessai").absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        raise ConfigError(
            f"the folder for state cannot be made ({error})",
            field="BESSAI_STATE_DIR",
            value=override,
            fix="set it to a folder that this user may write",
        ) from None
    return folder


def _xdg_state_home() -> Path:
    named = os.environ.get("XDG_STATE_HOME")
    return Path(named) if named else Path.home() / ".local" / "state"
