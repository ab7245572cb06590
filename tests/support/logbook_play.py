"""Records what a control loop decides, and replays what was recorded."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from bessai.control.logbook import Logbook, LogReader
from bessai.control.logbook.replay import Replay
from bessai.control.step import SiteRules
from bessai.model import FleetReply
from tests.support.site_fakes import FakeDevice, FakeUplink
from tests.support.site_play import LEASED, Script, guards, site_config, site_loop
from tests.support.site_time import run_virtual, virtual_clocks
from tests.support.site_values import HEALTHY

RULES = SiteRules(site_config().limits(), cycle_s=1.0, speed=1.0, renew_s=60.0)


def recorded(path: Path, script: Script, *, reply: FleetReply = LEASED) -> Path:
    """Play a site in virtual time and record it."""
    assert HEALTHY.site_id == site_config().site_id
    wall = virtual_clocks().wall
    log = Logbook(path, site_config().model_dump_json(), wall=wall, max_waiting=100_000)

    async def main() -> None:
        device, uplink = FakeDevice(), FakeUplink(reply)
        loop = site_loop(device, uplink, replace(guards(), log=log))
        running = asyncio.create_task(loop.run())
        await script(loop, device, uplink)
        await loop.stop()
        await asyncio.wait_for(running, 1.0)

    run_virtual(main)
    log.close(30.0)
    assert (log.status.lost, log.status.error, log.status.waiting) == (0, None, 0)
    return path


def replayed(path: Path, rules: SiteRules = RULES) -> Replay:
    """Replay a whole file."""
    with LogReader(path) as reader:
        replay = Replay(rules, reader.codec)
        for segment in reader.segments():
            replay.segment(reader.cycles(segment.id), continues=segment.continues)
    return replay
