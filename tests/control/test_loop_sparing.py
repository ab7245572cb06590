"""An inverter that may wear out, over real Modbus TCP: few writes, and rest when it matters."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from bessai.build import SiteSpec
from bessai.config import BatteryConfig, SiteConfig
from bessai.model import FleetReply, MarketClock, SiteId, SiteSnapshot
from bessai.sim.server import SimulatorServer
from bessai.sim.spec import ClockSpec, InverterSpec, SimSpec
from tests.support.site_build import built
from tests.support.site_values import MARKET_0, SITE, schedule


class _Fleet:
    async def report(self, snapshot: SiteSnapshot) -> FleetReply:
        return FleetReply(schedule([5.0] * 480), 15.0)


async def test_a_battery_that_runs_empty_rests_in_time_with_few_writes() -> None:
    clock = MarketClock(MARKET_0, datetime.now(UTC), speed=600.0)
    inverter = InverterSpec(
        site_id=SITE,
        profile="goodwe_et",
        capacity_kwh=10.0,
        max_charge_kw=5.0,
        max_discharge_kw=5.0,
        soc_pct=25.0,
    )
    simulator = SimulatorServer(SimSpec(clock=ClockSpec.from_clock(clock), inverters=(inverter,)))
    ports = await simulator.start()
    battery = BatteryConfig(
        capacity_kwh=10.0, max_charge_kw=5.0, max_discharge_kw=5.0, soc_min_pct=10.0
    )
    site = SiteConfig(
        id=SITE,
        profile="goodwe_et",
        host="127.0.0.1",
        port=ports[SITE],
        battery=battery,
        cycle_s=0.5,
        accept_no_dead_man=True,
    )
    device = simulator.inverter(SiteId(SITE))
    loop = built(SiteSpec(site, clock, simulated=True), _Fleet())
    running = asyncio.create_task(loop.run())
    try:
        async with asyncio.timeout(20.0):
            while device.power_kw < 1.0:  # noqa: ASYNC110 - polls a real device
                await asyncio.sleep(0.05)
            room_kw = 0.05 * 5.0
            limit_kw = 13 * 0.36  # whole amperes at 360 V
            assert device.commanded_kw == pytest.approx(limit_kw - room_kw, abs=0.01)
            while device.power_kw > 0.0:  # noqa: ASYNC110 - polls a real device
                await asyncio.sleep(0.05)
        await asyncio.sleep(3.0)
        assert device.soc_pct >= 9.5
        assert device.power_kw == 0.0
        assert 3 <= loop.snapshot().counters.stored_writes <= 8
        await loop.stop()
        assert not device.forced
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await simulator.stop()
