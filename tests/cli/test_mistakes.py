"""Each mistake of a user is one line that names field, value and fix, and status 1."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from actors.local import rundir
from bessai.cli.app import run
from bessai.cli.demo_fleet import DEFAULT_START, demo_fleet
from bessai.cli.runs import Found, the_run
from bessai.errors import BessaiError

GOOD = """
id: two
sites:
  - {id: a, host: 127.0.0.1, port: 1502, battery: {max_charge_kw: 5, max_discharge_kw: 5}}
  - {id: b, host: 127.0.0.1, port: 1503, battery: {max_charge_kw: 5, max_discharge_kw: 5}}
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SITE_ID", "INVERTER_IP", "BESSAI_API_KEY", "DASHBOARD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BESSAI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(rundir, "MAX_ROOT", 250)
    monkeypatch.chdir(tmp_path)


def say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["bessai", *arguments])
    with pytest.raises(SystemExit) as ended:
        run()
    said = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), said.out, said.err


def edit(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (edit("id: two", "id: two\ncolour: red"), ["fleet.yaml: colour", "unknown field"]),
        (edit("max_charge_kw: 5", "max_charge_kW: 5"), ["max_charge_kw", "did you mean"]),
        (edit("id: b", "id: a"), ["sites[1].id", "'a'", "sites[0]", "its own id"]),
        (edit("max_charge_kw: 5", "max_charge_kw: 50"), ["max_charge_kw", "50", "at most 10"]),
        (edit("max_charge_kw: 5", "max_charge_kw: .nan"), ["max_charge_kw"]),
        (edit("host: 127.0.0.1", "profile: sma_x, host: 127.0.0.1"), ["sma_x", "huawei_sun2000"]),
        (GOOD + "market: {node: nowhere}\n", ["nowhere", "crucero_220"]),
        (GOOD + "market: {source: nordpool}\n", ["nordpool", "chile_cen"]),
        (GOOD + "api: {host: 0.0.0.0}\n", ["api.host", "0.0.0.0", "BESSAI_API_KEY"]),
        (
            GOOD.replace("host: 127.0.0.1", "host: 10.0.0.7", 1)
            + "simulation: {start: 2024-05-21T17:00Z}\n",
            ["sites[0].host", "10.0.0.7", "127.0.0.1"],
        ),
        ("sites: [", ["fleet.yaml", "line"]),
        (edit("id: two", "id: two\nid: three"), ["line 3", "'id' is given twice"]),
    ],
)
@pytest.mark.parametrize("command", ["check", "up"])
def test_a_wrong_fleet_file(
    command: str,
    text: str,
    parts: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "fleet.yaml").write_text(text, encoding="utf-8")
    status, _, error = say(capsys, monkeypatch, command, "fleet.yaml")
    assert status == 1
    assert error.count("\n") == 1
    for part in parts:
        assert part in error
    assert list(tmp_path.glob("bessai-*/*")) == []


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["demo", "--sites", "0"], ["--sites", "got 0", "1 to 40"]),
        (["demo", "--speed", "0.5"], ["--speed", "0.5", "1 to 3600"]),
        (["demo", "--for", "soon"], ["--for", "'soon'", "90s"]),
        (["demo", "--start", "yesterday"], ["--start", "'yesterday'", "2024-05-20"]),
        (["demo", "--start", "2030-01-01"], ["--start", "2030-01-01", "2024-07-15"]),
        (["demo", "--port", "70000"], ["--port", "70000"]),
        (["up", "none.yaml"], ["none.yaml", "no such file"]),
        (["down"], ["no fleet runs here", "bessai up"]),
        (["status"], ["no fleet runs here"]),
        (["sites", "--url", "http://127.0.0.1:9"], ["http://127.0.0.1:9", "does not answer"]),
        (["fault", "a", "dead"], ["no fleet runs here"]),
    ],
)
def test_a_wrong_option(
    arguments: list[str],
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status, _, error = say(capsys, monkeypatch, *arguments)
    assert status == 1
    assert error.count("\n") == 1
    for part in parts:
        assert part in error


@pytest.mark.parametrize("command", ["demo", "up"])
def test_a_port_in_use(
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        (tmp_path / "fleet.yaml").write_text(GOOD + f"api: {{port: {port}}}\n", encoding="utf-8")
        arguments = ["demo", "--port", port] if command == "demo" else ["up", "fleet.yaml"]
        status, _, error = say(capsys, monkeypatch, *arguments)
    assert status == 1
    assert "already in use" in error
    assert port in error
    assert list(tmp_path.glob("bessai-*/*")) == []


def test_a_good_file_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fleet.yaml").write_text(GOOD, encoding="utf-8")
    monkeypatch.setenv("GCP_PROJECT_ID", "p")
    status, said, _ = say(capsys, monkeypatch, "check", "fleet.yaml")
    assert status == 0
    assert "2 sites" in said
    assert "GCP_PROJECT_ID" in said


def test_variables_of_the_earlier_system_change_a_single_site(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fleet.yaml").write_text(GOOD, encoding="utf-8")
    monkeypatch.setenv("INVERTER_IP", "10.0.0.9")
    status, _, error = say(capsys, monkeypatch, "check", "fleet.yaml")
    assert status == 1
    assert "INVERTER_IP" in error
    assert "2 sites" in error


def test_a_state_folder_that_cannot_be_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BESSAI_STATE_DIR", "/proc/none")
    status, _, error = say(capsys, monkeypatch, "status")
    assert status == 1
    assert error.startswith("bessai: BESSAI_STATE_DIR: ")
    assert error.count("\n") == 1


def test_a_record_of_another_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "joined-x.json").write_text("{}", encoding="utf-8")
    status, _, error = say(capsys, monkeypatch, "status")
    assert status == 1
    assert "joined-x.json" in error
    assert error.count("\n") == 1


def test_a_full_disk(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir, "MIN_FREE_BYTES", 10**18)
    status, _, error = say(capsys, monkeypatch, "demo", "--port", "0")
    assert status == 1
    assert "too little space" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_a_host_of_elsewhere_is_not_a_port_in_use(
    host: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BESSAI_API_KEY", "a-key-of-more-than-16-characters")
    (tmp_path / "fleet.yaml").write_text(GOOD + f"api: {{host: {host}}}\n", encoding="utf-8")
    status, _, error = say(capsys, monkeypatch, "up", "fleet.yaml")
    assert status == 1
    assert "api.host: is not an address of this machine" in error
    assert host in error


def test_two_demos_are_told_apart_by_their_folders() -> None:
    fleet = demo_fleet(1, DEFAULT_START, 600, 1)
    demos = []
    for _ in range(2):
        folder, lock = rundir.create()
        os.close(lock)
        demos.append(Found(fleet.config.id, "http://127.0.0.1:1", folder, None, None))
    with pytest.raises(BessaiError, match=", ".join(sorted(demo.name for demo in demos))):
        the_run("demo", demos)
    assert the_run(demos[1].name, demos) is demos[1]


def test_ctrl_c_while_modules_load_ends_without_a_traceback() -> None:
    program = """
import os, signal, sys, bessai.cli
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == "bessai.cli.app":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
bessai.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_help_reads_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, said, _ = say(capsys, monkeypatch, "--help")
    assert status == 0
    for command in ("demo", "up", "status", "sites", "site", "down", "check", "fault"):
        assert f"  {command} " in said
