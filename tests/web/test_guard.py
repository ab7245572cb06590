from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from actors.serve.guard import is_loopback_host
from actors.serve.web import create_app
from bessai.fleet.views import ProblemView
from tests.support.web_fake_fleet import FakeFleet
from tests.support.web_server import served

KEY = "cañon-7f3a"
PROTECTED = [
    "/api/v1/fleet",
    "/api/v1/events",
    "/api/v1/version",
    "/api/v1/openapi.json",
    "/metrics",
    "/api/v1/nothing",
    "//api/v1/fleet",
]


@pytest.fixture(scope="module")
def locked() -> Iterator[httpx.Client]:
    app = create_app(FakeFleet(), api_key=KEY, loopback_only=False)
    with served(app) as base, httpx.Client(base_url=base, timeout=10) as client:
        yield client


@pytest.mark.parametrize("path", PROTECTED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"X-API-Key": b"wrong"},
        {b"X-API-Key": b""},
        {b"Authorization": b"Bearer wrong"},
        {b"Authorization": b"Bearer"},
        {b"Authorization": b"Basic Y2E="},
        {b"X-API-Key": KEY.encode() + b"x"},
    ],
)
def test_without_the_key_nothing_but_the_shell_opens(
    locked: httpx.Client, path: str, headers: dict[bytes, bytes]
) -> None:
    answer = locked.get(path, headers=headers)
    assert answer.status_code == 401
    said = ProblemView.model_validate_json(answer.content)
    assert said.field == "X-API-Key"
    assert KEY not in answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers", [{b"X-API-Key": KEY.encode()}, {b"Authorization": b"bearer " + KEY.encode()}]
)
@pytest.mark.parametrize("path", ["/api/v1/fleet", "/metrics", "/api/v1/openapi.json"])
def test_the_key_opens_in_either_header(
    locked: httpx.Client, path: str, headers: dict[bytes, bytes]
) -> None:
    assert locked.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/api/v1/health"])
def test_shell_and_health_need_no_key(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 200


@pytest.mark.parametrize("query", ["key", "api_key", "X-API-Key", "access_token"])
def test_a_key_in_the_url_does_not_count(locked: httpx.Client, query: str) -> None:
    assert locked.get("/api/v1/fleet", params={query: KEY}).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:80", "", "["])
def test_a_foreign_host_is_turned_away(api: httpx.Client, host: str) -> None:
    answer = api.get("/api/v1/fleet", headers={"Host": host})
    assert answer.status_code in {400, 421}
    if answer.status_code == 421:
        assert ProblemView.model_validate_json(answer.content).field == "Host"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:99", "[::1]:8000", "LOCALHOST:1"])
def test_this_machine_is_let_in(api: httpx.Client, host: str) -> None:
    assert api.get("/api/v1/version", headers={"Host": host}).status_code == 200


def test_beyond_loopback_any_host_is_fine(locked: httpx.Client) -> None:
    assert locked.get("/api/v1/health", headers={"Host": "fleet.example"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.8.9.10", True),
        ("::1", False),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("127.0.0.1@evil.example", False),
    ],
)
def test_loopback_hosts(host: str, expected: bool) -> None:
    assert is_loopback_host(host) is expected
