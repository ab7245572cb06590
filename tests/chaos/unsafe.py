"""The control run: a site of the harness's own build whose envelope allows everything.

``python -m tests.chaos.unsafe PORT MEMORY safe|unsafe`` runs until its standard input ends. The
product has no such switch: the envelope is replaced in this process alone.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from bessai.build import SiteSpec, build_site
from bessai.control.claims import NoRivals
from bessai.model import (
    Bounds,
    CauseId,
    FleetReply,
    MarketClock,
    Priority,
    Proposal,
    SiteSnapshot,
)
from bessai.safety import Envelope
from bessai.units import MonotonicS
from tests.chaos.bed import NAMEPLATE_KW, SPEED, site_config

DISCHARGE_REPORTS = 40
OPEN = Bounds(-NAMEPLATE_KW, NAMEPLATE_KW)
SITE = "control"


class Greedy:
    """Wishes full power: discharge for a while, then charge."""

    def __init__(self) -> None:
        self._reports = 0

    async def report(self, _snapshot: SiteSnapshot) -> FleetReply:
        self._reports += 1
        discharges = self._reports % (2 * DISCHARGE_REPORTS) < DISCHARGE_REPORTS
        wish = Proposal(
            source="greedy",
            priority=Priority.SCHEDULE,
            preferred_kw=NAMEPLATE_KW if discharges else -NAMEPLATE_KW,
            bounds=None,
            expires_at=MonotonicS(15.0),
            cause_id=CauseId("control-run"),
        )
        return FleetReply(None, lease_s=15.0, proposals=(wish,), epoch=1)


async def run(port: int, memory: Path) -> None:
    """One site until the end of standard input."""
    site = site_config(SITE, resource=None).model_copy(update={"port": port})
    now = datetime.now(UTC)
    spec = SiteSpec(site, MarketClock(now, now, SPEED), simulated=True, memory=memory)
    loop = build_site(spec, Greedy(), NoRivals(), lambda _cause: os._exit(1))
    task = asyncio.create_task(loop.run())
    await asyncio.to_thread(sys.stdin.read)
    await loop.stop()
    await task


def main() -> None:
    port, memory, mode = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    with ExitStack() as patches:
        if mode == "unsafe":
            step = "bessai.control.step"
            patches.enter_context(patch(f"{step}.envelope", lambda *_: Envelope(OPEN, ())))
            patches.enter_context(patch(f"{step}.validate_envelope", lambda *_: None))
            patches.enter_context(patch(f"{step}.nameplate", lambda _: OPEN))
            patches.enter_context(patch("bessai.control.loop.validate_state", lambda *_: None))
        asyncio.run(run(port, memory))


if __name__ == "__main__":
    main()
