"""Asks the authority for this site's epoch and confirms it, beside the control cycle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bessai.control.journal import Journal
from bessai.control.owner_lock import OwnerLock
from bessai.control.ownership import Claim
from bessai.errors import BessaiError
from bessai.model import Grant, Owner, SiteId
from bessai.ports import Authority
from bessai.units import MonotonicS

CONFIRM_PERIOD_S: Final = 10.0
RETRY_S: Final = 1.0
ANSWER_S: Final = 3.0


class NoRivals:
    """The authority of a site that runs in one process only; implements ``Authority``."""

    async def claim(self, site_id: SiteId, owner: Owner) -> Grant:
        """The first epoch."""
        return Grant(1, None)

    async def is_current(self, site_id: SiteId, epoch: int) -> bool:
        """Always."""
        return True


class Claims:
    """Keeps :attr:`claim` up to date until cancelled.

    Args:
        site_id: The site.
        owner: This process.
        authority: Who hands out epochs.
        lock: This machine's lock for the device, or None where it cannot be used.
        now: Control time.
        journal: Where problems are told.
    """

    def __init__(
        self,
        site_id: SiteId,
        owner: Owner,
        authority: Authority,
        lock: OwnerLock | None,
        now: Callable[[], MonotonicS],
        journal: Journal,
    ) -> None:
        self._site_id = site_id
        self._owner = owner
        self._authority = authority
        self._lock = lock
        self._now = now
        self._journal = journal
        self._wake = asyncio.Event()
        self._previous: Owner | None = None
        self.claim = Claim()

    def ask(self) -> None:
        """Confirm as soon as possible."""
        self._wake.set()

    async def run(self) -> None:
        """Claim, then confirm now and then, and at once after :meth:`ask`, until superseded."""
        while True:
            self._wake.clear()
            await self.confirm()
            if self.claim.superseded:
                return
            settled = self.claim.problem is None and self.claim.alone
            await self._wait(CONFIRM_PERIOD_S if settled else RETRY_S)

    def close(self) -> None:
        """Give the machine's lock back."""
        if self._lock is not None:
            self._lock.drop()

    async def _wait(self, longest_s: float) -> None:
        try:
            async with asyncio.timeout(longest_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def confirm(self) -> None:
        """Ask once, for at most :data:`ANSWER_S`."""
        asked_at = self._now()
        try:
            async with asyncio.timeout(ANSWER_S):
                current = await self._current()
        except TimeoutError:
            self._tell(f"no answer within {ANSWER_S:g} s")
        except BessaiError as error:
            self._tell(str(error))
        else:
            self._tell(None)
            if current:
                self.claim = replace(self.claim, confirmed_at=asked_at)
            else:
                rival = "another process has a newer epoch"
                self.claim = replace(self.claim, superseded=True, rival=rival)
        self._look_for_rivals()

    async def _current(self) -> bool:
        if self.claim.epoch is not None:
            return await self._authority.is_current(self._site_id, self.claim.epoch)
        grant = await self._authority.claim(self._site_id, self._owner)
        self._previous = grant.previous
        self.claim = replace(self.claim, epoch=grant.epoch)
        self._journal.event("epoch granted", epoch=grant.epoch)
        return True

    def _tell(self, problem: str | None) -> None:
        self._journal.note("epoch cannot be confirmed", problem)
        self.claim = replace(self.claim, problem=problem)

    def _look_for_rivals(self) -> None:
        if self.claim.epoch is None or self.claim.alone or self.claim.superseded:
            return
        rival = self._rival()
        self.claim = replace(self.claim, alone=rival is None, rival=rival)

    def _rival(self) -> str | None:
        """Who may still write, or None where every earlier owner is proven dead."""
        if self._lock is not None and not self._has_lock(self._lock):
            return self._lock.holder()
        before = self._previous
        if before is None or (self._lock is not None and before.host == self._owner.host):
            return None
        return f"pid {before.pid} on {before.host}"

    def _has_lock(self, lock: OwnerLock) -> bool:
        try:
            taken = lock.take()
        except OSError as error:
            self._journal.note("owner lock cannot be used", str(error))
            return False
        return taken
