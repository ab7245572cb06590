"""A site's control loop in a process of its own, restarted for ever."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Final, cast

from ray.exceptions import ActorDiedError, RayError

from actors.errors import FleetUnavailable
from actors.names import FLEET_ACTOR
from actors.ray_api import Actor, find_actor
from bessai.build import SiteSpec, build_site
from bessai.control import SiteLoop
from bessai.model import FleetReply, SiteSnapshot

LOOP_ENDED_STATUS: Final = 70
log = logging.getLogger(__name__)


class FleetUplink:
    """Reports to the fleet actor; implements :class:`bessai.ports.Uplink`."""

    def __init__(self, find: Callable[[str], Actor] = find_actor) -> None:
        self._find = find
        self._fleet: Actor | None = None
        self._search: asyncio.Task[Actor] | None = None

    async def report(self, snapshot: SiteSnapshot) -> FleetReply:
        """Hand over a snapshot and take the answer.

        Raises:
            FleetUnavailable: the fleet actor does not answer now.
        """
        try:
            fleet = await self._found()
            replies = cast("list[FleetReply]", await fleet.ask("report", [snapshot]))
        except (RayError, ValueError) as error:
            if isinstance(error, ActorDiedError):
                self._fleet = None  # gone for good; an actor that restarts keeps its handle
            raise FleetUnavailable(
                f"the fleet actor does not answer ({type(error).__name__})"
            ) from error
        return replies[0]

    async def _found(self) -> Actor:
        """The fleet actor; looking up its name blocks a thread while Ray's head is away.

        One search at a time, whatever became of the report that began it: the inverter's host
        name is looked up in the same few threads.
        """
        if self._fleet is not None:
            return self._fleet
        search = self._search or asyncio.create_task(asyncio.to_thread(self._find, FLEET_ACTOR))
        self._search = search
        try:
            self._fleet = await asyncio.shield(search)
        finally:
            if search.done():
                self._search = None
        return self._fleet


class SiteActor:
    """Runs the loop of one site from the moment it is made."""

    def __init__(self, spec: SiteSpec) -> None:
        self._spec = spec
        self._loop: SiteLoop = build_site(spec, FleetUplink())
        self._stopping = False
        self._task = asyncio.get_running_loop().create_task(self._loop.run())
        self._task.add_done_callback(self._end_process)

    def __repr__(self) -> str:
        site = self._spec.site
        return f"Site({site.id}: {site.profile} at {self._spec.address})"

    async def snapshot(self) -> SiteSnapshot:
        """What the site would report now."""
        return self._loop.snapshot()

    async def pid(self) -> int:
        """Process that owns the connection."""
        return os.getpid()

    async def stop(self) -> None:
        """End the loop and give the inverter back to its own working mode."""
        self._stopping = True
        await self._loop.stop()

    def _end_process(self, task: asyncio.Task[None]) -> None:
        if self._stopping:
            return
        # A site without a loop would look alive and control nothing: let Ray start it afresh.
        cause = None if task.cancelled() else task.exception()
        log.critical("site loop ended", exc_info=cause, extra={"site_id": self._spec.site.id})
        os._exit(LOOP_ENDED_STATUS)
