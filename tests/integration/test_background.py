"""``up``, ``status`` and ``down`` with a real inverter server, a wrong address and a second Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from actors.local.ports import free_ports
from actors.local.rundir import UP_PREFIX, base_folder
from bessai.cli.client import ApiClient
from bessai.model import MarketClock, SiteState
from bessai.sim.server import SimulatorServer
from bessai.sim.spec import ClockSpec, InverterSpec, SimSpec
from tests.integration.conftest import Demo
from tests.support.command import bessai, eventually, nothing_left

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


@pytest.fixture(scope="module")
def inverter_port() -> Iterator[int]:
    """A real Modbus TCP server in real time, in a thread of its own."""
    now = datetime.now(UTC)
    inverter = InverterSpec(
        site_id="good", capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5, soc_pct=50
    )
    spec = SimSpec(clock=ClockSpec.from_clock(MarketClock(now, now)), inverters=(inverter,))
    loop, server = asyncio.new_event_loop(), SimulatorServer(spec)
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    ports = asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    yield ports["good"]
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


def test_up_runs_beside_a_demo_and_down_ends_only_what_up_started(
    demo: Demo, inverter_port: int, tmp_path: Path
) -> None:
    wrong, api = free_ports(2)
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET.format(api=api, good=inverter_port, wrong=wrong), encoding="utf-8")
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

        again, said = bessai("up", str(file), environment=state)
        assert again == 1
        assert "runs already" in said
    finally:
        ended, said = bessai("down", "mixed", environment=state)
    assert ended == 0, said
    assert nothing_left(folder)
    assert (tmp_path / "state" / "fleet-mixed.db").exists()
    assert demo.command.process.poll() is None
    assert len(demo.wait_until_running()) == 3
