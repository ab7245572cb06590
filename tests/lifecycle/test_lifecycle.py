"""Nothing outlives the command, whichever way and whenever it ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from actors.local.reap import processes_of
from bessai.cli.client import ApiClient
from bessai.cli.launch import sweep_abandoned_demos
from tests.support.command import START_S, eventually, nothing_left, running

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
DEMO = ("demo", "--sites", "1", "--port", "0")


@pytest.mark.slow
def test_it_ends_by_itself_after_the_asked_time() -> None:
    with running(*DEMO, "--for", "2s") as command:
        command.wait_for("All 1 sites run")
        folder = command.run_folder
        assert command.end() == 0
    assert "Earned" in command.output
    assert nothing_left(folder)


@pytest.mark.parametrize("moment", ["starting a private Ray", "starting site actors"])
def test_ctrl_c_half_way_leaves_nothing(moment: str) -> None:
    with running(*DEMO) as command:
        command.wait_for(moment)
        folder = command.run_folder
        time.sleep(1.0)
        assert processes_of(str(folder))
        command.send(signal.SIGINT)
        assert command.end() == 0
    assert nothing_left(folder)


def test_after_a_sigkill_nothing_stays() -> None:
    with running(*DEMO) as command:
        command.wait_for("starting site actors")
        folder = command.run_folder
        command.send(signal.SIGKILL)
        command.end()
    eventually(lambda: nothing_left(folder), 40)


def test_when_the_keeper_is_killed_too_the_next_start_cleans_up() -> None:
    with running(*DEMO) as command:
        command.wait_for("starting a private Ray")
        folder = command.run_folder
        time.sleep(3.0)
        keeper = int((folder / "keeper.pid").read_text(encoding="ascii"))
        command.process.kill()
        os.kill(keeper, signal.SIGKILL)
        command.end()
    eventually(lambda: not psutil.pid_exists(keeper), 10)
    assert folder.exists()
    assert sweep_abandoned_demos() >= 1
    assert nothing_left(folder)


@pytest.mark.slow
def test_when_rays_node_dies_it_says_so_in_one_line(tmp_path: Path) -> None:
    with running(*DEMO, environment={"BESSAI_STATE_DIR": str(tmp_path)}) as command:
        command.wait_for("All 1 sites run")
        folder = command.run_folder
        next(p for p in processes_of(str(folder)) if p.name() == "raylet").kill()
        assert command.end(30) == 1
    said = command.output.splitlines()[-1]
    assert said.startswith("bessai: the fleet ended: Ray's node process ended")
    assert (tmp_path / "failed" / "demo" / "keeper.log").is_file()
    assert nothing_left(folder)


@pytest.mark.slow
def test_the_users_folder_takes_no_modules_place(tmp_path: Path) -> None:
    for name in ("random", "token", "yaml", "numpy", "actors", "ray"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit", encoding="utf-8")
    with running(*DEMO, "--for", "1s", folder=tmp_path) as command:
        assert command.end(START_S) == 0


@pytest.mark.slow
def test_a_living_demo_is_not_swept(tmp_path: Path) -> None:
    with running(*DEMO) as command:
        command.wait_for("starting a private Ray")
        folder = command.run_folder
        sweep_abandoned_demos()
        assert folder.exists()
        assert command.process.poll() is None


def test_sites_and_fleet_outlive_rays_head_server() -> None:
    with running(*DEMO) as command:
        command.wait_for("All 1 sites run")
        folder, url = command.run_folder, command.wait_for(r"page +(http\S+)")
        command.wait_for("calama +(running|holding)")
        with ApiClient(url) as api:
            head = next(p for p in processes_of(str(folder)) if p.name() == "gcs_server")
            head.kill()
            killed = time.monotonic()

            def cycles() -> int:
                counters = api.site("calama").counters
                return 0 if counters is None else counters.cycles

            before, planned = cycles(), api.fleet().plan_version
            eventually(lambda: time.monotonic() > killed + 20 and cycles() >= before + 15, 40)
            assert api.site("calama").autonomy == "fleet"
            assert api.fleet().plan_version > planned
        command.send(signal.SIGINT)
        assert command.end() == 0
    assert nothing_left(folder)
