"""A site's control loop in a process of its own, restarted for ever."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from typing import Final, cast

from ray.exceptions import RayError

from actors.errors import AuthorityUnavailable, FleetUnavailable
from actors.names import FLEET_ACTOR, SUPERVISOR_ACTOR
from actors.ray_api import Actor, NamedActor, find_actor
from bessai.build import SiteSpec, build_site, memory_of
from bessai.control import SiteLoop
from bessai.control.logbook import DecisionQuery, decision_file
from bessai.control.logbook.views import DecisionsView, decisions_view
from bessai.errors import BessaiError
from bessai.model import FleetReply, Grant, Owner, SiteId, SiteSnapshot, Tenure
from bessai.ports import Uplink

LOOP_ENDED_STATUS: Final = 70
SUPERSEDED_STATUS: Final = 71
STUCK_STATUS: Final = 72
AUTHORITY_ANSWER_S: Final = 3.0
"""Longer than the supervisor waits for its store."""

log = logging.getLogger(__name__)


class FleetUplink:
    """Reports to the fleet actor; implements :class:`bessai.ports.Uplink`."""

    def __init__(self, find: Callable[[str], Actor] = find_actor) -> None:
        self._fleet = NamedActor(FLEET_ACTOR, find)

    async def report(self, snapshot: SiteSnapshot) -> FleetReply:
        """Hand over a snapshot and take the answer.

        Raises:
            FleetUnavailable: the fleet actor does not answer now.
        """
        try:
            replies = cast("list[FleetReply]", await self._fleet.ask("report", [snapshot]))
        except (RayError, ValueError) as error:
            raise FleetUnavailable(
                f"the fleet actor does not answer ({type(error).__name__})"
            ) from error
        return replies[0]


class SupervisorAuthority:
    """Asks the supervisor for epochs; implements :class:`bessai.ports.Authority`.

    Args:
        find: Looks up a named actor.
        answer_s: Longest wait for an answer, in real seconds.
    """

    def __init__(
        self, find: Callable[[str], Actor] = find_actor, answer_s: float = AUTHORITY_ANSWER_S
    ) -> None:
        self._supervisor = NamedActor(SUPERVISOR_ACTOR, find)
        self._answer_s = answer_s

    async def claim(self, site_id: SiteId, owner: Owner) -> Grant:
        """Make ``owner`` the one owner of the site.

        Raises:
            AuthorityUnavailable: nothing was granted that is known of.
        """
        return cast("Grant", await self._ask("claim", site_id, owner))

    async def is_current(self, site_id: SiteId, epoch: int) -> bool:
        """Whether nobody has claimed the site after ``epoch``.

        Raises:
            AuthorityUnavailable: nobody knows now.
        """
        return cast("bool", await self._ask("is_current", site_id, epoch))

    async def settle(self, site_id: SiteId, epoch: int) -> None:
        """The owner of ``epoch`` controls the site now.

        Raises:
            AuthorityUnavailable: it is not known that anybody heard it.
        """
        await self._ask("settle", site_id, epoch)

    async def _ask(self, method: str, *args: object) -> object:
        try:
            async with asyncio.timeout(self._answer_s):
                return await self._supervisor.ask(method, *args)
        except TimeoutError as error:
            text = f"no answer within {self._answer_s:g} s"
            raise AuthorityUnavailable(f"the supervisor: {text}") from error
        except (RayError, ValueError) as error:
            cause = getattr(error, "cause", None)
            text = str(cause) if isinstance(cause, BessaiError) else type(error).__name__
            raise AuthorityUnavailable(f"the supervisor: {text}") from error


class SettlingUplink:
    """Passes reports on, and tells the authority when this process controls the site.

    Only then may the owners before it be forgotten. It is told once; a question that failed is
    repeated with the next report, which never waits for it.
    """

    def __init__(self, uplink: Uplink, authority: SupervisorAuthority) -> None:
        self._uplink = uplink
        self._authority = authority
        self._settled = 0
        self._telling: asyncio.Task[None] | None = None

    async def report(self, snapshot: SiteSnapshot) -> FleetReply:
        """Hand over a snapshot and take the answer.

        Raises:
            BessaiError: the fleet cannot be reached now.
        """
        if snapshot.tenure is Tenure.OWNER and snapshot.epoch > self._settled:
            self._tell_once(snapshot.site_id, snapshot.epoch)
        return await self._uplink.report(snapshot)

    def _tell_once(self, site_id: SiteId, epoch: int) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(site_id, epoch))

    async def _tell(self, site_id: SiteId, epoch: int) -> None:
        with contextlib.suppress(AuthorityUnavailable):
            await self._authority.settle(site_id, epoch)
            self._settled = epoch


class SiteActor:
    """Runs the loop of one site from the moment it is made.

    When a newer owner superseded it, its process ends. Where that owner is the actor that Ray
    started in its place, this one belongs to a lost node and nobody starts it again. Where
    somebody claimed the site by hand, Ray starts it again and the new process claims it once: no
    fight, because only a process that Ray starts claims by itself, and Ray runs one per site. Two
    Rays on one store are kept apart by :mod:`actors.epochs`.
    """

    def __init__(self, spec: SiteSpec) -> None:
        self._spec = spec
        authority = SupervisorAuthority()
        uplink = SettlingUplink(FleetUplink(), authority)
        self._loop: SiteLoop = build_site(spec, uplink, authority, self._end_stuck_process)
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

    async def decisions(self, query: DecisionQuery) -> DecisionsView:
        """What the site decided, and why.

        Raises:
            StoreError: nothing is recorded, or the record cannot be read.
        """
        site_id = self._spec.site.id
        path = decision_file(memory_of(self._spec), site_id)
        return await asyncio.to_thread(decisions_view, path, site_id, query)

    async def stop(self) -> None:
        """End the loop and give the inverter back to its own working mode."""
        self._stopping = True
        await self._loop.stop()
        await asyncio.to_thread(self._loop.close_log)

    def _end_process(self, task: asyncio.Task[None]) -> None:
        if self._stopping:
            return
        # A site without a loop would look alive and control nothing: let Ray start it afresh.
        site_id = self._spec.site.id
        self._loop.close_log()
        if self._loop.superseded:
            text = "superseded: another process owns the site, so this one ends"
            log.critical(text, extra={"site_id": site_id})
            os._exit(SUPERSEDED_STATUS)
        cause = None if task.cancelled() else task.exception()
        log.critical("site loop ended", exc_info=cause, extra={"site_id": site_id})
        os._exit(LOOP_ENDED_STATUS)

    def _end_stuck_process(self, cause: str) -> None:
        """From the watchdog's thread: nothing of this process can be asked any more."""
        log.critical("site stands still", extra={"site_id": self._spec.site.id, "cause": cause})
        os._exit(STUCK_STATUS)
