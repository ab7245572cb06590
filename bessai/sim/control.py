"""Faults for a running simulator, and questions to it: a JSON object a line over a Unix socket.

``{"site": "north", "fault": "busy,delay:2"}`` is answered with ``{"error": null}``,
``{"site": "north", "observe": "timeline", "since": 4711.5}`` with a model of
:mod:`bessai.sim.observe`. What cannot be done is ``{"error": "why"}``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, Protocol, TypeVar, assert_never

from pydantic import BaseModel, TypeAdapter, ValidationError

from bessai.config.base import ConfigModel
from bessai.errors import BessaiError, ConfigError
from bessai.model import SiteId
from bessai.sim.faults import FAULT_FORMS, Fault, parse_faults
from bessai.sim.observe import Answer, Commands, Question, Summary, Timeline, Writes

_ANSWER_S: Final = 5.0
_USE: Final = (
    f'not a request; send {{"site": ..., "fault": one of {FAULT_FORMS}}} or '
    f'{{"site": ..., "observe": one of {", ".join(Question)}, "since": control time or null}}'
)


class Simulated(Protocol):
    """The devices that the requests are about."""

    def set_fault(self, site_id: SiteId, /, *faults: Fault) -> Awaitable[None]:
        """Break a site's device in these ways and in no other.

        Raises:
            BessaiError: it cannot be done.
        """
        ...

    def observe(self, site_id: SiteId, question: Question, since_s: float | None, /) -> Answer:
        """What a site's device has seen and done.

        Raises:
            BessaiError: no such site.
        """
        ...


class FaultRequest(ConfigModel):
    """One line from the client; several faults are separated by commas."""

    site: str
    fault: str


class ObserveRequest(ConfigModel):
    """One line from the client; entries before ``since``, a control time, are left out."""

    site: str
    observe: Question
    since: float | None = None


class FaultAnswer(ConfigModel):
    """One line back; no error means done."""

    error: str | None = None


_REQUESTS: Final = TypeAdapter[FaultRequest | ObserveRequest](FaultRequest | ObserveRequest)
_Model = TypeVar("_Model", bound=BaseModel)


def inject_fault(socket_path: Path, site_id: str, fault: str) -> None:
    """Break or heal one simulated inverter.

    Args:
        socket_path: The simulator's ``--control`` socket.
        site_id: Which inverter.
        fault: One or several of :class:`bessai.sim.faults.FaultKind`, separated by commas.

    Raises:
        BessaiError: an unknown fault or site, or no simulator answers on the socket.
    """
    parse_faults(fault)
    _ask(socket_path, FaultRequest(site=site_id, fault=fault), FaultAnswer)


def ask(
    socket_path: Path, site_id: str, question: Question, since_s: float | None = None
) -> Answer:
    """What one simulated inverter has seen and done.

    Args:
        socket_path: The simulator's ``--control`` socket.
        site_id: Which inverter.
        question: What to tell.
        since_s: Control time before which entries are left out; None for all.

    Raises:
        BessaiError: an unknown site, or no simulator answers on the socket.
    """
    match question:
        case Question.SUMMARY:
            return observe_summary(socket_path, site_id, since_s)
        case Question.WRITES:
            return observe_writes(socket_path, site_id, since_s)
        case Question.COMMANDS:
            return observe_commands(socket_path, site_id, since_s)
        case Question.TIMELINE:
            return observe_timeline(socket_path, site_id, since_s)
        case _:
            assert_never(question)


def observe_summary(socket_path: Path, site_id: str, since_s: float | None = None) -> Summary:
    """How one simulated inverter is, and what its witness found; as :func:`ask`."""
    request = ObserveRequest(site=site_id, observe=Question.SUMMARY, since=since_s)
    return _ask(socket_path, request, Summary)


def observe_writes(socket_path: Path, site_id: str, since_s: float | None = None) -> Writes:
    """Write requests that reached one simulated inverter; as :func:`ask`."""
    request = ObserveRequest(site=site_id, observe=Question.WRITES, since=since_s)
    return _ask(socket_path, request, Writes)


def observe_commands(socket_path: Path, site_id: str, since_s: float | None = None) -> Commands:
    """Changes and renewals of the forced command; as :func:`ask`."""
    request = ObserveRequest(site=site_id, observe=Question.COMMANDS, since=since_s)
    return _ask(socket_path, request, Commands)


def observe_timeline(socket_path: Path, site_id: str, since_s: float | None = None) -> Timeline:
    """What the battery did; as :func:`ask`."""
    request = ObserveRequest(site=site_id, observe=Question.TIMELINE, since=since_s)
    return _ask(socket_path, request, Timeline)


async def serve_control(socket_path: Path, simulated: Simulated) -> asyncio.Server:
    """Listen for requests; only this user may connect.

    Raises:
        ConfigError: the socket cannot be made, e.g. because the path is too long.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = await _answer(line, simulated)
                writer.write(answer.model_dump_json().encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):  # the client left, or sent a line without an end
            return
        finally:
            writer.close()

    return await asyncio.start_unix_server(handle, sock=_bind(socket_path))


def _bind(socket_path: Path) -> socket.socket:
    """A socket at ``socket_path`` that only this user may use; one left over is replaced."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if socket_path.is_socket():
            socket_path.unlink()
        link.bind(str(socket_path))
        socket_path.chmod(0o600)
    except OSError as error:
        link.close()
        raise ConfigError(
            f"cannot be made ({error})",
            field=f"control socket {socket_path}",
            fix="choose a short path in a folder that exists",
        ) from None
    return link


async def _answer(line: bytes, simulated: Simulated) -> FaultAnswer | Answer:
    try:
        request = _REQUESTS.validate_json(line)
        site_id = SiteId(request.site)
        if isinstance(request, ObserveRequest):
            return simulated.observe(site_id, request.observe, request.since)
        await simulated.set_fault(site_id, *parse_faults(request.fault))
    except ValidationError:
        return FaultAnswer(error=_USE)
    except BessaiError as error:
        return FaultAnswer(error=str(error))
    return FaultAnswer()


def _ask(socket_path: Path, request: ConfigModel, expected: type[_Model]) -> _Model:
    """Send a request and read its answer.

    Raises:
        BessaiError: what the simulator says, or that it says nothing.
    """
    line = _exchange(socket_path, request.model_dump_json().encode() + b"\n")
    try:
        refusal = FaultAnswer.model_validate_json(line).error
    except ValidationError:  # an answer of another kind
        refusal = None
    if refusal is not None:
        raise BessaiError(refusal)
    try:
        return expected.model_validate_json(line)
    except ValidationError:
        raise BessaiError(
            "answered with something else", field=str(socket_path), value=repr(line[:80])
        ) from None


def _exchange(socket_path: Path, request: bytes) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_ANSWER_S)
            link.connect(str(socket_path))
            link.sendall(request)
            with link.makefile("rb") as answers:
                return answers.readline()
    except OSError as error:
        raise BessaiError(
            f"no simulator answers ({error})",
            field=str(socket_path),
            fix="check that the simulator runs and the path is its control socket",
        ) from None
