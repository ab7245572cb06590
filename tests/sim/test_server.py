"""The simulator in process: many devices, ports, faults by site, market speed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from bessai.devices import ModbusInverter
from bessai.errors import BessaiError, ConfigError
from bessai.model import SiteId
from bessai.sim.control import inject_fault, serve_control
from bessai.sim.server import LOOPBACK, SimulatorServer, control_time
from bessai.sim.spec import ClockSpec, Fault, InverterSpec, SimSpec
from tests.support.simulated import fast_profile

NORTH, SOUTH = SiteId("north"), SiteId("south")
CLOCK = ClockSpec(
    market_start=datetime(2024, 6, 1, tzinfo=UTC),
    wall_start=datetime(2026, 1, 1, tzinfo=UTC),
    speed=600.0,
)


def one(site_id: str, port: int = 0) -> InverterSpec:
    return InverterSpec(
        site_id=site_id, port=port, capacity_kwh=10.0, max_charge_kw=5.0, max_discharge_kw=5.0
    )


@pytest.fixture
async def simulator() -> AsyncIterator[SimulatorServer]:
    server = SimulatorServer(SimSpec(clock=CLOCK, inverters=(one("north"), one("south"))))
    yield server
    await server.stop()


async def client(site_id: str, port: int) -> ModbusInverter:
    driver = ModbusInverter(SiteId(site_id), LOOPBACK, port, 1, fast_profile(), now=control_time)
    await driver.connect()
    return driver


async def test_each_site_has_its_own_device(simulator: SimulatorServer) -> None:
    ports = await simulator.start()
    assert set(ports) == {"north", "south"}
    assert len(set(ports.values())) == 2
    north, south = [await client(site, port) for site, port in ports.items()]
    await north.apply_power(3.0)
    assert (await north.read_telemetry()).active_power_kw == 3.0
    assert (await south.read_telemetry()).active_power_kw == 0.0
    await north.close()
    await south.close()


async def test_the_battery_moves_between_requests_at_market_speed(
    simulator: SimulatorServer,
) -> None:
    ports = await simulator.start()
    north = await client("north", ports["north"])
    await north.apply_power(-5.0)
    await north.close()
    device = simulator.inverter(NORTH)
    before_kwh, started = device.imported_kwh, control_time()
    await asyncio.sleep(0.35)
    ticked_kwh = device.imported_kwh - before_kwh
    device.advance()
    moved_kwh, real_s = device.imported_kwh - before_kwh, control_time() - started
    assert 0 < ticked_kwh <= moved_kwh
    # The last tick before the sleep is up to a tenth of a second old.
    at_5_kw = 5.0 * 600.0 / 3600.0
    assert at_5_kw * real_s * 0.99 <= moved_kwh <= at_5_kw * (real_s + 0.5)


async def test_a_fault_stays_on_its_site(simulator: SimulatorServer) -> None:
    ports = await simulator.start()
    north, south = [await client(site, port) for site, port in ports.items()]
    await simulator.set_fault(NORTH, Fault.DEAD)
    with pytest.raises(BessaiError):
        await north.read_telemetry()
    assert (await south.read_telemetry()).soc_pct == 50.0
    await simulator.set_fault(NORTH, Fault.NONE)
    await north.connect()
    assert (await north.read_telemetry()).soc_pct == 50.0
    await north.close()
    await south.close()


async def test_a_port_in_use_is_one_clear_line_and_leaves_nothing_open() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = SimulatorServer(SimSpec(clock=CLOCK, inverters=(one("north"), one("south", port))))
        with pytest.raises(ConfigError, match=f"south: port.*got {port}; end the program"):
            await server.start()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(LOOPBACK, server.port(NORTH))


async def test_faults_are_injected_through_the_socket(
    simulator: SimulatorServer, tmp_path: Path
) -> None:
    await simulator.start()
    path = tmp_path / "control"
    control = await serve_control(path, simulator)
    await asyncio.to_thread(inject_fault, path, "south", "busy")
    assert list(simulator.inverter(SOUTH).faults) == [Fault.BUSY]
    await asyncio.to_thread(inject_fault, path, "south", "drop:5,delay:0.1")
    assert str(simulator.inverter(SOUTH).faults) == "drop:5, delay:0.1"
    await asyncio.to_thread(inject_fault, path, "south", "none")
    assert list(simulator.inverter(SOUTH).faults) == []
    with pytest.raises(BessaiError, match="'west'; use one of north, south"):
        await asyncio.to_thread(inject_fault, path, "west", "busy")
    assert path.stat().st_mode & 0o077 == 0
    control.close()


async def test_a_line_that_is_no_request_is_answered(
    simulator: SimulatorServer, tmp_path: Path
) -> None:
    control = await serve_control(tmp_path / "control", simulator)
    reader, writer = await asyncio.open_unix_connection(tmp_path / "control")
    for line, said in (
        (b"hello\n", b"not a request"),
        (b'{"site": "north"}\n', b"not a request"),
        (b'{"site": "north", "fault": "flood"}\n', b"unknown fault; got 'flood'"),
        (b'{"site": "north", "fault": "alarm:soc:1"}\n', b"no such bit"),
    ):
        writer.write(line)
        assert said in await asyncio.wait_for(reader.readline(), 2.0)
    writer.close()
    control.close()


def test_fault_client_errors_are_clear(tmp_path: Path) -> None:
    with pytest.raises(BessaiError, match="unknown fault; got 'flood'; use none, dead"):
        inject_fault(tmp_path / "control", "north", "flood")
    with pytest.raises(BessaiError, match="no simulator answers"):
        inject_fault(tmp_path / "control", "north", "dead")


async def test_a_control_path_that_cannot_be_is_one_clear_line(
    simulator: SimulatorServer, tmp_path: Path
) -> None:
    for path in (tmp_path / ("x" * 120), tmp_path / "no" / "folder"):
        with pytest.raises(ConfigError, match="control socket"):
            await serve_control(path, simulator)


@pytest.mark.parametrize(
    ("inverters", "message"),
    [
        ((one("north"), one("north")), "site_id north is used twice"),
        ((one("north", 5020), one("south", 5020)), "port 5020 is used twice"),
    ],
)
def test_a_spec_names_what_is_used_twice(inverters: tuple[InverterSpec, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SimSpec(clock=CLOCK, inverters=inverters)


def test_a_clock_survives_the_wire() -> None:
    assert ClockSpec.from_clock(CLOCK.to_clock()) == CLOCK


def test_a_battery_beyond_the_profile_is_refused() -> None:
    big = one("north").model_copy(update={"max_charge_kw": 12.0})
    with pytest.raises(BessaiError, match=r"max_charge_kw.*up to 10 kW; got 12"):
        SimulatorServer(SimSpec(clock=CLOCK, inverters=(big,)))
