"""Stop and release over HTTP, and who may not send them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from playwright.sync_api import expect

from actors.serve.web import create_app
from bessai.fleet.views import ProblemView, SiteView, StopOrdersView, StopOrderView
from tests.support.web_browser import chromium, opened
from tests.support.web_fake_fleet import SITE_IDS, UNREACHABLE, FakeFleet
from tests.support.web_server import served

SAID = {"by": "Ana", "reason": "smoke in the container"}
STOP = "/api/v1/sites/site-1/stop"
ORDERS = [STOP, "/api/v1/sites/site-1/release", "/api/v1/fleet/stop", "/api/v1/fleet/release"]
every_order = pytest.mark.parametrize("path", ORDERS)


def problem(answer: httpx.Response) -> ProblemView:
    return ProblemView.model_validate_json(answer.content)


def test_a_stop_and_its_release_answer_the_stored_order(api: httpx.Client) -> None:
    first = api.post(STOP, json=SAID)
    assert first.status_code == 200
    order = StopOrderView.model_validate_json(first.content)
    assert (order.site_id, order.revision, order.stopped) == ("site-1", 1, True)
    assert (order.by, order.reason) == ("Ana", "smoke in the container")
    site = SiteView.model_validate_json(api.get("/api/v1/sites/site-1").content)
    assert site.stop is not None
    assert (site.stop.active, site.stop.obeyed, site.autonomy) == (True, True, "safe_stop")
    second = api.post("/api/v1/sites/site-1/release", json=SAID)
    assert StopOrderView.model_validate_json(second.content).revision == 2
    site = SiteView.model_validate_json(api.get("/api/v1/sites/site-1").content)
    assert site.stop is not None
    assert not site.stop.active


@pytest.mark.parametrize(("word", "stopped"), [("stop", True), ("release", False)])
def test_the_whole_fleet_takes_one_order_per_site(
    api: httpx.Client, word: str, stopped: bool
) -> None:
    answer = api.post(f"/api/v1/fleet/{word}", json=SAID)
    orders = StopOrdersView.model_validate_json(answer.content).orders
    assert [order.site_id for order in orders] == list(SITE_IDS)
    assert {order.stopped for order in orders} == {stopped}


def test_a_site_that_has_not_said_so_does_not_obey(api: httpx.Client) -> None:
    api.post(f"/api/v1/sites/{UNREACHABLE}/stop", json=SAID)
    stop = api.get(f"/api/v1/sites/{UNREACHABLE}").json()["stop"]
    assert (stop["active"], stop["obeyed"]) == (True, False)


@pytest.mark.parametrize("word", ["stop", "release"])
def test_an_unknown_site_names_a_close_one(api: httpx.Client, fleet: FakeFleet, word: str) -> None:
    answer = api.post(f"/api/v1/sites/site-11/{word}", json=SAID)
    assert answer.status_code == 404
    assert problem(answer).fix == "did you mean 'site-1'?"
    assert fleet.orders == []


@every_order
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "body.by"),
        (b'{"by": "Ana"}', "body.reason"),
        (b'{"by": "", "reason": "x"}', "body.by"),
        (b'{"by": "Ana", "reason": "  "}', "body.reason"),
        (b'{"by": "Ana", "reason": "one\\ntwo"}', "body.reason"),
        (b'{"by": "Ana", "reason": "a\\u0000b"}', "body.reason"),
        (b'{"by": "\\u202eanA", "reason": "x"}', "body.by"),
        (b'{"by": "Ana", "reason": "' + b"x" * 201 + b'"}', "body.reason"),
        (b'{"by": "' + b"x" * 61 + b'", "reason": "x"}', "body.by"),
        (b'{"by": 1, "reason": "x"}', "body.by"),
        (b'{"by": "Ana", "reason": "x", "revision": 9}', "body.revision"),
        (b"not json", "body.0"),
        (b"", "body"),
    ],
)
def test_who_and_why_are_one_short_line_each(
    api: httpx.Client, fleet: FakeFleet, path: str, body: bytes, field: str
) -> None:
    answer = api.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert problem(answer).field == field
    assert problem(answer).fix
    assert fleet.orders == []


def test_blanks_are_tidied(api: httpx.Client) -> None:
    answer = api.post(STOP, json={"by": " Ana\u00a0Rojas ", "reason": "smoke\tin  the box"})
    assert (answer.json()["by"], answer.json()["reason"]) == ("Ana Rojas", "smoke in the box")


@every_order
def test_no_fleet_and_a_store_that_fails_are_503(
    api: httpx.Client, fleet: FakeFleet, path: str
) -> None:
    fleet.store_broken = True
    answer = api.post(path, json=SAID)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "disk full" in problem(answer).error
    fleet.store_broken, fleet.available = False, False
    assert api.post(path, json=SAID).status_code == 503
    assert fleet.orders == []


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_only_post_orders(api: httpx.Client, fleet: FakeFleet, method: str) -> None:
    answer = api.request(method, STOP)
    assert answer.status_code == 405
    assert "POST" in str(problem(answer).fix)
    assert fleet.orders == []


@every_order
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "text/plain; application/json"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Host": "evil.example"}, 421),
    ],
)
def test_a_foreign_page_cannot_order(
    api: httpx.Client, fleet: FakeFleet, path: str, headers: dict[str, str], status: int
) -> None:
    answer = api.post(path, json=SAID, headers=headers)
    assert answer.status_code == status
    assert problem(answer).error
    assert fleet.orders == []


def test_the_own_page_and_programs_may_order(api: httpx.Client, base: str) -> None:
    host = urlsplit(base).netloc
    for headers in (
        {},
        {"Origin": base},
        {"Origin": f"https://{host}"},  # TLS ends in front
        {"Origin": "https://fleet.example", "Sec-Fetch-Site": "same-origin"},
        {"Content-Type": "application/json; charset=utf-8"},
    ):
        assert api.post(STOP, json=SAID, headers=headers).status_code == 200, headers


def test_a_body_is_short_and_its_length_known(api: httpx.Client, fleet: FakeFleet) -> None:
    long = b'{"by": "Ana", "reason": "x"}' + b" " * 4096
    json = {"Content-Type": "application/json"}
    assert api.post(STOP, content=long, headers=json).status_code == 413
    assert api.post(STOP, content=iter([b"{}"]), headers=json).status_code == 411
    assert fleet.orders == []


@pytest.fixture(scope="module")
def locked() -> Iterator[tuple[FakeFleet, httpx.Client]]:
    fleet = FakeFleet()
    app = create_app(fleet, api_key="s3cret", loopback_only=False)
    with served(app) as base, httpx.Client(base_url=base, timeout=10) as client:
        yield fleet, client


@every_order
def test_with_a_key_set_an_order_needs_it(
    locked: tuple[FakeFleet, httpx.Client], path: str
) -> None:
    fleet, client = locked
    fleet.recover()
    for headers in ({}, {"X-API-Key": "wrong"}):
        assert client.post(path, json=SAID, headers=headers).status_code == 401
    assert fleet.orders == []
    assert client.post(path, json=SAID, headers={"X-API-Key": "s3cret"}).status_code == 200


FOREIGN_PAGE = """<!doctype html><title>waiting</title>
<form id="f" method="post" enctype="text/plain" target="frame" action="URL">
  <input name='{"by": "x", "reason": "' value='"}'></form>
<iframe name="frame"></iframe>
<script>
  const body = JSON.stringify({ by: "evil", reason: "elsewhere" });
  const kinds = ["text/plain", "application/json"];
  const send = (options) => fetch("URL", { method: "POST", body, ...options }).catch(() => 0);
  const tries = kinds.flatMap((kind) => ["no-cors", "cors"].map((mode) =>
    send({ mode, headers: { "Content-Type": kind } })));
  tries.push(send({ mode: "no-cors" }));
  document.getElementById("f").submit();
  Promise.all(tries).then(() => setTimeout(() => { document.title = "done"; }, 500));
</script>"""


@pytest.mark.browser
def test_a_real_browser_on_a_foreign_page_changes_nothing(fleet: FakeFleet, base: str) -> None:
    foreign = FastAPI()
    page = FOREIGN_PAGE.replace("URL", base + STOP)
    foreign.get("/", response_class=HTMLResponse)(lambda: page)
    with chromium() as browser, served(foreign) as elsewhere, opened(browser, elsewhere) as found:
        expect(found.page).to_have_title("done")
        assert urlsplit(base).netloc in found.hosts, "the page did not even try"
    assert fleet.orders == []
