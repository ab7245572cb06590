"""The keeper owns a run's processes: simulators, Ray's head, the deployer. When it ends, they end.

It is a process of its own so that nothing outlives the command: a tied run ends when the
keeper's standard input closes, which the kernel does even when the command is killed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO, cast

import psutil

from actors.local import rundir
from actors.local.head import head_command, run_environment
from actors.local.plan import RunPlan
from actors.local.progress import Progress
from actors.local.reap import RUN_MARK, is_alive, node_process, reap
from actors.local.rundir import RunDir
from bessai.errors import BessaiError

SIMULATOR_DEADLINE_S = 20.0
RAY_DEADLINE_S = 60.0
RELEASE_DEADLINE_S = 12.0


class RunEnded(Exception):
    """The command is gone or the run was asked to end."""


class Keeper:
    """Starts the processes of a run, waits, and ends every one of them."""

    def __init__(self, run: RunDir, plan: RunPlan) -> None:
        self._run = run
        self._plan = plan
        self._environment = run_environment(run, plan.ports)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._deployed = False
        self._node: psutil.Process | None = None
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        if plan.tied:
            self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ)

    def run(self) -> int:
        """Everything, from start to the last process; returns the exit status."""
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _ignore)
        status = 0
        try:
            self._start()
            self._watch_node()
        except RunEnded:
            pass
        except BessaiError as error:
            self.tell(Progress(step="failed", text=str(error)))
            status = 1
        finally:
            self._end()
        return status

    def tell(self, progress: Progress) -> None:
        """Tell the command, if it still listens."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            sys.stdout.write(progress.line())
            sys.stdout.flush()

    def _start(self) -> None:
        plan, count = self._plan, len(self._plan.fleet.sites)
        if plan.fleet.simulation is not None:
            self.tell(Progress(step="inverters", text="starting simulated inverters", of=count))
            self._spawn("simulator", self._simulator_command())
        self.tell(Progress(step="ray", text="starting a private Ray"))
        self._spawn("ray", head_command(self._run, plan.ports))
        if plan.fleet.simulation is not None:
            self._watch(self._run.sim_ready.exists, SIMULATOR_DEADLINE_S, "simulator")
            text = "starting simulated inverters"
            self.tell(Progress(step="inverters", text=text, done=count, of=count))
        self._watch(self._ray_started, RAY_DEADLINE_S, "ray")
        deployer = self._spawn("deployer", self._module("actors.local.deployer"), pipe=True)
        self._relay(deployer)
        self._deployed = True
        self._node = node_process(self._run.marker)
        self.tell(Progress(step="ready", text="the fleet runs"))

    def _module(self, name: str) -> list[str]:
        return [sys.executable, "-m", name, str(self._run.root)]

    def _simulator_command(self) -> list[str]:
        run = self._run
        files = ["--spec", str(run.sim_spec), "--ready", str(run.sim_ready)]
        return [sys.executable, "-m", "bessai.sim", *files, "--control", str(run.sim_control)]

    def _spawn(
        self, name: str, command: list[str], *, pipe: bool = False
    ) -> subprocess.Popen[bytes]:
        with (self._run.logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(  # noqa: S603  our own modules
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else log,
                stderr=log,
                cwd=self._run.root if name != "deployer" else None,
            )
        self._children[name] = child
        return child

    def _ray_started(self) -> bool:
        return self._children["ray"].poll() == 0

    def _watch_node(self) -> None:
        self._watch(lambda: self._node is None or not is_alive(self._node), None)
        raise BessaiError("Ray's node process ended", fix=f"see {self._run.ray}")

    def _relay(self, deployer: subprocess.Popen[bytes]) -> None:
        stream = cast("IO[bytes]", deployer.stdout)
        os.set_blocking(stream.fileno(), False)
        pending = b""

        def drained() -> bool:
            nonlocal pending
            chunk = stream.read()
            pending += chunk or b""
            *lines, pending = pending.split(b"\n")
            for line in lines:
                self._relay_line(line)
            return chunk == b""

        self._watch(drained, None, "deployer")
        if deployer.wait() != 0:
            raise BessaiError(
                "the fleet could not be deployed",
                value=self._run.log_tail("deployer.log") or f"exit status {deployer.returncode}",
                fix=f"see {self._run.logs}/deployer.log",
            )

    def _relay_line(self, line: bytes) -> None:
        progress = Progress.model_validate_json(line)
        if progress.step == "failed":
            raise BessaiError(progress.text)
        self.tell(progress)

    def _watch(
        self, until: Callable[[], bool], deadline_s: float | None, must_live: str | None = None
    ) -> None:
        end = None if deadline_s is None else time.monotonic() + deadline_s
        while not until():
            self._raise_if_ended(0.1 if must_live else 1.0)
            if must_live is not None:
                self._raise_if_died(must_live)
            if end is not None and time.monotonic() > end:
                raise BessaiError(
                    f"{must_live} did not start in {deadline_s:g} s",
                    value=self._run.log_tail(f"{must_live}.log") or None,
                    fix="the machine may be overloaded: try again, or with fewer sites",
                )

    def _raise_if_ended(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            if key.fileobj is self._wake_reader:
                received = self._wake_reader.recv(64)
                if any(n in received for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)):
                    raise RunEnded
            elif not os.read(sys.stdin.fileno(), 64):
                raise RunEnded

    def _raise_if_died(self, name: str) -> None:
        status = self._children[name].poll()
        if status not in (None, 0):
            last = self._run.log_tail(f"{name}.log")
            raise BessaiError(f"{name} ended with status {status}", value=last or None)

    def _end(self) -> None:
        if self._deployed:
            self._release_sites()
        left = reap(self._run.marker)
        for child in self._children.values():
            child.wait()
        if left:
            self.tell(Progress(step="failed", text=f"{left} processes could not be ended"))
            return
        rundir.remove(self._run)
        self.tell(Progress(step="ended", text="nothing is left running"))

    def _release_sites(self) -> None:
        """Give the inverters back to their own working mode; the dead-man covers a failure."""
        releaser = self._spawn("release", self._module("actors.local.releaser"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            releaser.wait(RELEASE_DEADLINE_S)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """The wake-up descriptor carries the signal; the handler only keeps it from killing us."""


def main() -> int:
    """``python -m actors.local.keeper RUN_FOLDER``; standard input ties it to the command."""
    run = RunDir(Path(sys.argv[1]))
    os.environ.pop(RUN_MARK, None)
    run.keeper_pid.write_text(str(os.getpid()), encoding="ascii")
    return Keeper(run, RunPlan.load(run.plan)).run()


if __name__ == "__main__":
    sys.exit(main())
