"""Turns every error into one shape, so that a client needs a single way to read them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from actors.errors import FleetUnavailable
from bessai.errors import BessaiError, StoreError
from bessai.fleet.views import ProblemView

RETRY_AFTER_S = 2

SECURITY_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; object-src 'none'; "
        "frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class SiteNotFound(BessaiError):
    """The fleet has no site of this name."""


def problem_of(error: BessaiError) -> ProblemView:
    """The wire form of an error raised on purpose."""
    said = error.message if error.value is None else f"{error.message}; got {error.value}"
    return ProblemView(error=said, field=error.field, fix=error.fix)


def problem_response(
    status: int, problem: ProblemView, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error answer that no cache keeps."""
    return JSONResponse(
        problem.model_dump(mode="json"),
        status_code=status,
        headers={"cache-control": "no-store", **(headers or {})},
    )


def install_problem_handlers(app: FastAPI) -> None:
    """Make ``app`` answer every error with a :class:`ProblemView`."""
    app.exception_handler(BessaiError)(_on_bessai_error)
    app.exception_handler(HTTPException)(_on_http_error)
    app.exception_handler(RequestValidationError)(_on_invalid_request)
    app.exception_handler(Exception)(_on_crash)


async def _on_bessai_error(_request: Request, error: BessaiError) -> JSONResponse:
    if isinstance(error, FleetUnavailable | StoreError):
        headers = {"retry-after": str(RETRY_AFTER_S)}
        return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, problem_of(error), headers)
    missing = isinstance(error, SiteNotFound)
    status = HTTPStatus.NOT_FOUND if missing else HTTPStatus.INTERNAL_SERVER_ERROR
    return problem_response(status, problem_of(error))


async def _on_http_error(request: Request, error: HTTPException) -> JSONResponse:
    said = f"{request.method} {request.url.path}: {error.detail}"
    return problem_response(
        error.status_code,
        ProblemView(error=said, fix=_HTTP_FIXES.get(error.status_code)),
        error.headers,
    )


async def _on_invalid_request(_request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    problem = ProblemView(error=str(first["msg"]), field=field, fix=_HTTP_FIXES[422])
    return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, problem)


async def _on_crash(_request: Request, _error: Exception) -> JSONResponse:
    problem = ProblemView(
        error="the API met an error that it did not expect",
        fix="see the log of the API; the fleet itself goes on",
    )
    return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, problem, SECURITY_HEADERS)


_HTTP_FIXES = {
    404: "GET api/v1/openapi.json lists all paths",
    405: "use GET to read; only stop and release take POST",
    422: "GET api/v1/openapi.json describes all parameters",
}
