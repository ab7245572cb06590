from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from actors.local import rundir
from actors.local.head import head_command, run_environment
from actors.local.plan import RayPorts
from actors.local.reap import RUN_MARK, processes_of, reap
from bessai.errors import BessaiError


@pytest.fixture(autouse=True)
def own_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(rundir, "MAX_ROOT", 250)


def sleeper(marker: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(60)"],
        env=os.environ | {RUN_MARK: marker},
    )


def test_a_run_folder_is_private_and_locked() -> None:
    run, lock = rundir.create()
    assert run.root.stat().st_mode & 0o077 == 0
    assert run.token.stat().st_mode & 0o077 == 0
    assert len(run.token.read_text(encoding="ascii")) == 64
    assert rundir.take_lock(run) is None
    os.close(lock)
    again = rundir.take_lock(run)
    assert again is not None
    os.close(again)


def test_only_folders_without_an_owner_are_abandoned() -> None:
    living, lock = rundir.create()
    dead, dead_lock = rundir.create()
    os.close(dead_lock)
    assert [run.root for run in rundir.abandoned()] == [dead.root]
    assert living.root.exists()
    os.close(lock)


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    base = rundir.base_folder()
    base.chmod(0o777)
    with pytest.raises(BessaiError, match="not private"):
        rundir.base_folder()


def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / f"bessai-{os.getuid()}").symlink_to(elsewhere)
    with pytest.raises(BessaiError, match="not private"):
        rundir.base_folder()


def test_reaping_ends_the_marked_processes_and_no_other(tmp_path: Path) -> None:
    mine, other = sleeper(str(tmp_path / "mine")), sleeper(str(tmp_path / "mine-too"))
    try:
        assert [p.pid for p in processes_of(str(tmp_path / "mine"))] == [mine.pid]
        assert reap(str(tmp_path / "mine")) == 0
        assert not psutil.pid_exists(mine.pid)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_ray_gets_only_ports_of_ours_and_the_token_by_file() -> None:
    run, lock = rundir.create()
    os.close(lock)
    ports = RayPorts.choose()
    command, environment = head_command(run, ports), run_environment(run, ports)
    numbers = list(ports.model_dump().values())
    assert len(set(numbers)) == len(numbers)
    words = " ".join(command) + " ".join(environment.values())
    assert all(str(number) in words for number in numbers)
    token = run.token.read_text(encoding="ascii")
    assert token not in words
    assert environment["RAY_AUTH_MODE"] == "token"


def test_another_rays_environment_does_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    run, lock = rundir.create()
    os.close(lock)
    assert "RAY_ADDRESS" not in run_environment(run, RayPorts.choose())
