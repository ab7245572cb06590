"""Asks every site of a run to give its inverter back; run by the keeper before the end."""

from __future__ import annotations

import sys
from pathlib import Path

from actors.deploy import release_sites
from actors.local.driver import connect
from actors.local.plan import RunPlan
from actors.local.rundir import RunDir


def main() -> int:
    """``python -m actors.local.releaser RUN_FOLDER``."""
    connect(RunPlan.load(RunDir(Path(sys.argv[1])).plan))
    release_sites(timeout_s=6.0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
