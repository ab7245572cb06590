"""A fleet of simulated sites on a private Ray with worker nodes, started as production does."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
import psutil

from actors.local import rundir
from actors.local.head import head_command, run_environment
from actors.local.plan import RayPorts, RunPlan
from actors.local.ports import free_ports
from actors.local.reap import processes_of
from bessai.config import ApiConfig, BatteryConfig, FleetConfig, SiteConfig
from bessai.config.fleet import MarketConfig, SimulationConfig
from bessai.model import MarketClock
from bessai.sim.spec import ClockSpec, InverterSpec, SimSpec, WitnessSpec
from tests.chaos.disk import Disk
from tests.chaos.guard import clean
from tests.chaos.prices import write_prices
from tests.support.command import ROOT

RESOURCE: Final = "field"
NODE_MARK: Final = "BESSAI_TEST_NODE"
NODES: Final = ("a", "b", "c")
SPEED: Final = 20.0
"""An hour of the market in 3 minutes; the device's own timer stays in real seconds."""
DEAD_MAN_S: Final = 120.0
CAPACITY_KWH: Final = 40.0
NAMEPLATE_KW: Final = 5.0
LIMIT_KW: Final = 4.0
SOC_MIN_PCT: Final = 20.0
SOC_MAX_PCT: Final = 85.0
RAMP_KW_PER_S: Final = 2.0
LOAD_KW: Final = 0.5
IMPORT_LIMIT_KW: Final = 4.0
MARGIN_PCT: Final = 100.0 * LIMIT_KW * DEAD_MAN_S * SPEED / 3600.0 / CAPACITY_KWH + 1.0
"""What flows in one dead-man period at full power, plus 1 %: a battery whose site is dead goes on
for so long, and the site cannot be blamed for it."""
START_AT: Final = datetime(2024, 5, 21, 12, tzinfo=UTC)
STORE_BYTES: Final = 80_000_000


def witness() -> WitnessSpec:
    """Limits of the simulator's own; powers a little above the site's, for rounding and load."""
    return WitnessSpec(
        soc_min_pct=SOC_MIN_PCT - MARGIN_PCT,
        soc_max_pct=SOC_MAX_PCT + MARGIN_PCT,
        max_charge_kw=LIMIT_KW + 0.01,
        max_discharge_kw=LIMIT_KW + 0.01,
        import_limit_kw=IMPORT_LIMIT_KW + 0.01,
        max_ramp_kw_per_s=RAMP_KW_PER_S,
        ramp_burst_s=3.0,
    )


def site_config(site_id: str, resource: str | None = RESOURCE) -> SiteConfig:
    """A site that is narrower than its device, so that a loss of safety shows."""
    battery = BatteryConfig(
        capacity_kwh=CAPACITY_KWH,
        max_charge_kw=LIMIT_KW,
        max_discharge_kw=LIMIT_KW,
        soc_min_pct=SOC_MIN_PCT,
        soc_max_pct=SOC_MAX_PCT,
    )
    return SiteConfig(
        id=site_id,
        host="127.0.0.1",
        battery=battery,
        import_limit_kw=IMPORT_LIMIT_KW,
        ramp_kw_per_s=RAMP_KW_PER_S,
        ray_resource=resource,
    )


def inverter_spec(site_id: str, soc_pct: float) -> InverterSpec:
    """Its inverter and battery, with a witness."""
    return InverterSpec(
        site_id=site_id,
        capacity_kwh=CAPACITY_KWH,
        max_charge_kw=NAMEPLATE_KW,
        max_discharge_kw=NAMEPLATE_KW,
        soc_pct=soc_pct,
        load_kw=LOAD_KW,
        witness=witness(),
        journal_entries=200_000,
    )


class BedError(Exception):
    """The bed cannot be made, or something in it did not come within its deadline."""


class Bed:
    """The bed as the campaign handles it; :meth:`start` once, :meth:`end` always."""

    def __init__(self, sites: int, rng: random.Random, nodes: Iterable[str] = NODES) -> None:
        self.run, self._lock = rundir.create()
        self._guard = self._start_guard()
        self.disk = Disk(self.run.root)
        self.clocks = self.run.root / "clocks"
        self.clocks.mkdir()
        self.site_ids = [f"s{number:02d}" for number in range(sites)]
        self._nodes = tuple(nodes)
        self._socs = {s: rng.uniform(SOC_MIN_PCT + 1, SOC_MAX_PCT - 1) for s in self.site_ids}
        self._ports = RayPorts.choose()
        (self.api_port,) = free_ports(1)
        self._plan = self._make_plan(sites)
        gcs = self.run.root / "gcs"
        self.environment = run_environment(self.run, self._ports) | {
            "BESSAI_STATE_DIR": str(self.disk.folder / "state"),
            "PYTHONPATH": str(ROOT),
            # Several nodes talk by the machine's outer address, guarded by the token.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_gcs_storage": "rocksdb",
            "RAY_gcs_storage_path": str(gcs),
            "RAY_external_storage_namespace": "bessai",
            "RAY_scheduler_top_k_fraction": "1",  # sites on all nodes, not on the first one
            # A hang of a node is noticed within about 16 s; Ray's own values need more than 60 s.
            "RAY_health_check_initial_delay_ms": "0",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "3000",
            "RAY_health_check_failure_threshold": "4",
        }
        gcs.mkdir()
        self._children: list[subprocess.Popen[bytes]] = []
        self.inverter_ports: dict[str, int] = {}

    def _start_guard(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.guard", str(self.run.root)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _make_plan(self, sites: int) -> RunPlan:
        starts_at = datetime.now(UTC) + timedelta(seconds=40 + 2 * sites)
        prices = self.run.root / "prices.csv"
        write_prices(prices, START_AT)
        fleet = FleetConfig(
            id="chaos",
            market=MarketConfig(source="csv", path=str(prices), publication_delay_h=0.0),
            api=ApiConfig(port=self.api_port),
            simulation=SimulationConfig(start=START_AT, speed=SPEED),
            sites=tuple(site_config(site_id) for site_id in self.site_ids),
        )
        return RunPlan(
            fleet=fleet,
            tied=True,
            market_start=START_AT,
            wall_start=starts_at,
            speed=SPEED,
            store_url=f"sqlite:///{self.disk.folder / 'fleet.db'}",
            api_port=self.api_port,
            ports=self._ports,
        )

    @property
    def control(self) -> Path:
        """The simulator's control socket."""
        return self.run.sim_control

    @property
    def memory(self) -> Path:
        """Folder of the sites' decision records."""
        return self.run.root / "sites"

    # -- start -----------------------------------------------------------------------------

    def start(self) -> None:
        """Simulators, Ray with its nodes, the fleet; returns when each site cycled."""
        self._start_simulator()
        self.start_head()
        for name in self._nodes:
            self.add_node(name)
        self._plan.save(self.run.plan)
        self._deploy()

    def _start_simulator(self) -> None:
        clock = ClockSpec.from_clock(
            MarketClock(self._plan.market_start, self._plan.wall_start, SPEED)
        )
        inverters = tuple(inverter_spec(s, self._socs[s]) for s in self.site_ids)
        spec = SimSpec(clock=clock, inverters=inverters)
        self.run.sim_spec.write_text(spec.model_dump_json(), encoding="utf-8")
        files = ["--spec", str(self.run.sim_spec), "--ready", str(self.run.sim_ready)]
        command = [sys.executable, "-P", "-m", "bessai.sim", *files, "--control", str(self.control)]
        self._spawn("simulator", command)
        wait_for(self.run.sim_ready.exists, 30, "the simulator")
        self.inverter_ports = json.loads(self.run.sim_ready.read_text(encoding="utf-8"))

    def _spawn(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.run.logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                command,
                env=self.environment,
                cwd=self.run.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the campaign, which ends them in order
            )
        self._children.append(child)
        return child

    def start_head(self) -> None:
        """The head node; again with the same command line after it was killed."""
        # Worker nodes of the same machine make Ray believe that this one runs already.
        (self.run.ray / "ray_current_cluster").unlink(missing_ok=True)
        command = head_command(self.run, self._ports)
        self._ray(command, {NODE_MARK: "head"}, 120)

    def add_node(self, name: str) -> None:
        """One worker node, of raylets of its own."""
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
        hooks = str(ROOT / "tests" / "chaos" / "hooks")
        more = {
            NODE_MARK: name,
            "BESSAI_CHAOS_CLOCK": str(self.clocks),
            "PYTHONPATH": f"{hooks}:{ROOT}",
        }
        self._ray(command, more, 120)

    def _ray(self, command: list[str], more: Mapping[str, str], seconds: float) -> None:
        with (self.run.logs / "ray.log").open("ab") as log:
            done = subprocess.run(
                command,
                env=self.environment | dict(more),
                cwd=self.run.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                timeout=seconds,
                check=False,
            )
        if done.returncode != 0:
            raise BedError(f"ray start failed: {self.run.log_tail('ray.log', 20)}")

    def _deploy(self) -> None:
        command = [sys.executable, "-P", "-m", "actors.local.deployer", str(self.run.root)]
        child = self._spawn("deployer", command)
        deadline_s = 240 + 6 * len(self.site_ids)
        wait_for(lambda: child.poll() is not None, deadline_s, "the deployment")
        if child.returncode != 0:
            raise BedError(f"not deployed: {self.run.log_tail('deployer.log', 20)}")
        wait_for(lambda: len(self.site_pids()) == len(self.site_ids), 120, "all sites")
        wait_for(self.all_report, 120, "a report of each site to the fleet", 1.0)

    # -- processes ---------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """All of the bed, frozen ones included, the guard and the campaign apart."""
        return processes_of(self.run.marker)

    def site_processes(self) -> list[psutil.Process]:
        return self.named("ray::SiteActor")

    def named(self, prefix: str) -> list[psutil.Process]:
        """Processes whose name begins like this; the kernel keeps 15 characters."""
        found = []
        for process in psutil.process_iter(["name"]):
            if (process.info["name"] or "").startswith(prefix[:15]):
                with contextlib.suppress(psutil.Error, OSError):
                    if process.environ().get("BESSAI_RUN") == self.run.marker:
                        found.append(process)
        return found

    def titled(self, text: str) -> list[psutil.Process]:
        """Processes of the bed whose title or command line has the text."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error, OSError):
                if text in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def site_pids(self) -> dict[str, int]:
        """The process of each site, by its open connection; the newest where there are two."""
        sites = {port: site_id for site_id, port in self.inverter_ports.items()}
        found: dict[str, psutil.Process] = {}
        for process in self.site_processes():
            with contextlib.suppress(psutil.Error, OSError):
                for link in process.net_connections("tcp4"):
                    if link.status != psutil.CONN_ESTABLISHED:
                        continue
                    site = sites.get(link.raddr[1])
                    if site is None:
                        continue
                    known = found.get(site)
                    if known is None or known.create_time() < process.create_time():
                        found[site] = process
        return {site: process.pid for site, process in found.items()}

    def node_of(self, pid: int) -> str:
        return psutil.Process(pid).environ()[NODE_MARK]

    def node_processes(self, name: str) -> list[psutil.Process]:
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(NODE_MARK) == name:
                    found.append(process)
        return found

    def api_ok(self) -> bool:
        """Whether the fleet answers through Serve."""
        with contextlib.suppress(httpx.HTTPError):
            url = f"http://127.0.0.1:{self.api_port}/api/v1/fleet"
            return httpx.get(url, timeout=2.0).status_code == 200
        return False

    def all_report(self) -> bool:
        """Whether the fleet hears all of its sites: else no plan moves power."""
        with contextlib.suppress(httpx.HTTPError):
            url = f"http://127.0.0.1:{self.api_port}/api/v1/health"
            checks = httpx.get(url, timeout=2.0).json()["checks"]
            return any(check["name"] == "sites" and check["ok"] for check in checks)
        return False

    def restart_gcs(self, command: list[str], environment: dict[str, str], cwd: str) -> None:
        """Ray's head server once more, with the command line that it had."""
        with (self.run.logs / "gcs.log").open("ab") as log:
            child = subprocess.Popen(
                command,
                env=environment,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children.append(child)

    # -- end ---------------------------------------------------------------------------------

    def end(self) -> int:
        """End every process and remove the folder; how many processes are left (0 is the rule)."""
        left = clean(self.run)
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
        os.close(self._lock)
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(60)
        return left


def wait_for(check: object, seconds: float, what: str, every_s: float = 0.2) -> float:
    """Wait until ``check`` says yes; returns how long it took.

    Raises:
        BedError: it did not within ``seconds``.
    """
    assert callable(check)
    began = time.monotonic()
    while not check():
        if time.monotonic() - began > seconds:
            raise BedError(f"{what}: not within {seconds:g} s")
        time.sleep(every_s)
    return time.monotonic() - began


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """A signal to each of them that still lives."""
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            process.send_signal(number)
