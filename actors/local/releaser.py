"""Asks every site of a run to give its inverter back, before the run's processes are ended."""

from __future__ import annotations

import sys
from pathlib import Path

from actors.deploy import release_sites
from actors.local.driver import connect
from actors.local.plan import RunPlan
from actors.local.rundir import RunDir


def main() -> int:
    """``python -m actors.local.releaser RUN_FOLDER``; 1 where the sites could not be asked."""
    plan = RunPlan.load(RunDir(Path(sys.argv[1])).plan)
    connect(plan)
    return 0 if release_sites(plan.fleet.stop_deadline_s) else 1


if __name__ == "__main__":
    sys.exit(main())
