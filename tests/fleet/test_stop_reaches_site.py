"""The fleet's order at a real control loop over a fake device, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from bessai.errors import BessaiError
from bessai.model import FleetReply, SiteSnapshot
from tests.support.fleet_values import Rig
from tests.support.site_fakes import FakeDevice, FakeUplink, until
from tests.support.site_play import PLAN, guards, site_loop
from tests.support.site_time import run_virtual, virtual_now

ONE_REPORT_AND_CYCLE_S = 3.0


class Wire(FakeUplink):
    """The way from a site to the fleet; its plan is always 4 kW, its orders are the fleet's."""

    def __init__(self, rig: Rig | None) -> None:
        super().__init__()
        self.rig = rig

    async def report(self, snapshot: SiteSnapshot) -> FleetReply:
        if self.rig is None:
            raise BessaiError("the fleet is gone")
        return replace(self.rig.fleet.report([snapshot])[0], schedule=PLAN)


def test_a_stop_reaches_the_battery_and_outlives_site_and_fleet(tmp_path: Path) -> None:
    async def main() -> None:
        rig, device, memory = Rig(site_ids=("alpha",)), FakeDevice(), tmp_path / "stops.json"
        wire = Wire(rig)
        first = site_loop(device, wire, guards(stops=memory))
        running = asyncio.create_task(first.run())
        await until(lambda: device.commanded_kw == 4.0)

        await rig.fleet.stop_site("alpha", "Ana", "smoke")
        ordered_at = virtual_now()
        await until(lambda: device.commanded_kw == 0.0)
        assert virtual_now() - ordered_at <= ONE_REPORT_AND_CYCLE_S
        await until(lambda: obeyed(rig))

        wire.rig = None  # the fleet dies, and then the site's process
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        device.commands.clear()
        second = site_loop(device, wire, guards(stops=memory))
        running = asyncio.create_task(second.run())
        await until(lambda: len(device.reads) > 50)
        assert {power for _, power in device.commands} <= {0.0}

        again = wire.rig = Rig(site_ids=("alpha",), orders=rig.orders)
        await until(lambda: obeyed(again))
        assert device.commanded_kw == 0.0
        await again.fleet.release_site("alpha", "Ana", "no smoke")
        await until(lambda: device.commanded_kw == 4.0)
        await until(lambda: obeyed(again))
        await second.stop()
        await asyncio.wait_for(running, 1.0)

    run_virtual(main)


def test_a_site_whose_device_is_gone_does_not_obey_until_it_is_back() -> None:
    async def main() -> None:
        rig, device = Rig(site_ids=("alpha",)), FakeDevice()
        device.fault = "dead"
        loop = site_loop(device, Wire(rig))
        running = asyncio.create_task(loop.run())
        await rig.fleet.stop_site("alpha", "Ana", "smoke")
        await asyncio.sleep(20)
        assert not obeyed(rig)
        device.fault = None
        await until(lambda: obeyed(rig))
        assert {power for _, power in device.commands} <= {0.0}
        await loop.stop()
        await asyncio.wait_for(running, 1.0)

    run_virtual(main)


def obeyed(rig: Rig) -> bool:
    stop = rig.fleet.site("alpha").stop
    return stop is not None and stop.obeyed
