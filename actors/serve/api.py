"""The HTTP API and the page on Ray Serve, answering from the fleet actor."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar, cast

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from actors.errors import FleetUnavailable
from actors.names import FLEET_ACTOR
from actors.ray_api import Actor, find_actor
from actors.serve.application import application
from actors.serve.decisions import SiteDecisions
from actors.serve.web import create_app
from bessai import __version__
from bessai.config.secret import api_key
from bessai.errors import BessaiError, ConfigError
from bessai.fleet.views import (
    FleetView,
    HealthCheckView,
    HealthView,
    HistoryView,
    LiveView,
    PriceView,
    SchedulesView,
    ScheduleView,
    SitesView,
    SiteView,
    StatusView,
    StopOrdersView,
    StopOrderView,
    StopRequest,
    VersionView,
)

ANSWER_TIMEOUT_S: Final = 5.0
T = TypeVar("T")


class RayGateway:
    """Asks the fleet actor; implements :class:`actors.serve.gateway.FleetGateway`."""

    def __init__(
        self, find: Callable[[str], Actor] = find_actor, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> None:
        self._find, self._timeout_s = find, timeout_s
        self._handle: Actor | None = None

    async def live(self) -> LiveView:
        """Totals and all sites."""
        return await self._ask(LiveView, "live")

    async def status(self) -> StatusView:
        """Versions, addresses and fallbacks."""
        return await self._ask(StatusView, "status")

    async def fleet(self) -> FleetView:
        """Totals."""
        return await self._ask(FleetView, "fleet")

    async def sites(self) -> SitesView:
        """All sites."""
        return await self._ask(SitesView, "sites")

    async def site(self, site_id: str) -> SiteView | None:
        """One site, or None where there is no such site."""
        return await self._ask_about(SiteView, "site", site_id)

    async def history(self, site_id: str) -> HistoryView | None:
        """Samples of the last market day."""
        return await self._ask_about(HistoryView, "history", site_id)

    async def schedules(self) -> SchedulesView:
        """All plans."""
        return await self._ask(SchedulesView, "schedules")

    async def schedule(self, site_id: str) -> ScheduleView | None:
        """The plan of one site."""
        return await self._ask_about(ScheduleView, "schedule", site_id)

    async def price(self) -> PriceView:
        """Settled prices and the forecast."""
        return await self._ask(PriceView, "price")

    async def health(self) -> HealthView:
        """Health of the fleet; ``down`` where none answers."""
        try:
            return await self._ask(HealthView, "health")
        except FleetUnavailable as error:
            check = HealthCheckView(name="fleet", ok=False, detail=str(error))
            return HealthView(status="down", checks=[check])

    async def version(self) -> VersionView:
        """Versions of what runs here."""
        python = platform.python_version()
        return VersionView(bessai=__version__, ray=ray.__version__, python=python)

    async def metrics(self) -> str:
        """Prometheus text."""
        return await self._ask(str, "metrics")

    async def stop_site(self, site_id: str, said: StopRequest) -> StopOrderView | None:
        """Order a site to rest; None where there is no such site."""
        return await self._order_site("stop_site", site_id, said)

    async def release_site(self, site_id: str, said: StopRequest) -> StopOrderView | None:
        """End a site's stop; None where there is no such site."""
        return await self._order_site("release_site", site_id, said)

    async def stop_fleet(self, said: StopRequest) -> StopOrdersView:
        """Order all sites to rest."""
        with _order_may_stand():
            return await self._ask(StopOrdersView, "stop_fleet", said.by, said.reason)

    async def release_fleet(self, said: StopRequest) -> StopOrdersView:
        """End the stops of all sites."""
        with _order_may_stand():
            return await self._ask(StopOrdersView, "release_fleet", said.by, said.reason)

    async def _order_site(
        self, order: str, site_id: str, said: StopRequest
    ) -> StopOrderView | None:
        with _order_may_stand():
            return await self._ask_about(StopOrderView, order, site_id, said.by, said.reason)

    async def _ask(self, kind: type[T], question: str, *args: str) -> T:
        try:
            # Looking up a name blocks while Ray's head is away; that is no reason to wait.
            async with asyncio.timeout(self._timeout_s):
                if self._handle is None:
                    self._handle = await asyncio.to_thread(self._find, FLEET_ACTOR)
                return cast("T", await self._handle.ask(question, *args))
        except RayTaskError as error:
            raise _our_error(error) from error
        except (RayError, ValueError, TimeoutError) as error:
            if isinstance(error, ActorDiedError):
                self._handle = None  # gone for good; an actor that restarts keeps its handle
            raise FleetUnavailable(
                f"no fleet answers now ({_why(error)})", fix="start one with: bessai up FLEET.yaml"
            ) from error

    async def _ask_about(self, kind: type[T], question: str, site_id: str, *more: str) -> T | None:
        try:
            return await self._ask(kind, question, site_id, *more)
        except ConfigError:  # the fleet has no such site
            return None


@contextmanager
def _order_may_stand() -> Iterator[None]:
    try:
        yield
    except FleetUnavailable as error:
        # The fleet may have stored the order and died, or was slow, before it could say so.
        raise FleetUnavailable(
            f"{error.message}; it may have taken the order or not",
            fix="order it again: the same order twice does no harm",
        ) from error


def _why(error: RayError | ValueError | TimeoutError) -> str:
    match error:
        case TimeoutError():
            return "it is too slow, or Ray's head is away"
        case ValueError():
            return "none runs on this Ray"
        case _:
            return "its actor is away; it starts again by itself"


def _our_error(error: RayTaskError) -> Exception:
    cause = error.cause
    return cause if isinstance(cause, BessaiError) else error


def build_app() -> FastAPI:
    """The app as a replica runs it: without a key it answers this machine only."""
    key = api_key()
    return create_app(
        RayGateway(), api_key=key, loopback_only=key is None, decisions=SiteDecisions()
    )


class Api:
    """Carries the FastAPI app."""


# Each open page holds one event stream.
app = application(serve.ingress(build_app)(Api), "Api", max_ongoing_requests=512)
