"""Fault injection into a running simulator: one JSON object per line over a Unix socket.

Request ``{"site": "north", "fault": "busy,delay:2"}``, answer ``{"error": null}`` or the reason.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, Protocol

from pydantic import ValidationError

from bessai.config.base import ConfigModel
from bessai.errors import BessaiError, ConfigError
from bessai.model import SiteId
from bessai.sim.faults import FAULT_FORMS, Fault, parse_faults

_ANSWER_S: Final = 5.0


class SetFault(Protocol):
    """Break a site's device in these ways and in no other."""

    def __call__(self, site_id: SiteId, /, *faults: Fault) -> Awaitable[None]:
        """Raises BessaiError where it cannot be done."""
        ...


class FaultRequest(ConfigModel):
    """One line from the client; several faults are separated by commas."""

    site: str
    fault: str


class FaultAnswer(ConfigModel):
    """One line back; no error means done."""

    error: str | None = None


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
    request = FaultRequest(site=site_id, fault=fault)
    line = _ask(socket_path, request.model_dump_json().encode() + b"\n")
    try:
        answer = FaultAnswer.model_validate_json(line)
    except ValidationError:
        raise BessaiError(
            "answered with something else", field=str(socket_path), value=repr(line[:80])
        ) from None
    if answer.error is not None:
        raise BessaiError(answer.error)


async def serve_control(socket_path: Path, set_fault: SetFault) -> asyncio.Server:
    """Listen for fault requests; only this user may connect.

    Raises:
        ConfigError: the socket cannot be made, e.g. because the path is too long.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = await _answer(line, set_fault)
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


async def _answer(line: bytes, set_fault: SetFault) -> FaultAnswer:
    try:
        request = FaultRequest.model_validate_json(line)
        await set_fault(SiteId(request.site), *parse_faults(request.fault))
    except ValidationError:
        return FaultAnswer(
            error=f'not a request; send {{"site": ..., "fault": one of {FAULT_FORMS}}}'
        )
    except BessaiError as error:
        return FaultAnswer(error=str(error))
    return FaultAnswer()


def _ask(socket_path: Path, request: bytes) -> bytes:
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
