"""Who may ask: host check, API key and security headers, in front of every route.

What changes something must come from the page itself or from no page at all. A foreign page
can make a browser send a form or plain text here, on loopback too, where no key stops it; it
cannot make it send JSON unasked, nor hide where it comes from.

Plain ASGI instead of a Starlette ``BaseHTTPMiddleware``, which would buffer and delay events.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.serve.problems import SECURITY_HEADERS, problem_response
from bessai.fleet.views import ProblemView

OPEN_PATHS = frozenset({"/", "/api/v1/health"})
OPEN_PREFIX = "/static/"
READING = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_BODY_BYTES = 4096
ENDLESS_PATHS = frozenset({"/api/v1/events"})


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask.

    Attributes:
        api_key: Key that everything but the page's shell and the health check needs, or None.
        loopback_only: Refuse a request whose Host is not this machine: a page elsewhere that
            points its own name at 127.0.0.1 (DNS rebinding) could read the fleet otherwise.
    """

    api_key: str | None
    loopback_only: bool


class Guard:
    """ASGI middleware: refuses early, and adds security headers to every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
        guarded = _with_headers(send, path)
        headers = Headers(scope=scope)
        refusal = _refusal(self._access, headers, path)
        if refusal is None and scope["method"] not in READING:
            refusal = _refusal_to_change(headers)
        if refusal is None:
            await self._app(_head_as_get(scope, path), receive, guarded)
        else:
            await refusal(scope, receive, guarded)


def is_loopback_host(host: str) -> bool:
    """Whether a Host header names this machine; a port is ignored.

    Examples:
        >>> is_loopback_host("127.0.0.1:8000"), is_loopback_host("evil.example")
        (True, False)
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _head_as_get(scope: Scope, path: str) -> Scope:
    """HEAD asks for the headers of GET (RFC 9110, 9.3.2); the server itself leaves out the body."""
    if scope["method"] != "HEAD" or path in ENDLESS_PATHS:
        return scope
    return {**scope, "method": "GET"}


def _refusal(access: Access, headers: Headers, path: str) -> ASGIApp | None:
    host = headers.get("host", "")
    if access.loopback_only and not is_loopback_host(host):
        problem = ProblemView(
            error=f"this API answers only to this machine, not to host {host!r}",
            field="Host",
            fix="open http://127.0.0.1 with the port, or set api.host and an API key",
        )
        return problem_response(421, problem)
    if access.api_key is None or _is_open(path) or _has_key(headers, access.api_key):
        return None
    problem = ProblemView(
        error="the API key is missing or wrong",
        field="X-API-Key",
        fix="send the key in the header X-API-Key, or as Authorization: Bearer KEY",
    )
    return problem_response(401, problem, {"www-authenticate": 'Bearer realm="bessai"'})


def _refusal_to_change(headers: Headers) -> ASGIApp | None:
    """Whether a request that changes something may come in.

    Source: Fetch Metadata (W3C) for ``Sec-Fetch-Site``, RFC 6454 for ``Origin``; a browser sets
    both and no script of a page can.
    """
    if not _comes_from_here(headers):
        problem = ProblemView(
            error="a page of another address may not change anything here",
            field="Origin",
            fix="use this API's own page; a proxy in front must pass on the header Host",
        )
        return problem_response(403, problem)
    length = headers.get("content-length", "")
    if "transfer-encoding" in headers or (length and not length.isdecimal()):
        problem = ProblemView(
            error="the length of the body is not known", fix="send the header Content-Length"
        )
        return problem_response(411, problem)
    if int(length or 0) > MAX_BODY_BYTES:
        problem = ProblemView(error="the body is too long", fix=f"send {MAX_BODY_BYTES} bytes")
        return problem_response(413, problem)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if int(length or 0) > 0 and kind != "application/json":
        problem = ProblemView(
            error="the body is not JSON",
            field="Content-Type",
            fix="send JSON with the header Content-Type: application/json",
        )
        return problem_response(415, problem)
    return None


def _comes_from_here(headers: Headers) -> bool:
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site == "same-origin"
    if origin is None:
        return True  # no browser: a program, which needs the key where there is one
    scheme, _, host = origin.lower().partition("://")
    return scheme in {"http", "https"} and host == headers.get("host", "").lower()


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIX)


def _has_key(headers: Headers, api_key: str) -> bool:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    # Header values arrive as Latin-1; bytes keep a key with other letters comparable.
    return secrets.compare_digest(given.encode("latin-1"), api_key.encode())


def _with_headers(send: Send, path: str) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers[name] = value
            asset = path == "/" or path.startswith(OPEN_PREFIX)
            headers["cache-control"] = "no-cache" if asset else "no-store"
        await send(message)

    return send_with_headers
