from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from actors.local import rundir
from actors.local.head import head_command, run_environment
from actors.local.plan import RayPorts
from actors.local.ports import QUIET_PORTS, claim_port, free_ports
from actors.local.reap import RUN_MARK, processes_of, reap
from bessai.errors import BessaiError, ConfigError


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


def test_a_long_fleet_name_keeps_rays_sockets_short(monkeypatch: pytest.MonkeyPatch) -> None:
    base = rundir.base_folder()
    monkeypatch.setattr(rundir, "MAX_ROOT", len(str(base)) + len("/up-") + 15)
    one, other = (rundir.fleet_root(f"atacama-north-{'x' * 40}{end}") for end in "ab")
    assert one != other
    assert len(str(one)) == rundir.MAX_ROOT
    assert rundir.fleet_root("atacama").name == "up-atacama"


@pytest.mark.parametrize("name", ["two words", "a" * 30])
def test_a_temp_folder_that_ray_cannot_use_is_not_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", f"/tmp/{name}")
    monkeypatch.setattr(rundir, "MAX_ROOT", 35)
    assert rundir.base_folder().parent == Path("/tmp")


def test_a_run_folder_is_made_once() -> None:
    root = rundir.fleet_root("atacama")
    _, lock = rundir.create(root)
    with pytest.raises(BessaiError, match="in use"):
        rundir.create(root)
    os.close(lock)
    assert [folder.name for folder in root.parent.iterdir()] == ["up-atacama"]


def test_a_folder_that_vanishes_is_nobodys(tmp_path: Path) -> None:
    assert rundir.take_lock(rundir.RunDir(tmp_path / "gone")) is None


def test_only_old_drafts_are_swept() -> None:
    base = rundir.base_folder()
    for name, age_s in ((".new-old", 120), (".new-young", 0)):
        (base / name).mkdir()
        os.utime(base / name, times=(time.time() - age_s,) * 2)
    assert [run.root.name for run in rundir.abandoned()] == [".new-old"]


def test_ports_are_none_that_the_system_hands_out_by_itself() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(port in QUIET_PORTS for port in ports)


def test_two_fleets_never_share_a_port_though_neither_listens_yet() -> None:
    (wanted,) = free_ports(1)
    port, locks = claim_port("127.0.0.1", wanted, "--port")
    assert port == wanted
    with pytest.raises(ConfigError, match=f"--port: port is already in use.*{wanted}"):
        claim_port("127.0.0.1", wanted, "--port")
    for lock in locks:
        os.close(lock)
    _, locks = claim_port("127.0.0.1", wanted, "--port")
    rundir.remove_free_port_locks()
    assert rundir.port_lock(wanted).exists()
    for lock in locks:
        os.close(lock)
    rundir.remove_free_port_locks()
    assert list(rundir.base_folder().iterdir()) == []


def test_a_relative_key_file_is_found_from_any_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESSAI_API_KEY_FILE", "key.txt")
    run, lock = rundir.create()
    os.close(lock)
    environment = run_environment(run, RayPorts.choose())
    assert environment["BESSAI_API_KEY_FILE"] == str(Path.cwd() / "key.txt")


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
