"""The intrusion detection inside the loop: what it says, and what follows from it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bessai.control import SiteLoop
from bessai.control.intruders import IntrusionGuard, IntrusionPolicy
from bessai.intrusion import SiteWatch
from bessai.model import AutonomyLevel, FleetReply, StopOrder
from tests.support.site_fakes import FakeDevice, FakeUplink, until
from tests.support.site_play import PLAN, play
from tests.support.site_time import WALL_0
from tests.support.site_values import LIMITS

RELEASE = StopOrder(1, stopped=False, by="Ana", reason="looked at it", at=WALL_0)


def guard(policy: IntrusionPolicy) -> IntrusionGuard:
    return IntrusionGuard(SiteWatch(LIMITS), policy)


async def rogue(loop: SiteLoop, device: FakeDevice, cycles: int) -> None:
    """Somebody writes another power after each command of the site."""
    for _ in range(cycles):
        device.commanded_kw = 1.5
        await asyncio.sleep(1.0)


@pytest.mark.parametrize("policy", ["alarm", "freeze"])
def test_a_command_that_is_not_ours_is_an_alarm_in_the_snapshot(policy: IntrusionPolicy) -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        await asyncio.sleep(5.0)
        assert loop.snapshot().intrusion == ()
        await rogue(loop, device, 6)
        assert loop.snapshot().counters.safety_blocks["intrusion"] == 1
        said = {text for snapshot in uplink.snapshots for text in snapshot.intrusion}
        assert any("a command of 1.5 kW; allowed: 4 kW" in text for text in said)
        frozen = loop.snapshot().stops.freeze is not None
        assert frozen == (policy == "freeze")

    play(script, intruders=guard(policy))


def test_a_freeze_rests_the_battery_until_a_person_releases_it() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        await asyncio.sleep(5.0)
        await rogue(loop, device, 6)
        await until(lambda: loop.snapshot().autonomy is AutonomyLevel.SAFE_STOP)
        await asyncio.sleep(3.0)
        assert device.commanded_kw == 0.0
        stopped = loop.snapshot()
        assert stopped.stops.freeze is not None
        assert stopped.stops.freeze.by == "intrusion detection"
        await asyncio.sleep(timedelta(minutes=20).total_seconds())
        assert loop.snapshot().autonomy is AutonomyLevel.SAFE_STOP
        uplink.reply = FleetReply(PLAN, 15.0, stop=RELEASE)
        await until(lambda: loop.snapshot().autonomy is not AutonomyLevel.SAFE_STOP)

    play(script, intruders=guard("freeze"))


def test_without_a_watch_nothing_is_said() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, __: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        await rogue(loop, device, 6)
        assert (loop.snapshot().intrusion, loop.snapshot().intrusion_score) == ((), None)

    play(script)
