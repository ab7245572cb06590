"""``bessai devices`` as a person uses it, against simulated devices in processes of their own."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pymodbus.client import ModbusTcpClient

from bessai.cli.app import run
from bessai.cli.devices import console
from bessai.cli.devices_list import known_profiles
from tests.support.command import ROOT, Command, bessai, running

Say = Callable[..., tuple[int, str, str]]
LISTENING = r"listening on 127.0.0.1:(\d+)"
HUAWEI = "huawei_sun2000"


@pytest.fixture(scope="module")
def hasty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real profiles without the pauses that only real devices need; one place, read once."""
    folder = tmp_path_factory.mktemp("hasty") / "registry"
    shutil.copytree(ROOT / "registry", folder)
    edit(folder, HUAWEI, "wait_after_connect_s: 1.0", "wait_after_connect_s: 0.0")
    edit(folder, HUAWEI, "request_gap_s: 0.05", "request_gap_s: 0.0")
    return folder


@pytest.fixture(autouse=True)
def registry(hasty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of every test here."""
    monkeypatch.setenv("BESSAI_REGISTRY", str(hasty_registry))
    monkeypatch.setenv("BESSAI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(console, "width", 160)
    return hasty_registry


def edit(registry: Path, profile: str, old: str, new: str) -> None:
    path = registry / "devices" / f"{profile}.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """Run a command in this process; its status, what it printed, and its errors."""

    def _say(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["bessai", "devices", *arguments])
        with pytest.raises(SystemExit) as ended:
            run()
        said = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), said.out, said.err

    return _say


@pytest.fixture
def simulator(registry: Path) -> Iterator[Command]:
    assert registry.is_dir()
    with running("sim", "inverter", "--port", "0") as command:
        yield command


@pytest.fixture
def port(simulator: Command) -> str:
    return simulator.wait_for(LISTENING)


@pytest.fixture(scope="module")
def shared_port() -> Iterator[str]:
    """Of a device that no test changes."""
    with running("sim", "inverter", "--port", "0") as command:
        yield command.wait_for(LISTENING)


def options(port: str, profile: str = HUAWEI) -> tuple[str, ...]:
    return ("--port", port, "--profile", profile)


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_list_names_every_family_and_what_it_can(say: Say) -> None:
    code, out, _ = say("list")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    for profile in known_profiles():
        row = rows[profile.name]
        assert ("forced power" in row) is profile.controllable
        if profile.dead_man is not None and profile.controllable:
            assert f"{profile.dead_man.period_s} s" in row


@pytest.mark.parametrize("name", [profile.name for profile in known_profiles()])
def test_show_lists_each_point_with_its_register(
    say: Say, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 300)
    code, out, _ = say("show", name, "--points")
    assert code == 0
    (family,) = [one for one in known_profiles() if one.name == name]
    assert " ".join(family.maturity.notes.split()[:4]) in out
    shown = {tuple(line.split()) for line in out.splitlines()}
    for point_name, point in family.points.items():
        assert any(words[:1] == (point_name,) and str(point.address) in words for words in shown)


def test_an_unknown_family_is_one_line(say: Say) -> None:
    code, _, err = say("show", "tesla")
    assert code == 1
    assert err.count("\n") == 1
    assert "'tesla'" in err
    assert HUAWEI in err


def test_probe_finds_the_family_and_says_what_it_tried(say: Say, shared_port: str) -> None:
    code, out, _ = say("probe", "127.0.0.1", "--port", shared_port, "--deadline", "0.5s")
    assert code == 0
    assert f"port {shared_port} unit 1 {HUAWEI}: is 'SUN2000" in out
    assert "deye: reading 0.." in out
    assert "0 checks failed, 0 doubts" in out


def test_probe_speaks_to_programs(say: Say, shared_port: str) -> None:
    code, out, _ = say("probe", "127.0.0.1", *options(shared_port), "--json")
    assert code == 0
    report = json.loads(out)
    assert report["found"]["profile"] == HUAWEI
    assert report["found"]["unit_id"] == 1
    assert report["device"]["points"]["soc"] == {"value": 50.0, "unit": "%", "shown": "50 %"}
    assert all(law["ok"] for law in report["device"]["checks"])
    assert report["device"]["implausible"] == []


def test_a_battery_that_goes_the_other_way_is_told_while_it_is_commanded(
    port: str,
    hasty_registry: Path,
    simulator: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = tmp_path / "spoiled"
    shutil.copytree(hasty_registry, registry)
    monkeypatch.setenv("BESSAI_REGISTRY", str(registry))
    edit(registry, HUAWEI, "maturity:\n", "effect: {within_s: 1}\nmaturity:\n")
    path = registry / "devices" / f"{HUAWEI}.yaml"
    text = path.read_text()
    at = text.index("  battery_power:")
    path.write_text(text[:at] + text[at:].replace("sign: -1, ", "", 1))
    with running("devices", "set", "127.0.0.1", "power", "-3", *options(port), "--yes") as holding:
        holding.wait_for("WRONG SIGN: the battery goes the other way")
        holding.send(signal.SIGINT)
        assert holding.end() == 0
    simulator.wait_for("command: none")


def test_nothing_found_says_what_to_check(say: Say) -> None:
    code, out, err = say("probe", "127.0.0.1", "--port", closed_port())
    assert code == 1
    assert "refuses connections" in out
    assert err.count("\n") == 1
    for hint in ("Modbus TCP", "only connection", "firewall", "--unit-id"):
        assert hint in err


def test_watch_shows_what_a_site_would_see(say: Say, shared_port: str) -> None:
    code, out, _ = say(
        "watch", "127.0.0.1", *options(shared_port), "--every", "0.2s", "--for", "1s"
    )
    assert code == 0
    title, *lines = out.splitlines()
    assert title.startswith("SUN2000")
    assert 3 <= len(lines) <= 6
    assert all("SoC 50.0 %" in line and "command none" in line for line in lines)


def test_watch_goes_on_when_the_device_comes_back(simulator: Command, port: str) -> None:
    with running("devices", "watch", "127.0.0.1", *options(port), "--every", "0.2s") as watch:
        watch.wait_for("SoC 50.0 %")
        assert bessai("sim", "fault", "--port", port, "dead")[0] == 0
        watch.wait_for("next try in")
        before = watch.output.count("SoC 50.0 %")
        assert bessai("sim", "fault", "--port", port, "none")[0] == 0
        watch.wait_for(r"next try in[\s\S]*SoC 50.0 %")
        assert watch.output.count("SoC 50.0 %") > before
        watch.send(signal.SIGINT)
        assert watch.end() == 0
    assert "Traceback" not in watch.output + simulator.output


def test_another_device_than_the_profile_says_is_refused(say: Say, shared_port: str) -> None:
    code, _, err = say("watch", "127.0.0.1", *options(shared_port, "sungrow_sh"), "--for", "1s")
    assert code == 1
    assert err.count("\n") == 1


def test_set_shows_asks_writes_and_reads_back(
    say: Say, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("set", "127.0.0.1", "max_charging_power", "3000", *options(port))
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115
    code, out, _ = say(*arguments)
    assert code == 1
    assert "now    max_charging_power = 5000 W" in out
    assert "write  max_charging_power = 3000 W  [47075: 0x0000 0x0BB8]" in out
    assert "wears out" in out
    assert "after" not in out
    code, out, _ = say(*arguments, "--yes")
    assert code == 0
    assert "now    max_charging_power = 5000 W" in out, "the first one wrote without a yes"
    assert "after  max_charging_power = 3000 W" in out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("soc", "30"), ("soc", "read-only")),
        (("max_charging_power", "99000"), ("max_charging_power", "up to 10000 W", "99000")),
        (("max_charging_power", "7000"), ("illegal value",)),
        (("no_such_point", "1"), ("no_such_point", "no point")),
        (("power", "30"), ("30", "10 kW")),
        (("power", "much"), ("'much'", "kW")),
        (("power",), ("VALUE", "missing")),
        (("release", "1"), ("release", "no value")),
        (("soc", "30", "--for", "10s"), ("--for", "power only")),
        (("power", "1", "--for", "soon"), ("--for", "duration")),
    ],
)
def test_what_cannot_be_set_is_one_line(
    say: Say, shared_port: str, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    code, _, err = say("set", "127.0.0.1", *arguments, *options(shared_port), "--yes")
    assert code == 1
    assert err.count("\n") == 1
    for part in parts:
        assert part in err


def test_a_family_for_monitoring_takes_no_power(say: Say) -> None:
    code, _, err = say("set", "127.0.0.1", "power", "1", *options("1502", "deye"), "--yes")
    assert code == 1
    assert "cannot be commanded" in err


def test_a_register_that_ignores_the_write_is_told(say: Say, port: str) -> None:
    assert bessai("sim", "fault", "--port", port, "write_ignored")[0] == 0
    code, out, err = say("set", "127.0.0.1", "backup_soc", "20", *options(port), "--yes")
    assert code == 1
    assert "after" not in out
    assert "backup_soc: reads back 0 %" in err


def test_a_power_is_held_and_then_released(say: Say, port: str, simulator: Command) -> None:
    code, out, _ = say("set", "127.0.0.1", "power", "-3.0", *options(port), "--for", "2s", "--yes")
    assert code == 0
    assert "write  forced_charge_power = 3000 W" in out
    assert "battery -3.00 kW" in out
    assert out.splitlines()[-1] == "released: the device follows its own mode again"
    simulator.wait_for(r"command: charge 3 kW[\s\S]*command: none")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_releases_the_battery(
    port: str, simulator: Command, number: signal.Signals
) -> None:
    with running("devices", "set", "127.0.0.1", "power", "2", *options(port), "--yes") as holding:
        simulator.wait_for("command: discharge 2 kW")
        holding.wait_for("battery \\+2.00 kW")
        holding.send(number)
        assert holding.end() == 0
    simulator.wait_for("command: none")
    assert "Traceback" not in holding.output


def test_a_lost_device_is_released_when_it_is_back(port: str, simulator: Command) -> None:
    with running("devices", "set", "127.0.0.1", "power", "2", *options(port), "--yes") as holding:
        holding.wait_for("battery \\+2.00 kW")
        assert bessai("sim", "fault", "--port", port, "dead")[0] == 0
        holding.wait_for("not released yet")
        assert bessai("sim", "fault", "--port", port, "none")[0] == 0
        holding.wait_for("released: the device follows its own mode again")
        assert holding.end() == 1, "the hold did not end as asked"
    simulator.wait_for("command: none")


def test_release_alone_ends_what_another_program_left(
    say: Say, port: str, simulator: Command
) -> None:
    with running("devices", "set", "127.0.0.1", "power", "2", *options(port), "--yes") as holding:
        simulator.wait_for("command: discharge 2 kW")
        holding.send(signal.SIGKILL)
        holding.end()
    code, out, _ = say("set", "127.0.0.1", "release", *options(port), "--yes")
    assert code == 0
    assert "write  forced_command = stop" in out
    simulator.wait_for(r"discharge 2 kW[\s\S]*command: none")


def test_a_login_is_made_where_a_password_is_given(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BESSAI_SIM_PASSWORD", "open sesame")
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    with running("sim", "inverter", "--port", "0", "--login") as simulator:
        port = simulator.wait_for(LISTENING)
        arguments = ("set", "127.0.0.1", "backup_soc", "20", *options(port), "--yes")
        code, _, err = say(*arguments)
        assert code == 1
        assert "log in first" in err
        code, out, _ = say(*arguments, "--password-file", str(secret))
        assert code == 0
        assert "after  backup_soc = 20 %" in out
        assert "sesame" not in out + err


def test_the_proxy_serves_two_guests_and_ends_cleanly(port: str) -> None:
    arguments = ("devices", "proxy", "127.0.0.1", *options(port), "--listen", "127.0.0.1:0")
    with running(*arguments) as proxy:
        own_port = int(proxy.wait_for(LISTENING))
        with ModbusTcpClient("127.0.0.1", port=own_port, retries=0) as one:
            with ModbusTcpClient("127.0.0.1", port=own_port, retries=0) as two:
                for guest in (one, two) * 3:
                    read = guest.read_holding_registers(37760, count=1, device_id=1)
                    assert read.registers == [500]
            assert one.write_register(47102, 100, device_id=1).exception_code == 1
        proxy.wait_for(r"left after 4 requests, 1 refused")
        proxy.wait_for(r"left after 3 requests, \d now")
        proxy.send(signal.SIGINT)
        assert proxy.end() == 0
    assert "read-only" in proxy.output
    assert proxy.output.rstrip().endswith("ended")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--listen", "0.0.0.0:0"), ("--listen", "no password", "--allow-from")),
        (("--listen", "nowhere"), ("--listen", "'nowhere'")),
        (("--listen", "127.0.0.1:99999"), ("--listen",)),
        (("--allow-from", "home"), ("--allow-from", "'home'")),
        (("--unit-id", "300"), ("--unit-id", "300")),
    ],
)
def test_a_proxy_that_cannot_be_is_one_line(
    say: Say, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    code, _, err = say("proxy", "127.0.0.1", "--profile", HUAWEI, *arguments)
    assert code == 1
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
