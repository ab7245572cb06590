"""Desired against running: one fleet actor and one actor per site, each alive and alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from ray.exceptions import RayError

from actors.epochs import Deployment, EpochDesk
from actors.errors import FleetStopped
from actors.fleet import FleetActor, FleetSpec
from actors.names import FLEET_ACTOR, SUPERVISOR_ACTOR, site_actor, store_node
from actors.ray_api import Actor, exists, find_actor, start_actor
from actors.site import SiteActor
from bessai.build import SiteSpec
from bessai.errors import BessaiError
from bessai.model import Grant, Owner, SiteId

CHECK_PERIOD_S: Final = 2.0
FLEET_STOP_S: Final = 8.0
LEAVE_AFTER_S: Final = 20.0
"""Longer than a site goes without confirming its epoch."""

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Desired:
    """What should run.

    Attributes:
        deployed_by: Who deployed it; tells this deployment apart from others of the same fleet.
    """

    fleet: FleetSpec
    sites: tuple[SiteSpec, ...]
    deployed_by: Owner


def start_site(spec: SiteSpec) -> Actor:
    """The site's actor, started where it does not run yet."""
    return start_actor(SiteActor, site_actor(spec.site.id), spec, spec.site.ray_resource)


def start_fleet(spec: FleetSpec) -> Actor:
    """The fleet actor, started where it does not run yet."""
    return start_actor(FleetActor, FLEET_ACTOR, spec, store_node(spec.store_url))


def start_supervisor(desired: Desired) -> Actor:
    """The supervisor, started where it does not run yet; before the sites, which ask it first."""
    return start_actor(Supervisor, SUPERVISOR_ACTOR, desired, store_node(desired.fleet.store_url))


class Supervisor:
    """Starts again what was ended for good, and says who owns a site.

    Ray itself restarts what merely crashed.
    """

    def __init__(self, desired: Desired) -> None:
        self._desired = desired
        self._stopped = False
        self._restarts = 0
        self._seen: set[str] = set()
        self._desk = EpochDesk(
            desired.fleet.store_url,
            Deployment(
                desired.fleet.fleet.id,
                frozenset(spec.site.id for spec in desired.sites),
                desired.deployed_by,
            ),
        )
        # A thread of its own: those of asyncio may all wait for Ray's head.
        self._store_thread = ThreadPoolExecutor(1, thread_name_prefix="epochs")
        self._store_answers = True
        self._task = asyncio.get_running_loop().create_task(self._run())

    def __repr__(self) -> str:
        return f"Supervisor({self._desired.fleet.fleet.id}: {len(self._desired.sites)} sites)"

    async def restarts(self) -> int:
        """How many actors were missing and started again."""
        return self._restarts

    async def claim(self, site_id: SiteId, owner: Owner) -> Grant:
        """Make ``owner`` the one owner of a site, by a new epoch.

        Raises:
            FleetStopped: it gives its inverters back.
            BessaiError: nothing was granted.
        """
        if self._stopped:
            raise FleetStopped("this deployment is being stopped; it takes no site over any more")
        grant = await self._in_thread(lambda: self._desk.claim(site_id, owner))
        log.info("epoch granted", extra={"site_id": site_id, "epoch": grant.epoch})
        return grant

    async def is_current(self, site_id: SiteId, epoch: int) -> bool:
        """Whether nobody has claimed a site after ``epoch``; BessaiError where nobody knows."""
        return await self._in_thread(lambda: self._desk.is_current(site_id, epoch))

    async def settle(self, site_id: SiteId, epoch: int) -> None:
        """The owner of ``epoch`` controls the site: forget those before it."""
        await self._in_thread(lambda: self._desk.settle(site_id, epoch))

    async def stop(self) -> int:
        """Stop all sites, releasing their inverters, then the fleet; returns how many answered."""
        self._stopped = True
        answered = await self._stop_sites()
        await self._stop(FLEET_ACTOR, FLEET_STOP_S)
        return answered

    async def _stop_sites(self) -> int:
        stops = [
            self._stop(site_actor(spec.site.id), spec.site.stop_deadline_s)
            for spec in self._desired.sites
        ]
        return sum(await asyncio.gather(*stops))

    async def _stop(self, name: str, deadline_s: float) -> bool:
        try:
            handle = await asyncio.to_thread(find_actor, name)
            async with asyncio.timeout(deadline_s):
                await handle.ask("stop")
        except (RayError, ValueError, TimeoutError) as error:
            log.warning("actor did not stop", extra={"actor": name, "cause": type(error).__name__})
            return False
        return True

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._store_thread, work)

    async def _run(self) -> None:
        while not self._stopped:
            if await self._is_superseded():
                await self._leave()
                return
            await asyncio.sleep(CHECK_PERIOD_S)
            try:
                await asyncio.to_thread(self._start_missing)
            except RayError as error:
                log.warning("cannot check actors", extra={"cause": type(error).__name__})

    async def _is_superseded(self) -> bool:
        """Whether a later deployment hands out the epochs; takes over first where none does."""
        try:
            await self._in_thread(self._desk.take_over)
            later = await self._in_thread(self._desk.later_deployment)
        except BessaiError as error:
            self._note_store(str(error))
            return False
        self._note_store(None)
        return later is not None

    def _note_store(self, problem: str | None) -> None:
        if problem is not None and self._store_answers:
            log.warning("no epochs: the store does not answer", extra={"cause": problem})
        elif problem is None and not self._store_answers:
            log.info("the store answers again")
        self._store_answers = problem is None

    async def _leave(self) -> None:
        """A later deployment runs the sites: stay away from devices that take one client only.

        The sites first have time to hear it from their epochs, so that none gives back what is
        another's by now.
        """
        self._stopped = True
        log.critical("a later deployment of this fleet controls its sites; this one leaves them")
        await asyncio.sleep(LEAVE_AFTER_S)
        await self._stop_sites()

    def _start_missing(self) -> None:
        if not self._runs(FLEET_ACTOR):
            start_fleet(self._desired.fleet)
        for spec in self._desired.sites:
            if not self._stopped and not self._runs(site_actor(spec.site.id)):
                start_site(spec)

    def _runs(self, name: str) -> bool:
        """Whether the actor is there; notes one that was there and is gone."""
        if exists(name):
            self._seen.add(name)
            return True
        if name in self._seen:
            self._restarts += 1
            log.warning("actor is missing, starting it", extra={"actor": name})
        return False
