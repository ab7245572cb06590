"""Gives the inverters of a run back to their own working mode; the dead-man covers a failure."""

from __future__ import annotations

import subprocess
import sys

from actors.local.head import run_environment
from actors.local.plan import RunPlan
from actors.local.reap import named_process
from actors.local.rundir import RunDir

SPARE_S = 4.0
"""For starting the process that asks."""

NEEDED = ("raylet", "gcs_server")


def release_inverters(run: RunDir, plan: RunPlan) -> bool:
    """Ask the sites to let go, in a process of its own; False where nobody could be asked.

    Takes at most 12 s, or 32 s where a device without a dead-man must let go. Without Ray's head
    no site can be found, so nobody waits for it.
    """
    if not all(named_process(run.marker, name) for name in NEEDED):
        return False
    with (run.logs / "release.log").open("ab") as log:
        releaser = subprocess.Popen(  # noqa: S603  our own module
            [sys.executable, "-P", "-m", "actors.local.releaser", str(run.root)],
            env=run_environment(run, plan.ports),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=run.root,
        )
    try:
        return releaser.wait(SPARE_S + plan.fleet.stop_deadline_s) == 0
    except subprocess.TimeoutExpired:
        releaser.kill()
        releaser.wait()
        return False
