"""A site that ends gives its inverter back, whatever it was just doing."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from bessai.control import SiteLoop
from bessai.model import MarketClock, SiteState
from tests.support.site_fakes import FakeDevice, FakeUplink, until
from tests.support.site_play import LEASED, play, site_config
from tests.support.site_time import WALL_0, run_virtual, virtual_clocks, virtual_now
from tests.support.site_values import MARKET_0


def test_stop_releases_the_device_and_says_goodbye() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        reads = len(device.reads)
        await loop.stop()
        assert loop.state is SiteState.STOPPED
        assert (device.released, device.commanded_kw) == (1, None)
        assert device.closed == 1
        assert uplink.snapshots[-1].state is SiteState.STOPPED
        assert uplink.snapshots[-1].reading is None
        await asyncio.sleep(5)
        assert len(device.reads) == reads

    play(script)


def test_cancellation_ends_the_loop_and_stop_still_releases() -> None:
    async def main() -> None:
        device, uplink = FakeDevice(), FakeUplink(LEASED)
        clock = MarketClock(MARKET_0, WALL_0)
        loop = SiteLoop(site_config(), device, uplink, clock, renew_s=None, clocks=virtual_clocks())
        running = asyncio.create_task(loop.run())
        await until(lambda: device.commanded_kw == 4.0)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert len(asyncio.all_tasks()) == 2
        await loop.stop()
        assert device.released == 1

    run_virtual(main)


@pytest.mark.parametrize(
    ("renew_s", "refusals", "released"), [(60.0, 2, 3), (60.0, 9, 3), (None, 9, 10)]
)
def test_a_release_is_tried_until_it_reads_back_where_nothing_else_ends_the_command(
    renew_s: float | None, refusals: int, released: int
) -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.keeps_command = refusals
        await loop.stop()
        assert device.released == released
        assert (device.commanded_kw is None) is (refusals < released)

    play(script, renew_s=renew_s)


def test_a_device_without_dead_man_is_connected_again_to_be_released() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.fault = "dead"
        await until(lambda: loop.state is SiteState.UNREACHABLE)
        stopping = asyncio.create_task(loop.stop())
        await asyncio.sleep(6.0)
        assert (device.commanded_kw, stopping.done()) == (4.0, False)
        device.fault = None
        await stopping
        assert (device.commanded_kw, loop.state) == (None, SiteState.STOPPED)

    play(script, renew_s=None)


def test_a_device_that_stays_away_does_not_keep_the_site_from_stopping() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.fault = "dead"
        began = virtual_now()
        await loop.stop()
        assert virtual_now() - began < 28.0
        assert loop.state is SiteState.STOPPED

    play(script, renew_s=None)


def test_a_stop_during_a_slow_connect_leaves_no_command_behind() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        device.connect_s = 7.0
        await asyncio.sleep(0.5)
        await loop.stop()
        await asyncio.sleep(20)
        assert device.sent == []
        assert loop.state is SiteState.STOPPED

    play(script)


def test_a_stop_during_a_slow_write_releases_after_it() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        device.register_s = 2.4
        await until(lambda: len(device.sent) == 1)
        await loop.stop()
        sent = len(device.sent)
        await asyncio.sleep(20)
        assert (device.released, len(device.sent), device.commanded_kw) == (1, sent, None)
        assert loop.state is SiteState.STOPPED

    play(script)
