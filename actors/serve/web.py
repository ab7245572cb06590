"""The HTTP API and the page, over any :class:`FleetGateway`.

Nothing here keeps fleet state: every answer is one question to the gateway, so that any number
of replicas can serve the same fleet.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, FastAPI, Query, Response
from fastapi import Path as PathParam
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware import Middleware

from actors.serve.decisions import DecisionSource, add_decision_routes
from actors.serve.events import EventHub, EventStreamResponse, EventTiming
from actors.serve.gateway import FleetGateway
from actors.serve.guard import Access, Guard
from actors.serve.problems import SiteNotFound, install_problem_handlers
from bessai.fleet.views import (
    FleetView,
    HealthView,
    HistoryView,
    PriceView,
    ProblemView,
    SchedulesView,
    SitesView,
    SiteView,
    StatusView,
    StopOrdersView,
    StopOrderView,
    StopRequest,
    VersionView,
)

API_PREFIX = "/api/v1"
STATIC_DIR = Path(__file__).parent / "static"
METRICS_MEDIA_TYPE = "text/plain; version=0.0.4"

Responses = dict[int | str, dict[str, Any]]
NO_SUCH_SITE: Responses = {
    404: {"model": ProblemView, "description": "The fleet has no such site."},
    422: {"model": ProblemView, "description": "Not a site id."},
}

REFUSED = {
    403: "Sent by a page of another address.",
    413: "The body is too long.",
    415: "The body is not JSON.",
    422: "A name or a reason is missing, too long or not one line.",
}

SiteIdParam = Annotated[str, PathParam(max_length=63, description="Id of a site.")]
SiteIdQuery = Annotated[str | None, Query(max_length=63, description="Only this site.")]

DESCRIPTION = (
    "State, plans, prices and stops of a fleet of battery sites. Power in kW AC, + is discharge "
    "or export. Times are UTC. A number that is not known now is null. Errors are ProblemView."
)


def create_app(
    gateway: FleetGateway,
    *,
    api_key: str | None,
    loopback_only: bool,
    title: str = "BESSAI",
    timing: EventTiming | None = None,
    decisions: DecisionSource | None = None,
) -> FastAPI:
    """Build the app.

    Args:
        gateway: Answers all questions.
        api_key: Key that the API and the metrics need, or None for an open API.
        loopback_only: Answer only to a Host that is this machine.
        title: Name of the API in its OpenAPI document.
        timing: Pace of the event stream; by default one snapshot a second.
        decisions: Answers what sites decided; left out, there is no such route.
    """
    hub = EventHub(gateway, timing or EventTiming())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        hub.close()

    app = FastAPI(
        title=title,
        version="1",
        description=DESCRIPTION,
        openapi_url=f"{API_PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        middleware=[Middleware(Guard, access=Access(api_key, loopback_only))],
    )
    install_problem_handlers(app)
    # include_router() would tie a lock to the app, which then could not travel to a replica.
    for router in (
        _fleet_routes(gateway),
        _site_routes(gateway),
        _order_routes(gateway),
        _event_routes(hub),
    ):
        app.router.routes.extend(router.routes)
    if decisions is not None:
        not_found = partial(_raise_not_found, gateway)
        app.router.routes.extend(add_decision_routes(_router(), decisions, not_found).routes)
    app.router.routes.extend(_page_routes(gateway).routes)
    app.mount("/static", StaticFiles(directory=STATIC_DIR), name="static")
    return app


def _router() -> APIRouter:
    problems = {401: "Key missing or wrong.", 421: "Foreign Host.", 503: "No fleet answers now."}
    return APIRouter(
        prefix=API_PREFIX,
        responses={
            status: {"model": ProblemView, "description": said} for status, said in problems.items()
        },
    )


def _fleet_routes(gateway: FleetGateway) -> APIRouter:
    router = _router()

    @router.get("/status", summary="Fleet, versions and addresses on one page")
    async def status() -> StatusView:
        return await gateway.status()

    @router.get("/fleet", summary="Totals over the sites that report now")
    async def fleet() -> FleetView:
        return await gateway.fleet()

    @router.get("/price", summary="Past 24 h of prices and the forecast of the next 24 h")
    async def price() -> PriceView:
        return await gateway.price()

    @router.get("/health", summary="Whether the parts work; 503 only for `down`")
    async def health(response: Response) -> HealthView:
        answer = await gateway.health()
        if answer.status == "down":
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return answer

    @router.get("/version", summary="Versions of what runs")
    async def version() -> VersionView:
        return await gateway.version()

    return router


def _site_routes(gateway: FleetGateway) -> APIRouter:
    router = _router()

    @router.get("/sites", summary="All sites")
    async def sites() -> SitesView:
        return await gateway.sites()

    @router.get("/sites/{site_id}", summary="One site", responses=NO_SUCH_SITE)
    async def site(site_id: SiteIdParam) -> SiteView:
        found = await gateway.site(site_id)
        return found if found is not None else await _raise_not_found(gateway, site_id)

    @router.get(
        "/sites/{site_id}/history",
        summary="What a site did over the last day",
        responses=NO_SUCH_SITE,
    )
    async def history(site_id: SiteIdParam) -> HistoryView:
        found = await gateway.history(site_id)
        return found if found is not None else await _raise_not_found(gateway, site_id)

    @router.get("/schedule", summary="Plans of all sites, or of one", responses=NO_SUCH_SITE)
    async def schedule(site_id: SiteIdQuery = None) -> SchedulesView:
        if site_id is None:
            return await gateway.schedules()
        return await _plan_of(gateway, site_id)

    return router


def _order_routes(gateway: FleetGateway) -> APIRouter:
    router = _router()
    heard = "Stored before it is answered; a site hears of it with its next report."
    refused: Responses = {
        status: {"model": ProblemView, "description": said} for status, said in REFUSED.items()
    }

    @router.post(
        "/sites/{site_id}/stop",
        summary="Stop a site until it is released",
        description=heard,
        responses=NO_SUCH_SITE | refused,
    )
    async def stop_site(site_id: SiteIdParam, said: StopRequest) -> StopOrderView:
        found = await gateway.stop_site(site_id, said)
        return found if found is not None else await _raise_not_found(gateway, site_id)

    @router.post(
        "/sites/{site_id}/release",
        summary="End a site's stop, whoever ordered it",
        description=heard,
        responses=NO_SUCH_SITE | refused,
    )
    async def release_site(site_id: SiteIdParam, said: StopRequest) -> StopOrderView:
        found = await gateway.release_site(site_id, said)
        return found if found is not None else await _raise_not_found(gateway, site_id)

    @router.post(
        "/fleet/stop",
        summary="Stop all sites until they are released",
        description=heard,
        responses=refused,
    )
    async def stop_fleet(said: StopRequest) -> StopOrdersView:
        return await gateway.stop_fleet(said)

    @router.post(
        "/fleet/release",
        summary="End the stops of all sites, whoever ordered each",
        description=heard,
        responses=refused,
    )
    async def release_fleet(said: StopRequest) -> StopOrdersView:
        return await gateway.release_fleet(said)

    return router


def _event_routes(hub: EventHub) -> APIRouter:
    router = _router()
    described: Responses = {
        200: {
            "description": "Server-sent events: `snapshot` with a LiveView about once a second, "
            "`unavailable` with a ProblemView while no fleet answers, `renew` where the stream "
            "ends and the next one should be opened.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    }

    @router.get(
        "/events",
        summary="Live updates",
        response_class=EventStreamResponse,
        responses=described,
    )
    async def events() -> EventStreamResponse:
        return EventStreamResponse(hub.stream())

    return router


def _page_routes(gateway: FleetGateway) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page() -> FileResponse:
        return FileResponse(STATIC_DIR / "index.html")

    @router.get("/metrics")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(await gateway.metrics(), media_type=METRICS_MEDIA_TYPE)

    return router


async def _plan_of(gateway: FleetGateway, site_id: str) -> SchedulesView:
    plan = await gateway.schedule(site_id)
    if plan is None and await gateway.site(site_id) is None:
        await _raise_not_found(gateway, site_id)
    version = (await gateway.fleet()).plan_version
    return SchedulesView(plan_version=version, schedules=[] if plan is None else [plan])


async def _raise_not_found(gateway: FleetGateway, site_id: str) -> NoReturn:
    known = [site.site_id for site in (await gateway.sites()).sites]
    close = difflib.get_close_matches(site_id, known, n=1)
    raise SiteNotFound(
        "the fleet has no such site",
        field="site_id",
        value=repr(site_id),
        fix=f"did you mean {close[0]!r}?" if close else f"GET {API_PREFIX}/sites lists all sites",
    )
