"""Reports to the fleet beside the control cycle, which never waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from bessai.control.follow import Orders, receive
from bessai.control.journal import Journal
from bessai.errors import BessaiError
from bessai.model import SiteId, SiteSnapshot
from bessai.model.stop import NO_STOPS
from bessai.ports import Uplink
from bessai.units import MonotonicS

REPORT_TIMEOUT_S: Final = 5.0
FAREWELL_TIMEOUT_S: Final = 1.0


class Reporter:
    """Sends the newest snapshot, one at a time, and keeps what the fleet answered.

    While a report is in flight newer snapshots are not queued: the next report is made from
    the state at its own start. ``heard`` is called after each answer.

    Attributes:
        orders: What the fleet answered last.
        told: The stops in the report that it answered.
    """

    def __init__(
        self,
        site_id: SiteId,
        uplink: Uplink,
        snapshot: Callable[[], SiteSnapshot],
        now: Callable[[], MonotonicS],
        journal: Journal,
        heard: Callable[[], None],
    ) -> None:
        self._site_id = site_id
        self._uplink = uplink
        self._snapshot = snapshot
        self._now = now
        self._journal = journal
        self._heard = heard
        self._fresh = asyncio.Event()
        self.orders = Orders()
        self.told = NO_STOPS

    def wake(self) -> None:
        """There is something new to report."""
        self._fresh.set()

    async def run(self, period_s: float) -> None:
        """Report after each wake, and at least every two periods, until cancelled."""
        while True:
            await self._wait(2 * period_s)
            await self.report(REPORT_TIMEOUT_S)

    async def report(self, timeout_s: float) -> None:
        """Send one snapshot; a failure is logged and lets the lease run out."""
        # From the question on: a process that stood still must not find an old answer fresh.
        asked_at = self._now()
        try:
            async with asyncio.timeout(timeout_s):
                snapshot = self._snapshot()
                reply = await self._uplink.report(snapshot)
            self.orders = receive(self.orders, reply, self._site_id, asked_at)
            self.told = snapshot.stops
            self._heard()
        except TimeoutError:
            self._journal.note("fleet does not answer", f"no answer within {timeout_s:g} s")
        except BessaiError as error:
            self._journal.note("fleet does not answer", str(error))
        else:
            self._journal.note("fleet does not answer", None)

    async def _wait(self, longest_s: float) -> None:
        try:
            async with asyncio.timeout(longest_s):
                await self._fresh.wait()
        except TimeoutError:
            pass
        self._fresh.clear()
