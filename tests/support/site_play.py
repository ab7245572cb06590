"""Plays one site in virtual time beside a script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bessai.config import BatteryConfig, SiteConfig
from bessai.control import SiteLoop
from bessai.model import FleetReply, MarketClock
from tests.support.site_fakes import FakeDevice, FakeUplink
from tests.support.site_time import WALL_0, run_virtual, virtual_clocks
from tests.support.site_values import MARKET_0, schedule

PLAN = schedule([4.0] * 24)
LEASED = FleetReply(PLAN, lease_s=15.0)
Script = Callable[[SiteLoop, FakeDevice, FakeUplink], Awaitable[None]]


def site_config(**changes: object) -> SiteConfig:
    battery = BatteryConfig(capacity_kwh=10.0, max_charge_kw=5.0, max_discharge_kw=5.0)
    return SiteConfig(id="alpha", host="10.0.0.7", battery=battery, **changes)  # type: ignore[arg-type]


def play(
    script: Script,
    *,
    reply: FleetReply = LEASED,
    renew_s: float | None = 60.0,
    fault: str | None = None,
) -> None:
    """Run a site in virtual time beside a script, and stop it at the end."""

    async def main() -> None:
        device, uplink = FakeDevice(), FakeUplink(reply)
        device.fault = fault
        clock = MarketClock(MARKET_0, WALL_0, speed=1.0)
        loop = SiteLoop(
            site_config(), device, uplink, clock, renew_s=renew_s, clocks=virtual_clocks()
        )
        running = asyncio.create_task(loop.run())
        await script(loop, device, uplink)
        loop.validate()
        await loop.stop()
        loop.validate()
        await asyncio.wait_for(running, 1.0)

    run_virtual(main)
