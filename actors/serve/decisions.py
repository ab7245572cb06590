"""What a site decided, over HTTP: asked of the site itself, which keeps its own record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, NoReturn, Protocol, cast

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime
from ray.exceptions import RayError, RayTaskError

from actors.errors import FleetUnavailable
from actors.names import site_actor
from actors.ray_api import Actor, find_actor
from bessai.control.logbook import DecisionQuery
from bessai.control.logbook.views import DecisionsView
from bessai.errors import BessaiError

ANSWER_TIMEOUT_S: Final = 5.0
MOST: Final = 1000


class DecisionSource(Protocol):
    """Where recorded decisions come from."""

    async def decisions(self, site_id: str, query: DecisionQuery) -> DecisionsView | None:
        """The decisions of a site, or None where there is no such site.

        Raises:
            FleetUnavailable: the site does not answer now.
        """
        ...


class SiteDecisions:
    """Asks the site's actor; implements :class:`DecisionSource`."""

    def __init__(
        self, find: Callable[[str], Actor] = find_actor, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> None:
        self._find, self._timeout_s = find, timeout_s

    async def decisions(self, site_id: str, query: DecisionQuery) -> DecisionsView | None:
        """The decisions of a site, or None where there is no such site."""
        try:
            # Looking up a name blocks while Ray's head is away; that is no reason to wait.
            async with asyncio.timeout(self._timeout_s):
                actor = await asyncio.to_thread(self._find, site_actor(site_id))
                return cast("DecisionsView", await actor.ask("decisions", query))
        except RayTaskError as error:
            cause = error.cause
            raise (cause if isinstance(cause, BessaiError) else error) from error
        except ValueError:  # no actor of this name
            return None
        except (RayError, TimeoutError) as error:
            why = "it is too slow" if isinstance(error, TimeoutError) else "its process is away"
            raise FleetUnavailable(
                f"the site does not answer now ({why})",
                field=site_id,
                fix="ask again, or read its record: bessai site ID --why --file FILE",
            ) from error


def add_decision_routes(
    router: APIRouter, source: DecisionSource, not_found: Callable[[str], Awaitable[NoReturn]]
) -> APIRouter:
    """Add the route to a router of the API.

    Args:
        router: Where to add it.
        source: Where decisions come from.
        not_found: Raises the error for a site that there is not.
    """

    @router.get("/sites/{site_id}/decisions", summary="What a site decided, and why")
    async def decisions(
        site_id: Annotated[str, Path(max_length=63, description="Id of a site.")],
        last: Annotated[int, Query(ge=1, le=MOST, description="The newest so many.")] = 20,
        since: Annotated[AwareDatetime | None, Query(description="Wall time.")] = None,
        until: Annotated[AwareDatetime | None, Query(description="Wall time.")] = None,
        cause_id: Annotated[str | None, Query(description="Only of this cause.")] = None,
        changes: Annotated[bool, Query(description="Only where something changed.")] = False,
    ) -> DecisionsView:
        query = DecisionQuery(last, since, until, cause_id, changes)
        found = await source.decisions(site_id, query)
        return found if found is not None else await not_found(site_id)

    return router
