"""``python -m bessai.sim`` as a process: ready file, exit codes, signals, death of the parent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bessai.sim.control import inject_fault
from bessai.sim.server import LOOPBACK

DEADLINE_S = 30.0


def write_spec(folder: Path, **extra: object) -> Path:
    path = folder / "spec.json"
    inverter = {
        "site_id": "north",
        "capacity_kwh": 10,
        "max_charge_kw": 5,
        "max_discharge_kw": 5,
        **extra,
    }
    clock = {
        "market_start": "2024-06-01T00:00:00Z",
        "wall_start": "2026-01-01T00:00:00Z",
        "speed": 600,
    }
    path.write_text(json.dumps({"clock": clock, "inverters": [inverter]}))
    return path


def command(folder: Path, spec: Path) -> list[str]:
    files = ["--spec", str(spec), "--ready", str(folder / "ready"), "--control", str(folder / "c")]
    return [sys.executable, "-m", "bessai.sim", *files]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        command(tmp_path, write_spec(tmp_path)), stderr=subprocess.PIPE, text=True
    )
    wait_for((tmp_path / "ready").exists)
    yield started
    started.kill()
    started.communicate()


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_leaves_nothing(
    process: subprocess.Popen[str], tmp_path: Path, name: signal.Signals
) -> None:
    port = json.loads((tmp_path / "ready").read_text())["north"]
    assert listens(port)
    inject_fault(tmp_path / "c", "north", "dead")
    assert not listens(port)
    inject_fault(tmp_path / "c", "north", "none")
    assert listens(port)
    started = time.monotonic()
    process.send_signal(name)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert time.monotonic() - started < 2.0
    assert (process.returncode, errors) == (0, "")
    assert not listens(port)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spec.json"]


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    argv = command(tmp_path, write_spec(tmp_path))
    script = f"import subprocess; subprocess.run({argv!r})"
    parent = subprocess.Popen([sys.executable, "-c", script])
    try:
        wait_for((tmp_path / "ready").exists)
        port = json.loads((tmp_path / "ready").read_text())["north"]
        assert listens(port)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    wait_for(lambda: not listens(port))
    wait_for(lambda: not (tmp_path / "ready").exists())


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        ({"soc": 3}, "spec.json: inverters[0].soc: unknown field; did you mean 'soc_pct'?"),
        ({"capacity_kwh": 0}, "spec.json: inverters[0].capacity_kwh"),
        ({"profile": "huawei"}, "is not a known device profile"),
    ],
)
def test_a_bad_spec_is_one_line_and_exit_code_2(
    tmp_path: Path, extra: dict[str, object], line: str
) -> None:
    done = subprocess.run(
        command(tmp_path, write_spec(tmp_path, **extra)),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            command(tmp_path, write_spec(tmp_path, port=port)),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert done.returncode == 2
    assert f"got {port}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "ready").exists()


def test_the_process_stays_light() -> None:
    heavy = ("polars", "pandas", "ray", "scipy", "highspy", "sqlalchemy", "fastapi")
    script = f"import sys, bessai.sim.__main__; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
