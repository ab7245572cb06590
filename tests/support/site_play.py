"""Plays one site in virtual time beside a script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from bessai.config import BatteryConfig, SiteConfig
from bessai.control import SiteLoop
from bessai.control.claims import NoRivals
from bessai.control.guards import SiteGuards
from bessai.control.intruders import IntrusionGuard
from bessai.control.ledger import ForeignPolicy
from bessai.control.logbook.entries import NoLog
from bessai.control.owner_lock import OwnerLock
from bessai.control.ownership import ANY_FAMILY, OwnershipRules
from bessai.control.permit import GAP_CYCLES, Permit
from bessai.control.stop_file import StopFile
from bessai.control.watchdog import Watchdog
from bessai.model import FleetReply, MarketClock, Owner
from bessai.ports import Authority, LocalPolicy
from tests.support.site_fakes import FakeDevice, FakeUplink
from tests.support.site_time import WALL_0, run_virtual, virtual_clocks, virtual_now
from tests.support.site_values import MARKET_0, schedule

PLAN = schedule([4.0] * 24)
LEASED = FleetReply(PLAN, lease_s=15.0)
ME = Owner("here", 7, "me")
Script = Callable[[SiteLoop, FakeDevice, FakeUplink], Awaitable[None]]


def site_config(**changes: object) -> SiteConfig:
    battery = BatteryConfig(capacity_kwh=10.0, max_charge_kw=5.0, max_discharge_kw=5.0)
    return SiteConfig(id="alpha", host="10.0.0.7", battery=battery, **changes)  # type: ignore[arg-type]


def guards(
    authority: Authority | None = None,
    *,
    stops: Path | None = None,
    lock: OwnerLock | None = None,
    owner: Owner = ME,
    intruders: IntrusionGuard | None = None,
) -> SiteGuards:
    """Those of one process; call it inside the virtual loop."""
    return SiteGuards(
        owner=owner,
        authority=authority or NoRivals(),
        lock=lock,
        permit=Permit(virtual_now, GAP_CYCLES * 1.0),
        stops=StopFile(stops),
        watchdog=Watchdog(lambda _cause: None),
        log=NoLog(),
        intruders=intruders or IntrusionGuard(),
    )


def site_loop(
    device: FakeDevice,
    uplink: FakeUplink,
    process: SiteGuards | None = None,
    *,
    renew_s: float | None = 60.0,
    ownership: OwnershipRules = ANY_FAMILY,
    foreign: ForeignPolicy = ForeignPolicy.REASSERT,
    local: LocalPolicy | None = None,
) -> SiteLoop:
    """One process of a site over a fake device that asks its permit before each register."""
    process = process or guards()
    device.may_write = process.permit.check
    return SiteLoop(
        site_config(),
        device,
        uplink,
        MarketClock(MARKET_0, WALL_0, speed=1.0),
        renew_s=renew_s,
        ownership=ownership,
        foreign=foreign,
        local=local,
        guards=process,
        clocks=virtual_clocks(),
    )


def play(
    script: Script,
    *,
    reply: FleetReply = LEASED,
    renew_s: float | None = 60.0,
    fault: str | None = None,
    authority: Authority | None = None,
    stops: Path | None = None,
    ownership: OwnershipRules = ANY_FAMILY,
    foreign: ForeignPolicy = ForeignPolicy.REASSERT,
    local: LocalPolicy | None = None,
    intruders: IntrusionGuard | None = None,
) -> None:
    """Run a site in virtual time beside a script, and stop it at the end."""

    async def main() -> None:
        device, uplink = FakeDevice(), FakeUplink(reply)
        device.fault = fault
        loop = site_loop(
            device,
            uplink,
            guards(authority, stops=stops, intruders=intruders),
            renew_s=renew_s,
            ownership=ownership,
            foreign=foreign,
            local=local,
        )
        running = asyncio.create_task(loop.run())
        await script(loop, device, uplink)
        loop.validate()
        await loop.stop()
        loop.validate()
        await asyncio.wait_for(running, 1.0)

    run_virtual(main)
