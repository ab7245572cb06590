"""Whether this process still owns its site: it beats, asks, and closes the permit in doubt."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from bessai.control.claims import Claims
from bessai.control.clocks import Clocks
from bessai.control.counters import Tally
from bessai.control.guards import SiteGuards
from bessai.control.journal import Journal
from bessai.control.ownership import Claim, Ownership, OwnershipRules, next_ownership
from bessai.control.permit import GAP_CYCLES
from bessai.model import SiteId
from bessai.units import MonotonicS

BEATS_PER_GAP: Final = 8.0


class Vigil:
    """Stands between the authority, the permit and the control cycle of one site.

    Args:
        site_id: The site.
        guards: What makes this process the one owner.
        clocks: Control time.
        cycle_s: Real seconds between cycles.
        tally: Counts.
        journal: Where problems are told.
    """

    def __init__(
        self,
        site_id: SiteId,
        guards: SiteGuards,
        clocks: Clocks,
        cycle_s: float,
        *,
        tally: Tally,
        journal: Journal,
    ) -> None:
        self._permit = guards.permit
        self._watchdog = guards.watchdog
        self._clocks = clocks
        self._cycle_s = cycle_s
        self._tally = tally
        self._journal = journal
        self._claims = Claims(
            site_id, guards.owner, guards.authority, guards.lock, clocks.now, journal
        )
        self._asked_for = guards.permit.doubt_at
        self._connections = 0

    @property
    def claim(self) -> Claim:
        """What the authority and this machine said last."""
        return self._claims.claim

    @property
    def doubt_at(self) -> MonotonicS:
        """Control time of the last event after which the epoch must be confirmed."""
        return self._permit.doubt_at

    async def keep_asking(self) -> None:
        """A bug in the authority must not end the questions; a newer owner ends writing at once."""
        while not self.claim.superseded:
            try:
                await self._claims.run()
            except Exception as error:  # noqa: BLE001 - as in a cycle
                self._journal.crash("claim failed", error)
                self._tally.blocked("internal_fault")
                await asyncio.sleep(self._cycle_s)
        self._permit.allow(None)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Show several times per gap that this process runs."""
        beats = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beats.cancel()

    def look(self) -> None:
        """Notice a gap now, and ask where there is a doubt that nobody asked about."""
        self._permit.beat()
        if self.doubt_at > self._asked_for:
            self._asked_for = self.doubt_at
            self._claims.ask()
            self._journal.event("ownership in doubt; asking before the next write")

    def note_connections(self, made: int) -> None:
        """``made`` connections so far; each but the first is a doubt.

        The device may have closed the old one because somebody else connected.
        """
        if made > max(self._connections, 1):
            self._permit.doubt()
        self._connections = made

    def allow(self, owner: Ownership) -> None:
        """Open or close the permit by the standing of this cycle."""
        self._permit.allow(owner.settled_at if owner.may_write else None)

    async def still_owns(self, before: Ownership, rules: OwnershipRules) -> bool:
        """Whether a release is ours to write; a doubt that is open is asked about once."""
        if self.doubt_at > before.settled_at and self.claim.epoch is not None:
            await self._claims.confirm()
        owner = next_ownership(before, self.claim, self.doubt_at, None, self._clocks.now(), rules)
        self.allow(owner)
        return owner.may_write

    def doubt(self) -> None:
        """Somebody else may own the site now."""
        self._permit.doubt()

    def end(self) -> None:
        """Give the machine's lock back."""
        self._claims.close()

    async def _beat(self) -> None:
        while True:
            self._watchdog.beat()
            self.look()
            await asyncio.sleep(GAP_CYCLES * self._cycle_s / BEATS_PER_GAP)
