"""Desired against running: keeps one fleet actor and one actor per site alive."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from ray.exceptions import RayError

from actors.fleet import FleetActor, FleetSpec
from actors.names import FLEET_ACTOR, SUPERVISOR_ACTOR, site_actor
from actors.ray_api import Actor, exists, find_actor, start_actor
from actors.site import SiteActor
from bessai.build import SiteSpec

CHECK_PERIOD_S: Final = 2.0
FLEET_STOP_S: Final = 8.0
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Desired:
    """What should run."""

    fleet: FleetSpec
    sites: tuple[SiteSpec, ...]


def start_site(spec: SiteSpec) -> Actor:
    """The site's actor, started where it does not run yet."""
    return start_actor(SiteActor, site_actor(spec.site.id), spec, spec.site.ray_resource)


def start_fleet(spec: FleetSpec) -> Actor:
    """The fleet actor, started where it does not run yet."""
    return start_actor(FleetActor, FLEET_ACTOR, spec)


def start_supervisor(desired: Desired) -> Actor:
    """The supervisor, started where it does not run yet."""
    return start_actor(Supervisor, SUPERVISOR_ACTOR, desired)


class Supervisor:
    """Starts again what was ended for good; Ray itself restarts what merely crashed."""

    def __init__(self, desired: Desired) -> None:
        self._desired = desired
        self._stopped = False
        self._restarts = 0
        self._task = asyncio.get_running_loop().create_task(self._run())

    def __repr__(self) -> str:
        return f"Supervisor({self._desired.fleet.fleet.id}: {len(self._desired.sites)} sites)"

    async def restarts(self) -> int:
        """How many actors were missing and started again."""
        return self._restarts

    async def stop(self) -> int:
        """Stop all sites, releasing their inverters, then the fleet; returns how many answered."""
        self._stopped = True
        stops = [
            self._stop(site_actor(spec.site.id), spec.site.stop_deadline_s)
            for spec in self._desired.sites
        ]
        answered = sum(await asyncio.gather(*stops))
        await self._stop(FLEET_ACTOR, FLEET_STOP_S)
        return answered

    async def _stop(self, name: str, deadline_s: float) -> bool:
        try:
            handle = await asyncio.to_thread(find_actor, name)
            async with asyncio.timeout(deadline_s):
                await handle.ask("stop")
        except (RayError, ValueError, TimeoutError) as error:
            log.warning("actor did not stop", extra={"actor": name, "cause": type(error).__name__})
            return False
        return True

    async def _run(self) -> None:
        while not self._stopped:
            await asyncio.sleep(CHECK_PERIOD_S)
            try:
                await asyncio.to_thread(self._start_missing)
            except RayError as error:
                log.warning("cannot check actors", extra={"cause": type(error).__name__})

    def _start_missing(self) -> None:
        if not exists(FLEET_ACTOR):
            self._note(FLEET_ACTOR)
            start_fleet(self._desired.fleet)
        for spec in self._desired.sites:
            name = site_actor(spec.site.id)
            if not self._stopped and not exists(name):
                self._note(name)
                start_site(spec)

    def _note(self, name: str) -> None:
        self._restarts += 1
        log.warning("actor is missing, starting it", extra={"actor": name})
