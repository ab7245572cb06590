from __future__ import annotations

import httpx
import pytest
from pydantic import BaseModel

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
    VersionView,
)
from tests.support.web_fake_fleet import SITE_IDS, UNREACHABLE, FakeFleet

ROUTES: list[tuple[str, type[BaseModel]]] = [
    ("status", StatusView),
    ("fleet", FleetView),
    ("sites", SitesView),
    ("sites/site-1", SiteView),
    ("sites/site-1/history", HistoryView),
    ("schedule", SchedulesView),
    ("schedule?site_id=site-1", SchedulesView),
    ("price", PriceView),
    ("health", HealthView),
    ("version", VersionView),
]


def problem(answer: httpx.Response) -> ProblemView:
    assert answer.headers["content-type"] == "application/json"
    return ProblemView.model_validate_json(answer.content)


@pytest.mark.parametrize(("path", "view"), ROUTES)
def test_every_route_answers_its_view(api: httpx.Client, path: str, view: type[BaseModel]) -> None:
    answer = api.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    view.model_validate_json(answer.content)
    assert answer.headers["cache-control"] == "no-store"


def test_a_site_that_does_not_answer_has_nulls_not_numbers(api: httpx.Client) -> None:
    site = api.get(f"/api/v1/sites/{UNREACHABLE}").json()
    assert site["state"] == "unreachable"
    assert site["soc_pct"] is None
    assert site["active_power_kw"] is None


def test_schedule_of_one_site_holds_only_its_plan(api: httpx.Client) -> None:
    plans = SchedulesView.model_validate_json(api.get("/api/v1/schedule?site_id=site-2").content)
    assert [plan.site_id for plan in plans.schedules] == ["site-2"]


def test_a_site_without_a_plan_has_an_empty_list(api: httpx.Client) -> None:
    answer = api.get(f"/api/v1/schedule?site_id={UNREACHABLE}")
    assert answer.status_code == 200
    assert answer.json()["schedules"] == []


@pytest.mark.parametrize(
    "path", ["sites/site-11", "sites/site-11/history", "schedule?site_id=site-11"]
)
def test_unknown_site_names_a_close_one(api: httpx.Client, path: str) -> None:
    answer = api.get(f"/api/v1/{path}")
    assert answer.status_code == 404
    said = problem(answer)
    assert said.field == "site_id"
    assert said.fix == "did you mean 'site-1'?"
    assert "'site-11'" in said.error


def test_unknown_site_without_a_close_name_points_to_the_list(api: httpx.Client) -> None:
    assert "/api/v1/sites" in str(problem(api.get("/api/v1/sites/xyz")).fix)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("POST", "/api/v1/fleet", 405),
        ("GET", "/api/v1/sites/" + "x" * 64, 422),
        ("GET", "/static/../web.py", 404),
        ("GET", "/static/missing.js", 404),
    ],
)
def test_every_error_is_a_problem_with_a_fix(
    api: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = api.request(method, path)
    assert answer.status_code == status
    assert problem(answer).fix


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/health", "/api/v1/fleet", "/nothing"])
def test_head_answers_as_get_without_a_body(api: httpx.Client, path: str) -> None:
    got, head = api.get(path), api.head(path)
    assert head.status_code == got.status_code
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.headers["cache-control"] == got.headers["cache-control"]
    assert not head.content


def test_head_never_opens_a_stream(api: httpx.Client) -> None:
    assert api.head("/api/v1/events").status_code == 405


@pytest.mark.parametrize("path", [p for p, _ in ROUTES if p not in {"health", "version"}])
def test_no_fleet_is_503_with_retry_after(api: httpx.Client, fleet: FakeFleet, path: str) -> None:
    fleet.available = False
    answer = api.get(f"/api/v1/{path}")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert problem(answer) == ProblemView(
        error="no fleet answers", fix="start one: bessai up fleet.yaml"
    )


def test_an_unexpected_error_tells_nothing_about_itself(
    api: httpx.Client, fleet: FakeFleet
) -> None:
    fleet.crash = True
    answer = api.get("/api/v1/fleet")
    assert answer.status_code == 500
    assert "defect" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("status", "code"), [("ok", 200), ("degraded", 200), ("down", 503)])
def test_health_is_503_only_when_down(
    api: httpx.Client, fleet: FakeFleet, status: str, code: int
) -> None:
    fleet.health_status = status
    answer = api.get("/api/v1/health")
    assert answer.status_code == code
    assert answer.json()["status"] == status


def test_metrics_are_prometheus_text(api: httpx.Client) -> None:
    answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "bessai_sites 6" in answer.text


def test_openapi_lists_every_route_and_its_problems(api: httpx.Client) -> None:
    document = api.get("/api/v1/openapi.json").json()
    assert set(document["paths"]) == {
        f"/api/v1/{name}"
        for name in (
            "status",
            "fleet",
            "sites",
            "sites/{site_id}",
            "sites/{site_id}/history",
            "schedule",
            "price",
            "health",
            "version",
            "events",
            "sites/{site_id}/stop",
            "sites/{site_id}/release",
            "fleet/stop",
            "fleet/release",
        )
    }
    responses = document["paths"]["/api/v1/sites/{site_id}"]["get"]["responses"]
    assert {"200", "401", "404", "422", "503"} <= set(responses)
    invalid = responses["422"]["content"]["application/json"]["schema"]["$ref"]
    assert invalid.endswith("/ProblemView")
    assert (
        "text/event-stream"
        in (document["paths"]["/api/v1/events"]["get"]["responses"]["200"]["content"])
    )


def test_sites_come_in_one_order(api: httpx.Client) -> None:
    sites = api.get("/api/v1/sites").json()["sites"]
    assert [site["site_id"] for site in sites] == list(SITE_IDS)


def test_page_and_its_parts_are_served_with_a_strict_policy(api: httpx.Client) -> None:
    page = api.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    script = api.get("/static/app.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["x-content-type-options"] == "nosniff"
    assert script.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_page_that_loads_scripts_from_elsewhere(api: httpx.Client, path: str) -> None:
    assert api.get(path).status_code == 404
