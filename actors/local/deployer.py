"""Deploys a run's fleet on its own Ray, telling how far it is; ends when every site cycled."""

from __future__ import annotations

import sys
from pathlib import Path

from actors.deploy import deploy, wait_for_first_cycles
from actors.local.driver import connect
from actors.local.plan import RunPlan
from actors.local.progress import Progress
from actors.local.rundir import RunDir
from bessai.errors import BessaiError


def tell(progress: Progress) -> None:
    """One line for the keeper."""
    sys.stdout.write(progress.line())
    sys.stdout.flush()


def main() -> int:
    """``python -m actors.local.deployer RUN_FOLDER``."""
    run = RunDir(Path(sys.argv[1]))
    plan = RunPlan.load(run.plan)
    try:
        connect(plan)
        fleet = plan.with_simulated_ports(run)
        # A replay begins anew: it must not obey a stop of the one before.
        memory = None if fleet.simulation is None else run.root / "sites"
        url = plan.dashboard_url
        deploy(fleet, plan.clock, plan.store_url, dashboard_url=url, tell=tell, memory=memory)
        wait_for_first_cycles(fleet, tell)
    except BessaiError as error:
        tell(Progress(step="failed", text=str(error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
