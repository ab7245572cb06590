"""``up``, ``status`` and ``down`` with a real inverter server, a wrong address and a second Ray."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from actors.local import rundir
from actors.local.head import head_command, run_environment
from actors.local.plan import RayPorts, RunPlan
from actors.local.ports import free_ports
from actors.local.reap import named_process, processes_of, reap
from actors.local.rundir import UP_PREFIX, base_folder
from bessai.cli.client import ApiClient
from bessai.model import MarketClock, SiteId, SiteState
from bessai.sim.server import SimulatorServer
from bessai.sim.spec import ClockSpec, InverterSpec, SimSpec
from tests.integration.conftest import Demo
from tests.support.command import bessai, eventually, nothing_left, running

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

FLEET = """
id: mixed
api: {{port: {api}}}
sites:
  - id: good
    host: 127.0.0.1
    port: {good}
    battery: {{max_charge_kw: 5, max_discharge_kw: 5}}
  - id: wrong
    host: 127.0.0.1
    port: {wrong}
    battery: {{max_charge_kw: 5, max_discharge_kw: 5}}
"""


GOOD = SiteId("good")


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    """A real Modbus TCP server in real time, in a thread of its own."""
    now = datetime.now(UTC)
    inverter = InverterSpec(
        site_id="good", capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5, soc_pct=50
    )
    spec = SimSpec(clock=ClockSpec.from_clock(MarketClock(now, now)), inverters=(inverter,))
    loop, server = asyncio.new_event_loop(), SimulatorServer(spec)
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    yield server
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


def fleet_file(folder: Path, simulator: SimulatorServer) -> tuple[Path, int]:
    """A fleet of one site that answers and one that does not; the file, and the API's port."""
    wrong, api = free_ports(2)
    file = folder / "fleet.yaml"
    text = FLEET.format(api=api, good=simulator.port(GOOD), wrong=wrong)
    file.write_text(text, encoding="utf-8")
    return file, api


def ray_environment(demo_folder: Path) -> dict[str, str]:
    """What a person exports to join the private Ray of a run."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(demo_folder / "token"),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def test_a_ray_that_runs_another_fleet_is_not_taken_over(
    demo: Demo, simulator: SimulatorServer, tmp_path: Path
) -> None:
    file, _ = fleet_file(tmp_path, simulator)
    gcs = RunPlan.load(demo.folder / "plan.json").ray_address
    environment = ray_environment(demo.folder) | {"BESSAI_STATE_DIR": str(tmp_path / "state")}
    status, said = bessai("up", str(file), "--address", gcs, environment=environment)
    assert status == 1
    assert "runs on this Ray already; got demo; end it first" in said
    assert list((tmp_path / "state").glob("joined-*")) == []
    assert len(demo.wait_until_running()) == 3


@pytest.mark.slow
def test_a_given_ray_is_joined_and_left_as_it_was(
    simulator: SimulatorServer, tmp_path: Path
) -> None:
    file, api = fleet_file(tmp_path, simulator)
    folder, lock = rundir.create()
    ports = RayPorts.choose()
    try:
        environment = run_environment(folder, ports)
        subprocess.run(head_command(folder, ports), env=environment, check=True, timeout=120)
        joined = ray_environment(folder.root) | {"BESSAI_STATE_DIR": str(tmp_path / "state")}
        gcs = f"127.0.0.1:{ports.gcs}"
        status, said = bessai("up", str(file), "--address", gcs, environment=joined)
        assert status == 0, said
        with ApiClient(f"http://127.0.0.1:{api}") as client:
            eventually(lambda: client.site("good").state is SiteState.HOLDING)
        status, said = bessai("down", "mixed", environment=joined)
        assert status == 0, said
        assert named_process(folder.marker, "raylet") is not None
        names = {p.name() for p in processes_of(folder.marker)}
        assert not simulator.inverter(GOOD).forced
        assert not names & {"ray::SiteActor", "ray::FleetActor", "ray::Supervisor"}
    finally:
        os.close(lock)
        assert reap(folder.marker) == 0
        rundir.remove(folder)


def test_up_runs_beside_a_demo_and_down_ends_only_what_up_started(
    demo: Demo, simulator: SimulatorServer, tmp_path: Path
) -> None:
    file, api = fleet_file(tmp_path, simulator)
    state = {"BESSAI_STATE_DIR": str(tmp_path / "state")}
    folder = base_folder() / f"{UP_PREFIX}mixed"

    status, said = bessai("up", str(file), environment=state)
    try:
        assert status == 0, said
        with ApiClient(f"http://127.0.0.1:{api}") as client:

            def states() -> dict[str, SiteState]:
                return {site.site_id: site.state for site in client.sites().sites}

            eventually(lambda: states()["wrong"] is SiteState.UNREACHABLE)
            # No live prices in this version: the good site holds, and the fleet says why.
            eventually(lambda: states()["good"] is SiteState.HOLDING)
            error = client.fleet().plan_error
            assert error is not None
            assert "no price" in error
        assert simulator.inverter(GOOD).forced

        again, said = bessai("up", str(file), environment=state)
        assert again == 1
        assert "runs already" in said
    finally:
        ended, said = bessai("down", "mixed", environment=state)
    assert ended == 0, said
    assert "has its own mode again" in said
    assert not simulator.inverter(GOOD).forced
    assert nothing_left(folder)
    assert (tmp_path / "state" / "fleet-mixed.db").exists()
    assert demo.command.process.poll() is None
    assert len(demo.wait_until_running()) == 3


def test_ctrl_c_half_way_gives_a_commanded_inverter_back(
    simulator: SimulatorServer, tmp_path: Path
) -> None:
    file, _ = fleet_file(tmp_path, simulator)
    folder = base_folder() / f"{UP_PREFIX}mixed"
    with running("up", str(file), environment={"BESSAI_STATE_DIR": str(tmp_path)}) as command:
        command.wait_for("starting site actors")
        eventually(lambda: simulator.inverter(GOOD).forced)
        assert "runs after" not in command.output
        command.send(signal.SIGINT)
        assert command.end() == 130
    assert not simulator.inverter(GOOD).forced
    assert nothing_left(folder)


def test_down_gives_inverters_back_though_the_keeper_was_killed(
    simulator: SimulatorServer, tmp_path: Path
) -> None:
    file, _ = fleet_file(tmp_path, simulator)
    state = {"BESSAI_STATE_DIR": str(tmp_path)}
    folder = base_folder() / f"{UP_PREFIX}mixed"
    try:
        assert bessai("up", str(file), environment=state)[0] == 0
        eventually(lambda: simulator.inverter(GOOD).forced)
        os.kill(int((folder / "keeper.pid").read_text(encoding="ascii")), signal.SIGKILL)
        (folder / "keeper.pid").write_text(str(os.getpid()), encoding="ascii")  # a recycled one
        again, said = bessai("up", str(file), environment=state)
        assert again == 1
        assert "bessai down" in said
    finally:
        ended, said = bessai("down", "mixed", environment=state)
    assert ended == 0, said
    assert not simulator.inverter(GOOD).forced
    assert nothing_left(folder)
    ended, said = bessai("down", "mixed", environment=state)
    assert ended == 1
    assert "no such fleet" in said
