"""The loop over real Modbus TCP against the simulated inverter, at demo speed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from bessai.build import SiteSpec
from bessai.config import BatteryConfig, SiteConfig
from bessai.control import SiteLoop
from bessai.model import FleetReply, MarketClock, SiteId, SiteSnapshot, SiteState
from bessai.sim.server import SimulatorServer
from bessai.sim.spec import ClockSpec, Fault, InverterSpec, SimSpec
from tests.support.site_build import built
from tests.support.site_values import MARKET_0, SITE, schedule


class _Fleet:
    async def report(self, snapshot: SiteSnapshot) -> FleetReply:
        return FleetReply(schedule([5.0] * 48), 15.0)


def _simulator(clock: MarketClock) -> SimulatorServer:
    inverter = InverterSpec(
        site_id=SITE, capacity_kwh=10.0, max_charge_kw=5.0, max_discharge_kw=5.0, soc_pct=25.0
    )
    return SimulatorServer(SimSpec(clock=ClockSpec.from_clock(clock), inverters=(inverter,)))


def _site(port: int, clock: MarketClock) -> SiteLoop:
    battery = BatteryConfig(capacity_kwh=10.0, max_charge_kw=5.0, max_discharge_kw=5.0)
    site = SiteConfig(id=SITE, host="127.0.0.1", port=port, battery=battery)
    return built(SiteSpec(site, clock), _Fleet())


async def _until(condition: Callable[[], bool], limit_s: float = 8.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - polls a real device
            await asyncio.sleep(0.05)


async def test_a_real_device_is_driven_to_its_limit_lost_and_found_again() -> None:
    clock = MarketClock(MARKET_0, datetime.now(UTC), speed=600.0)
    simulator = _simulator(clock)
    ports = await simulator.start()
    device = simulator.inverter(SiteId(SITE))
    loop = _site(ports[SITE], clock)
    running = asyncio.create_task(loop.run())
    try:
        await _until(lambda: device.power_kw > 0.5)
        await _until(lambda: device.soc_pct < 16.0)
        await simulator.set_fault(SITE, Fault.DEAD)
        await _until(lambda: loop.state is SiteState.UNREACHABLE)
        lost = loop.snapshot()
        assert lost.reading is None
        assert lost.error is not None
        assert f"127.0.0.1:{ports[SITE]}" in lost.error
        await simulator.set_fault(SITE, Fault.NONE)
        await _until(lambda: loop.snapshot().counters.reconnects == 1)
        await _until(lambda: loop.snapshot().reading is not None)
        await loop.stop()
        assert not device.forced
        assert loop.state is SiteState.STOPPED
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await simulator.stop()
