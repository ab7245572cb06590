"""Who stopped which site: the operator's orders beside what each site says of them.

An order is in the store before anybody hears of it, so no death of this process takes it back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from bessai.errors import BessaiError
from bessai.fleet.state import FleetState
from bessai.model import AutonomyLevel, SiteId, SiteSnapshot, StopOrder, Stops
from bessai.model.stop import NO_STOPS
from bessai.store.stops import Word

log = logging.getLogger(__name__)


class OrderLog(Protocol):
    """Where orders survive the process."""

    def add(self, floors: Mapping[SiteId, int], word: Word) -> Mapping[SiteId, StopOrder]:
        """Write one order per site, all or none, with a revision above each floor.

        Raises:
            StoreError: nothing was written.
        """
        ...

    def newest(self) -> Mapping[SiteId, StopOrder]:
        """The newest order of each site that ever had one.

        Raises:
            StoreError: the store cannot be read.
        """
        ...

    def count(self) -> int:
        """How many orders there are; it grows with each one.

        Raises:
            StoreError: the store cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """How one site stands to its stops.

    Attributes:
        stops: What holds: the newer of the site's own word and the operator's.
        obeyed: Whether a live report of the site shows just that: of a stop, that it commands
            its device to rest.
    """

    stops: Stops
    obeyed: bool


class StopDesk:
    """Takes orders, hears the sites, and marks in the columns who rests.

    Attributes:
        error: Why the store could not be read last time, or None.

    Raises:
        StoreError: the store cannot be read.
    """

    def __init__(self, state: FleetState, orders: OrderLog) -> None:
        self._state, self._log = state, orders
        self._known = frozenset(state.site_ids)
        self._orders: dict[SiteId, StopOrder] = {}
        self._told: dict[SiteId, Stops] = {}
        self._count = orders.count()
        self.error: str | None = None
        self._take(orders.newest())

    def newest(self, site_id: SiteId) -> StopOrder | None:
        """The operator's newest order for a site, or None where there never was one."""
        return self._orders.get(site_id)

    def standing(self, site_id: SiteId) -> Standing | None:
        """How a site stands, or None where nobody ever stopped it."""
        stops, row = self._held(site_id), self._state.row(site_id)
        if stops == NO_STOPS:
            return None
        return Standing(stops, _obeys(self._state.snapshot(row), stops))

    def not_obeyed(self) -> list[SiteId]:
        """Sites whose report does not show the newest order yet, in the order of the file."""
        found = ((site_id, self.standing(site_id)) for site_id in self._state.site_ids)
        return [site_id for site_id, standing in found if standing and not standing.obeyed]

    def hear(self, snapshots: Iterable[SiteSnapshot]) -> None:
        """Take what the sites say."""
        for snapshot in snapshots:
            if snapshot.stops != self._told.get(snapshot.site_id, NO_STOPS):
                self._told[snapshot.site_id] = snapshot.stops
                self._mark(snapshot.site_id)

    async def order(
        self, site_ids: Sequence[SiteId], *, stopped: bool, by: str, reason: str
    ) -> dict[SiteId, StopOrder]:
        """Store one order per site, all or none; each site hears its own with its next report.

        Raises:
            StoreError: nothing was ordered.
        """
        floors = {site_id: _floor(self._held(site_id)) for site_id in site_ids}
        word = Word(stopped, by, reason, datetime.now(UTC))
        # A caller that goes away must not leave an order in the store that no site hears.
        writing = asyncio.ensure_future(asyncio.to_thread(self._log.add, floors, word))
        writing.add_done_callback(self._written)
        given = dict(await asyncio.shield(writing))
        log.warning(
            "operator stops sites" if stopped else "operator releases sites",
            extra={"site_ids": sorted(given), "by": by, "reason": reason},
        )
        return given

    def _written(self, writing: asyncio.Future[Mapping[SiteId, StopOrder]]) -> None:
        if not writing.cancelled() and writing.exception() is None:
            self._take(writing.result())

    async def refresh(self) -> None:
        """Take what another process ordered on the same store; a failure is kept as text."""
        try:
            count = await asyncio.to_thread(self._log.count)
            if count != self._count:
                self._take(await asyncio.to_thread(self._log.newest))
                self._count = count
        except BessaiError as error:
            if self.error is None:
                log.error("stop orders cannot be read", extra={"error": str(error)})  # noqa: TRY400
            self.error = str(error)
        else:
            self.error = None

    def _take(self, orders: Mapping[SiteId, StopOrder]) -> None:
        for site_id, order in orders.items():
            before = self._orders.get(site_id)
            if site_id in self._known and (before is None or order.revision > before.revision):
                self._orders[site_id] = order
                self._mark(site_id)

    def _held(self, site_id: SiteId) -> Stops:
        return self._told.get(site_id, NO_STOPS).heard(self._orders.get(site_id))

    def _mark(self, site_id: SiteId) -> None:
        # A release counts when the site has heard it, a stop when it is ordered.
        told = self._told.get(site_id, NO_STOPS)
        self._state.stopped[self._state.row(site_id)] = told.active or self._held(site_id).active


def _floor(stops: Stops) -> int:
    frozen_at = 0 if stops.freeze is None else stops.freeze.after_revision
    return max(stops.revision, frozen_at)


def _obeys(snapshot: SiteSnapshot | None, stops: Stops) -> bool:
    if snapshot is None or snapshot.stops != stops:
        return False
    wants_rest, setpoint = snapshot.autonomy is AutonomyLevel.SAFE_STOP, snapshot.setpoint
    if not stops.active:
        return not wants_rest
    # A site has a setpoint only while it may write and its device is there.
    return wants_rest and setpoint is not None and setpoint.power_kw == 0.0
