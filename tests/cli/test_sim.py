"""``bessai sim`` as a process: what it says, what it serves, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bessai.devices.mbap import frame
from tests.support.command import BESSAI, ROOT, Command

SOC = bytes.fromhex("000700000006010393800001")
SOC_IS_50 = bytes.fromhex("00070000000501030201f4")
BUSY = bytes.fromhex("000700000003018306")


@pytest.fixture
def state() -> Iterator[dict[str, str]]:
    """A folder for state whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        yield {"BESSAI_STATE_DIR": folder, "BESSAI_SIM_PASSWORD": ""}


@pytest.fixture
def running(state: dict[str, str]) -> Iterator[Command]:
    command = Command("sim", "inverter", "--port", "0", "--soc", "50", environment=state)
    yield command
    command.process.kill()
    command.process.wait()


def port_of(command: Command) -> int:
    return int(command.wait_for(r"listening on 127\.0\.0\.1:(\d+), unit 1, profile huawei_sun2000"))


def ask(port: int, request: bytes, size: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as link:
        link.settimeout(10)
        link.sendall(request)
        return link.recv(size)


def writing(address: int, words: tuple[int, ...]) -> bytes:
    """A frame with function 16."""
    data = b"".join(word.to_bytes(2, "big") for word in words)
    head = address.to_bytes(2, "big") + len(words).to_bytes(2, "big") + bytes((len(data),))
    return frame(1, 1, b"\x10" + head + data)


def bessai(state: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BESSAI, *arguments],
        cwd=ROOT,
        env=os.environ | state,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_tells_what_happens_and_ends_well(
    running: Command, state: dict[str, str], name: signal.Signals
) -> None:
    port = port_of(running)
    assert ask(port, SOC, 64) == SOC_IS_50
    running.wait_for(r"client 127\.0\.0\.1:\d+ came")
    running.wait_for(r"client 127\.0\.0\.1:\d+ left")
    for address, words in ((47249, (0, 3000)), (47083, (2,)), (47100, (2,))):
        assert ask(port, writing(address, words), 64)[7] == 0x10
    running.wait_for("command: discharge 3 kW")
    assert ask(port, writing(47100, (0,)), 64)[7] == 0x10
    running.wait_for("command: none, the device follows its own mode")
    assert Path(state["BESSAI_STATE_DIR"], f"sim-{port}.sock").exists()
    running.send(name)
    assert running.end() == 0
    assert list(Path(state["BESSAI_STATE_DIR"]).iterdir()) == []
    assert "Traceback" not in running.output


def test_faults_come_and_go_while_it_runs(running: Command, state: dict[str, str]) -> None:
    port = port_of(running)
    broken = bessai(state, "sim", "fault", "--port", str(port), "busy", "alarm:alarm_1:7")
    assert (broken.returncode, broken.stderr) == (0, "")
    assert ask(port, SOC, 64) == BUSY
    running.wait_for("fault: busy, alarm:alarm_1:7")
    wrong = bessai(state, "sim", "fault", "--port", str(port), "alarm:soc:1")
    assert wrong.returncode == 1
    assert "has no such bit" in wrong.stderr
    assert bessai(state, "sim", "fault", "--port", str(port), "none").returncode == 0
    assert ask(port, SOC, 64) == SOC_IS_50
    running.wait_for("fault: none")


def test_the_device_tells_what_it_saw(running: Command, state: dict[str, str]) -> None:
    port = port_of(running)
    for address, words in ((47249, (0, 3000)), (47083, (2,)), (47100, (2,))):
        assert ask(port, writing(address, words), 64)[7] == 0x10
    told = bessai(state, "sim", "observe", "commands", "--port", str(port))
    assert (told.returncode, told.stderr) == (0, "")
    (command,) = json.loads(told.stdout)["commands"]
    assert (command["before_kw"], command["after_kw"], command["connection"]) == (None, 3.0, 3)
    wrong = bessai(state, "sim", "observe", "everything", "--port", str(port))
    assert wrong.returncode == 1
    assert "use summary, writes, commands, timeline" in wrong.stderr
    assert wrong.stderr.count("\n") == 1


def test_options_reach_the_device(state: dict[str, str]) -> None:
    command = Command(
        *("sim", "inverter", "--profile", "goodwe_et", "--port", "0", "--unit-id", "9"),
        *("--soc", "80", "--pv-kw", "3", "--load-kw", "1", "--speed", "60", "--fault", "delay:0.1"),
        environment=state,
    )
    try:
        port = int(
            command.wait_for(r"127\.0\.0\.1:(\d+), unit 9, profile goodwe_et, faults delay:0.1")
        )
        reading = b"\x03" + (37007).to_bytes(2, "big") + b"\0\x01"
        assert ask(port, frame(1, 9, reading), 64) == frame(1, 9, b"\x03\x02\0\x50")
    finally:
        command.process.kill()
        command.process.wait()


def test_a_login_is_asked_for_with_the_password_of_the_environment(state: dict[str, str]) -> None:
    environment = state | {"BESSAI_SIM_PASSWORD": "sesame"}
    command = Command("sim", "inverter", "--port", "0", "--login", environment=environment)
    try:
        assert ask(port_of(command), writing(43006, (0,)), 64) == frame(1, 1, b"\x90\x80")
        assert "sesame" not in command.output
    finally:
        command.process.kill()
        command.process.wait()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--profile", "huawei"],
            "--profile: is not a known device profile; got 'huawei'; use one",
        ),
        (["--host", "0.0.0.0"], "--host: .*Modbus has no password; got 0.0.0.0.*--allow-remote"),
        (["--capacity-kwh", "0"], "capacity_kwh"),
        (["--max-charge-kw", "50"], "max_charge_kw: .*up to 10 kW; got 50"),
        (["--fault", "flood"], "unknown fault; got 'flood'; use none"),
        (["--fault", "alarm:soc:1"], "has no such bit"),
        (["--speed", "0"], "--speed"),
        (["--port", "99999"], "port"),
        (["--profile", "goodwe_et", "--login"], "goodwe_et has no login"),
    ],
)
def test_a_mistake_is_one_line(state: dict[str, str], arguments: list[str], line: str) -> None:
    done = bessai(state, "sim", "inverter", "--port", "0", *arguments)
    assert done.returncode == 1
    assert re.search(line, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_one_line(state: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = bessai(state, "sim", "inverter", "--port", str(port))
    assert done.returncode == 1
    assert f"port: cannot listen on 127.0.0.1; got {port}; end the program" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_fault_for_a_simulator_that_does_not_run_is_one_line(state: dict[str, str]) -> None:
    done = bessai(state, "sim", "fault", "--port", "5999", "busy")
    assert done.returncode == 1
    assert "no simulator answers" in done.stderr
    assert done.stderr.count("\n") == 1
