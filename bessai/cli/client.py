"""The HTTP API as the command line uses it."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import quote, urlencode

import httpx
from pydantic import BaseModel, ValidationError

from bessai.config.secret import api_key
from bessai.control.logbook import DecisionQuery
from bessai.control.logbook.views import DecisionsView
from bessai.errors import BessaiError
from bessai.fleet.views import (
    FleetView,
    HealthView,
    ProblemView,
    SchedulesView,
    ScheduleView,
    SitesView,
    SiteView,
    StatusView,
    StopOrdersView,
    StopOrderView,
    StopRequest,
)

M = TypeVar("M", bound=BaseModel)
TIMEOUT_S = 6.0


class ApiClient:
    """Talks to one fleet's API; use as a context manager."""

    def __init__(self, url: str) -> None:
        key = api_key()
        headers = {"X-API-Key": key} if key else {}
        self._url = url
        # A proxy of the environment must not see the key, and loopback needs none.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def status(self) -> StatusView:
        """Versions, addresses and fallbacks."""
        return self._get(StatusView, "/api/v1/status")

    def health(self) -> HealthView:
        """Health of each part."""
        return self._get(HealthView, "/api/v1/health", also=(503,))

    def fleet(self) -> FleetView:
        """Totals."""
        return self._get(FleetView, "/api/v1/fleet")

    def sites(self) -> SitesView:
        """All sites."""
        return self._get(SitesView, "/api/v1/sites")

    def site(self, site_id: str) -> SiteView:
        """One site."""
        return self._get(SiteView, f"/api/v1/sites/{quote(site_id, safe='')}")

    def schedule(self, site_id: str) -> ScheduleView | None:
        """The plan of a site, or None before the first."""
        found = self._get(SchedulesView, f"/api/v1/schedule?site_id={quote(site_id)}")
        return found.schedules[0] if found.schedules else None

    def decisions(self, site_id: str, query: DecisionQuery) -> DecisionsView:
        """What a site decided."""
        asked: dict[str, str] = {"last": str(query.last), "changes": str(query.changes).lower()}
        for name, moment in (("since", query.since), ("until", query.until)):
            if moment is not None:
                asked[name] = moment.isoformat()
        if query.cause_id is not None:
            asked["cause_id"] = query.cause_id
        path = f"/api/v1/sites/{quote(site_id, safe='')}/decisions?{urlencode(asked)}"
        return self._get(DecisionsView, path)

    def order(self, site_id: str | None, said: StopRequest, *, stop: bool) -> list[StopOrderView]:
        """Stop or release one site, or all where none is named."""
        word = "stop" if stop else "release"
        if site_id is None:
            return self._send(StopOrdersView, "POST", f"/api/v1/fleet/{word}", said=said).orders
        path = f"/api/v1/sites/{quote(site_id, safe='')}/{word}"
        return [self._send(StopOrderView, "POST", path, said=said)]

    def _get(self, kind: type[M], path: str, also: tuple[int, ...] = ()) -> M:
        return self._send(kind, "GET", path, also)

    def _send(
        self,
        kind: type[M],
        method: str,
        path: str,
        also: tuple[int, ...] = (),
        said: StopRequest | None = None,
    ) -> M:
        body = None if said is None else said.model_dump()
        try:
            response = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise BessaiError(
                f"the API does not answer ({type(error).__name__})",
                field=self._url,
                fix="check that the fleet runs: bessai up FLEET.yaml",
            ) from None
        try:
            if response.status_code == httpx.codes.OK or response.status_code in also:
                return kind.model_validate_json(response.content)
            problem = ProblemView.model_validate_json(response.content)
        except ValidationError:
            raise BessaiError(
                "something else than a BESSAI API answers",
                field=self._url,
                value=f"HTTP {response.status_code}",
            ) from None
        raise BessaiError(problem.error, field=problem.field, fix=problem.fix)
