"""Starting a run: its folder, its keeper, and what the keeper tells."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil
from pydantic import ValidationError

from actors.local import rundir
from actors.local.plan import RunPlan
from actors.local.progress import Progress
from actors.local.reap import processes_of, reap
from actors.local.release import release_inverters
from actors.local.rundir import RunDir
from bessai.errors import BessaiError

END_DEADLINE_S = 40.0


@dataclass
class Run:
    """A run whose keeper is our child."""

    folder: RunDir
    plan: RunPlan
    keeper: subprocess.Popen[str]

    def progress(self) -> Iterator[Progress]:
        """What the keeper tells, until it is ready.

        Raises:
            BessaiError: the start failed; nothing is left running.
        """
        assert self.keeper.stdout is not None  # noqa: S101  opened as a pipe below
        for line in self.keeper.stdout:
            progress = _parse(line)
            if progress.step == "failed":
                self.finish()
                raise BessaiError(progress.text)
            yield progress
            if progress.step == "ready":
                return
        self.finish()
        raise BessaiError("the start was cut off", fix="try again")

    def failure(self) -> str | None:
        """Why the fleet ended, as soon as the keeper says so or is gone; None while it runs."""
        assert self.keeper.stdout is not None  # noqa: S101  opened as a pipe below
        readable, _, _ = select.select([self.keeper.stdout], [], [], 0)
        if not readable:
            return None
        line = self.keeper.stdout.readline()
        return _parse(line).text if line else "its keeper is gone"

    def finish(self) -> None:
        """End the run and wait until nothing of it is left.

        Raises:
            BessaiError: a process could not be ended.
        """
        if self.keeper.stdin is not None:
            self.keeper.stdin.close()
        try:
            self.keeper.wait(END_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.keeper.kill()
            self.keeper.wait()
        clean_up(self.folder)


def start(folder: RunDir, locks: Sequence[int], plan: RunPlan) -> Run:
    """Write the plan and start the keeper, which holds the locks from now on.

    A tied one ends when our end of the pipe closes.
    """
    plan.save(folder.plan)
    if plan.fleet.simulation is not None:
        folder.sim_spec.write_text(plan.sim_spec().model_dump_json(), encoding="utf-8")
    with (folder.logs / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(  # noqa: S603  our own module
            # -P: a file of the user's folder, say random.py, must not take a module's place.
            [sys.executable, "-P", "-m", "actors.local.keeper", str(folder.root)],
            stdin=subprocess.PIPE if plan.tied else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is ours; the keeper hears of it through the pipe
            pass_fds=locks,
        )
    for lock in locks:
        os.close(lock)
    return Run(folder, plan, keeper)


def clean_up(folder: RunDir) -> None:
    """End what is left of a run whose keeper is gone, and remove its folder.

    Raises:
        BessaiError: a process could not be ended.
    """
    if left := reap(folder.marker):
        raise BessaiError(f"{left} processes of the run could not be ended", value=folder.marker)
    rundir.remove(folder)
    rundir.remove_free_port_locks()


def sweep_abandoned_demos() -> int:
    """Remove what killed demos left behind; returns how many there were."""
    count = 0
    for folder in rundir.abandoned():
        clean_up(folder)
        count += 1
    return count


def keeper_of(folder: RunDir) -> psutil.Process | None:
    """The living keeper of a run; a recycled process id does not count."""
    try:
        pid = int(folder.keeper_pid.read_text(encoding="ascii"))
        keeper = psutil.Process(pid)
        return keeper if str(folder.root) in keeper.cmdline() else None
    except (OSError, ValueError, psutil.Error):
        return None


def stop(folder: RunDir) -> bool:
    """End a background run; False where its sites could not be asked to let go.

    Its keeper asks them; where that is gone, we do.

    Raises:
        BessaiError: something is still there after the deadline.
    """
    keeper = keeper_of(folder)
    if keeper is not None:
        keeper.send_signal(signal.SIGTERM)
        try:
            keeper.wait(END_DEADLINE_S)
        except psutil.TimeoutExpired:
            keeper.kill()
        asked = True
    else:
        asked = release_inverters(folder, RunPlan.load(folder.plan))
    clean_up(folder)
    return asked


def reclaim(folder: RunDir) -> None:
    """Make sure that a background run of an earlier time left nothing that still runs.

    Raises:
        BessaiError: its processes are still there.
    """
    left = processes_of(folder.marker)
    if left:
        raise BessaiError(
            f"{len(left)} processes of an earlier run live without their keeper",
            field=str(folder.root),
            fix="end them with: bessai down",
        )


def _parse(line: str) -> Progress:
    try:
        return Progress.model_validate_json(line)
    except ValidationError:
        raise BessaiError("the keeper said something unexpected", value=repr(line[:200])) from None
