"""Ends what a bed started, however the campaign ends: ``python -m tests.chaos.guard RUN_FOLDER``.

It waits for the end of its standard input, which the kernel closes with the campaign's process.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from actors.local import rundir
from actors.local.reap import reap
from actors.local.rundir import RunDir

REAP_S = 30.0


def clean(run: RunDir) -> int:
    """End every process of a run, give its disk back and remove its folder; how many are left."""
    left = reap(run.marker, deadline_s=REAP_S)  # SIGKILL ends frozen ones too
    disk = run.root / "disk"
    if disk.is_mount():
        subprocess.run(["umount", "-l", str(disk)], check=False)
    if not left and not disk.is_mount():
        rundir.remove(run)
    return left


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    return min(clean(RunDir(Path(sys.argv[1]))), 100)


if __name__ == "__main__":
    sys.exit(main())
