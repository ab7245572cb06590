"""A private Ray of a head and worker nodes on this machine, with a simulated inverter beside it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from actors.local import rundir
from actors.local.head import head_command, run_environment
from actors.local.plan import RayPorts
from actors.local.ports import free_ports
from actors.local.reap import processes_of, reap
from actors.local.rundir import RunDir
from bessai.model import MarketClock
from bessai.sim.control import observe_summary, observe_writes
from bessai.sim.journal import WriteEntry
from bessai.sim.observe import Summary
from bessai.sim.spec import ClockSpec, InverterSpec, SimSpec
from tests.support.command import ROOT, eventually
from tests.support.fence_driver import RESOURCE, SITE

NODE_MARK = "BESSAI_TEST_NODE"
STORE_BYTES = 80_000_000
WATCH_S = 0.02


@dataclass(frozen=True)
class Knobs:
    """Deadlines of the cluster and the device.

    Attributes:
        minute_s: Real length of a minute of the device's timer; its dead-man is two of them.
        health_check_ms: How often the head looks after its nodes, and how long one may take.
        health_failures: After how many failures in a row a node is dead.
    """

    minute_s: float = 10.0
    health_check_ms: tuple[int, int] = (500, 1000)
    health_failures: int = 3

    @property
    def dead_man_s(self) -> float:
        return 2 * self.minute_s

    def environment(self) -> dict[str, str]:
        period_ms, timeout_ms = self.health_check_ms
        return {
            "RAY_health_check_initial_delay_ms": "0",
            "RAY_health_check_period_ms": str(period_ms),
            "RAY_health_check_timeout_ms": str(timeout_ms),
            "RAY_health_check_failure_threshold": str(self.health_failures),
        }


@dataclass
class PortWatch:
    """Which process talked to the inverter from which port; a port is never used twice here."""

    inverter_port: int
    marker: str
    owners: dict[int, int] = field(default_factory=dict)
    _end: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._end.wait(WATCH_S):
            for process in site_processes(self.marker):
                with contextlib.suppress(psutil.Error, OSError):
                    for c in process.net_connections("tcp4"):
                        if c.raddr[1:] == (self.inverter_port,):
                            self.owners[c.laddr.port] = process.pid

    def end(self) -> None:
        self._end.set()

    def pid_of(self, entry: WriteEntry) -> int:
        """Who wrote; a write by a process that nobody saw fails the test."""
        return self.owners[int(entry.client.rsplit(":", maxsplit=1)[1])]


class Fenced:
    """The cluster as a test handles it."""

    def __init__(self, run: RunDir, ports: RayPorts, knobs: Knobs) -> None:
        self.run, self.knobs = run, knobs
        self._ports = ports
        self._environment = (
            run_environment(run, ports)
            | knobs.environment()
            | {"BESSAI_STATE_DIR": str(run.root / "state"), "PYTHONPATH": str(ROOT)}
            # Several nodes talk by the machine's outer address, guarded by the token.
            | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
        )
        self._driver: subprocess.Popen[str] | None = None
        self._simulator: subprocess.Popen[bytes] | None = None
        self.watch = PortWatch(0, run.marker)

    @property
    def store_url(self) -> str:
        return f"sqlite:///{self.run.root / 'fleet.db'}"

    def start(self) -> None:
        self._start_simulator()
        self._ray(head_command(self.run, self._ports))
        self.add_node("a")
        self._start_driver()
        eventually(self.writes, 60)
        self.add_node("b")

    def _start_simulator(self) -> None:
        now = datetime.now(UTC)
        inverter = InverterSpec(
            site_id=SITE,
            capacity_kwh=10,
            max_charge_kw=5,
            max_discharge_kw=5,
            soc_pct=60,
            minute_s=self.knobs.minute_s,
            journal_entries=100_000,
        )
        clock = ClockSpec.from_clock(MarketClock(now, now))
        spec = SimSpec(clock=clock, inverters=(inverter,))
        self.run.sim_spec.write_text(spec.model_dump_json(), encoding="utf-8")
        files = ("--spec", self.run.sim_spec, "--ready", self.run.sim_ready)
        command = [sys.executable, "-m", "bessai.sim", *map(str, files)]
        self._simulator = subprocess.Popen(
            [*command, "--control", str(self.run.sim_control)], env=self._environment, cwd=ROOT
        )
        eventually(self.run.sim_ready.exists)
        port = json.loads(self.run.sim_ready.read_text(encoding="utf-8"))[SITE]
        self.watch = PortWatch(port, self.run.marker)
        threading.Thread(target=self.watch.run, daemon=True).start()

    def add_node(self, name: str) -> None:
        agent_http, agent_grpc, runtime_env, metrics = free_ports(4)
        command = [
            *(sys.executable, "-P", "-m", "ray.scripts.scripts", "start"),
            f"--address=127.0.0.1:{self._ports.gcs}",
            "--node-ip-address=127.0.0.1",
            f"--dashboard-agent-listen-port={agent_http}",
            f"--dashboard-agent-grpc-port={agent_grpc}",
            f"--runtime-env-agent-port={runtime_env}",
            f"--metrics-export-port={metrics}",
            *("--min-worker-port=0", "--max-worker-port=0", "--num-cpus=0"),
            f"--resources={json.dumps({RESOURCE: 1})}",
            f"--object-store-memory={STORE_BYTES}",
            "--disable-usage-stats",
        ]
        self._ray(command, {NODE_MARK: name})

    def _ray(self, command: list[str], more: dict[str, str] | None = None) -> None:
        done = subprocess.run(
            command,
            env=self._environment | (more or {}),
            cwd=self.run.root,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _start_driver(self) -> None:
        gcs = f"127.0.0.1:{self._ports.gcs}"
        with (self.run.logs / "driver.log").open("wb") as log:
            self._driver = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.support.fence_driver"),
                    *(str(self.watch.inverter_port), self.store_url, gcs),
                ],
                env=self._environment,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._answer() == "started", self.run.log_tail("driver.log", 30)

    def _answer(self) -> object:
        assert self._driver is not None
        assert self._driver.stdout is not None
        line = self._driver.stdout.readline()
        assert line, self.run.log_tail("driver.log", 30)
        answer: object = json.loads(line)
        return answer

    def ask(self, question: str) -> object:
        """Ask the driver."""
        assert self._driver is not None
        assert self._driver.stdin is not None
        self._driver.stdin.write(question + "\n")
        self._driver.stdin.flush()
        return self._answer()

    def writes(self, since_s: float | None = None) -> list[WriteEntry]:
        """Write requests that the device accepted."""
        found = observe_writes(self.run.sim_control, SITE, since_s)
        assert found.lost == 0
        return [entry for entry in found.writes if entry.outcome == "accepted"]

    def summary(self) -> Summary:
        return observe_summary(self.run.sim_control, SITE)

    def site_pids(self) -> set[int]:
        return {process.pid for process in site_processes(self.run.marker)}

    def first_write_after(self, since_s: float, seconds: float, *, not_by: int = 0) -> WriteEntry:
        """The first accepted write of another process than ``not_by``."""

        def found() -> WriteEntry | None:
            writes = self.writes(since_s)
            return next((w for w in writes if self.watch.pid_of(w) != not_by), None)

        return eventually(found, seconds)

    def controlling_pid(self) -> int:
        """The process that wrote last, once there is one that writes now."""
        self.first_write_after(time.monotonic(), 60)
        return self.watch.pid_of(self.writes()[-1])

    def node_of(self, pid: int) -> str:
        return psutil.Process(pid).environ()[NODE_MARK]

    def node_processes(self, name: str) -> list[psutil.Process]:
        found = processes_of(self.run.marker)
        return [p for p in found if p.environ().get(NODE_MARK) == name]

    def supervisor(self) -> psutil.Process:
        found = processes_of(self.run.marker)
        return next(p for p in found if p.name().startswith("ray::Superv"))

    def end(self) -> None:
        self.watch.end()
        for process in (self._driver, self._simulator):
            if process is not None:
                process.kill()
        assert reap(self.run.marker) == 0
        for process in (self._driver, self._simulator):
            if process is not None:
                process.wait()
        if self._driver is not None:
            for stream in (self._driver.stdin, self._driver.stdout):
                if stream is not None:
                    stream.close()


def site_processes(marker: str) -> list[psutil.Process]:
    """Living processes of site actors, frozen ones included."""
    found = []
    for process in psutil.process_iter(["name"]):
        name = process.info["name"] or ""
        if name.startswith("ray::SiteActor"):
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("BESSAI_RUN") == marker:
                    found.append(process)
    return found


@contextlib.contextmanager
def frozen(*processes: psutil.Process) -> Iterator[None]:
    """Stop processes as a machine that hangs does; they go on afterwards."""
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)


@contextlib.contextmanager
def fenced_cluster(knobs: Knobs) -> Iterator[Fenced]:
    run, lock = rundir.create()
    cluster = Fenced(run, RayPorts.choose(), knobs)
    try:
        cluster.start()
        yield cluster
    finally:
        os.close(lock)
        cluster.end()
        rundir.remove(run)


def logs_of(run: RunDir) -> list[Path]:
    """Output of all actors, for a test that fails."""
    return sorted((run.ray / "session_latest" / "logs").glob("worker-*"))
