"""What a simulator in the foreground takes from its surroundings."""

from __future__ import annotations

import os
from pathlib import Path

from bessai.config.paths import state_folder

PASSWORD_VARIABLE = "BESSAI_SIM_PASSWORD"  # noqa: S105  the name of the variable


def simulator_password() -> str | None:
    """Password that a simulated device asks for; None for the one from the factory."""
    return os.environ.get(PASSWORD_VARIABLE) or None


def simulator_socket(port: int) -> Path:
    """Where the simulator on ``port`` takes faults while it runs.

    Raises:
        ConfigError: the folder for state cannot be made.
    """
    return state_folder() / f"sim-{port}.sock"
