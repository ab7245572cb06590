"""The keeper owns a run's processes: simulators, Ray's head, the deployer. When it ends, they end.

It is a process of its own so that nothing outlives the command: a tied run ends when the
keeper's standard input closes, which the kernel does even when the command is killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
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
from pydantic import ValidationError

from actors.local import rundir
from actors.local.head import head_command, run_environment
from actors.local.plan import RunPlan
from actors.local.progress import Progress
from actors.local.reap import RUN_MARK, is_alive, named_process, reap
from actors.local.release import release_inverters
from actors.local.rundir import RunDir
from bessai.errors import BessaiError

SIMULATOR_DEADLINE_S = 20.0
RAY_DEADLINE_S = 60.0
DEPLOY_DEADLINE_S = 180.0
DEPLOY_DEADLINE_PER_SITE_S = 3.0
MAX_SIMULATOR_STARTS = 5
log = logging.getLogger(__name__)


class RunEnded(Exception):
    """The command is gone or the run was asked to end."""


class Keeper:
    """Starts the processes of a run, waits, and ends every one of them."""

    def __init__(self, run: RunDir, plan: RunPlan) -> None:
        self._run = run
        self._plan = plan
        self._environment = run_environment(run, plan.ports)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._sites_started = self._ready = False
        self._cycled = Progress(step="cycles", text="")
        self._node: psutil.Process | None = None
        self._sim_ports: dict[str, int] = {}
        self._sim_starts = 0
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
            self._watch(lambda: False, None)
        except RunEnded:
            pass
        except (BessaiError, OSError) as error:
            self._fail(error)
            status = 1
        finally:
            self._end()
        return status

    def tell(self, progress: Progress) -> None:
        """Tell the command, if it still listens."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            sys.stdout.write(progress.line())
            sys.stdout.flush()

    def _fail(self, error: Exception) -> None:
        log.error("the run failed: %s", error)
        text = str(error)
        with contextlib.suppress(BessaiError, OSError):
            text += f"; logs: {self._run.keep_logs(self._plan.fleet.id)}"
        self.tell(Progress(step="failed", text=text))

    def _start(self) -> None:
        plan, count = self._plan, len(self._plan.fleet.sites)
        if plan.fleet.simulation is not None:
            self.tell(Progress(step="inverters", text="starting simulated inverters", of=count))
            self._start_simulator()
        self.tell(Progress(step="ray", text="starting a private Ray"))
        self._spawn("ray", head_command(self._run, plan.ports))
        if plan.fleet.simulation is not None:
            self._watch(self._run.sim_ready.exists, SIMULATOR_DEADLINE_S, "simulator")
            self._sim_ports = json.loads(self._run.sim_ready.read_text(encoding="utf-8"))
            text = "starting simulated inverters"
            self.tell(Progress(step="inverters", text=text, done=count, of=count))
        self._watch(self._ray_started, RAY_DEADLINE_S, "ray")
        self._node = named_process(self._run.marker, "raylet")
        deployer = self._spawn("deployer", self._module("actors.local.deployer"), pipe=True)
        self._relay(deployer, DEPLOY_DEADLINE_S + DEPLOY_DEADLINE_PER_SITE_S * count)
        self._ready, done = True, self._cycled
        self.tell(Progress(step="ready", text="the fleet runs", done=done.done, of=done.of))

    def _module(self, name: str) -> list[str]:
        return [sys.executable, "-P", "-m", name, str(self._run.root)]

    def _start_simulator(self) -> None:
        """Start the simulated inverters; again on the ports that the sites know already."""
        run = self._run
        spec = self._plan.sim_spec(self._sim_ports).model_dump_json()
        run.sim_spec.write_text(spec, encoding="utf-8")
        self._sim_starts += 1
        files = ["--spec", str(run.sim_spec), "--ready", str(run.sim_ready)]
        command = [sys.executable, "-P", "-m", "bessai.sim", *files]
        self._spawn("simulator", [*command, "--control", str(run.sim_control)])

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
                cwd=self._run.root,  # Ray puts the deployer's folder on every worker's path
            )
        self._children[name] = child
        return child

    def _ray_started(self) -> bool:
        return self._children["ray"].poll() == 0

    def _relay(self, deployer: subprocess.Popen[bytes], deadline_s: float) -> None:
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

        self._watch(drained, deadline_s, "deployer")
        if deployer.wait() != 0:
            raise BessaiError(
                "the fleet could not be deployed",
                value=self._run.log_tail("deployer.log") or f"exit status {deployer.returncode}",
            )

    def _relay_line(self, line: bytes) -> None:
        try:
            progress = Progress.model_validate_json(line)
        except ValidationError:  # something printed by a library
            log.warning("the deployer said something else: %r", line[:200])
            return
        if progress.step == "failed":
            raise BessaiError(progress.text)
        if progress.step == "cycles":
            self._cycled = progress
        self._sites_started = True  # the deployer speaks once its actors are on their way
        self.tell(progress)

    def _watch(
        self, until: Callable[[], bool], deadline_s: float | None, must_live: str | None = None
    ) -> None:
        end = None if deadline_s is None else time.monotonic() + deadline_s
        while not until():
            self._raise_if_ended(0.1 if must_live else 1.0)
            if must_live is not None:
                self._raise_if_died(must_live)
            self._check_node_and_simulator()
            if end is not None and time.monotonic() > end:
                raise BessaiError(
                    f"{must_live} is not done after {deadline_s:g} s",
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

    def _check_node_and_simulator(self) -> None:
        if self._node is not None and not is_alive(self._node):
            raise BessaiError("Ray's node process ended, and every site's process with it")
        simulator = self._children.get("simulator")
        if not self._sim_ports or simulator is None or simulator.poll() is None:
            return
        if self._sim_starts >= MAX_SIMULATOR_STARTS:
            raise BessaiError(
                f"the simulated inverters ended {self._sim_starts} times",
                value=self._run.log_tail("simulator.log") or f"status {simulator.returncode}",
            )
        log.warning("simulated inverters ended (%s), starting again", simulator.returncode)
        self._start_simulator()

    def _end(self) -> None:
        deployer = self._children.get("deployer")
        if deployer is not None:
            deployer.kill()  # it must not start what is just being ended
        # Half-way through a start nobody waits for simulated inverters.
        wanted = self._ready or (self._sites_started and self._plan.fleet.simulation is None)
        if wanted and not release_inverters(self._run, self._plan):
            log.warning("sites could not be asked to let go; the dead-man ends what they commanded")
        left = reap(self._run.marker)
        for child in self._children.values():
            child.wait()
        if left:
            self.tell(Progress(step="failed", text=f"{left} processes could not be ended"))
            return
        rundir.remove(self._run)
        self.tell(Progress(step="ended", text="nothing is left running"))


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """The wake-up descriptor carries the signal; the handler only keeps it from killing us."""


def main() -> int:
    """``python -m actors.local.keeper RUN_FOLDER``; standard input ties it to the command."""
    run = RunDir(Path(sys.argv[1]))
    os.environ.pop(RUN_MARK, None)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    run.keeper_pid.write_text(str(os.getpid()), encoding="ascii")
    return Keeper(run, RunPlan.load(run.plan)).run()


if __name__ == "__main__":
    sys.exit(main())
