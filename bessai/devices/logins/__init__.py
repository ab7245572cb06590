"""How to log in to a device: one file per procedure, named by ``connection.login``.

A drop-in defines ``async def login(line: Line, credentials: Credentials) -> None``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

from bessai.plugins import load_plugin


@dataclass(frozen=True, slots=True)
class Credentials:
    """User and password of a device; the password is in no text made of this."""

    user: str
    password: str = field(repr=False)


class Line(Protocol):
    """What a login procedure needs of a connection."""

    @property
    def address(self) -> str:
        """``host:port``, for errors."""
        ...

    async def execute(self, pdu: bytes) -> bytes:
        """Send a request PDU to the main unit and return its answer PDU.

        Raises:
            DeviceTimeout: no answer.
            RegisterRejected: the device answered an exception.
        """
        ...


Login = Callable[[Line, Credentials], Awaitable[None]]
"""Logs in or raises.

Raises:
    DeviceTimeout: no answer.
    DeviceError: the device refuses, or is not what it claims to be.
"""


def load_login(name: str) -> Login:
    """The procedure ``name``.

    Raises:
        ConfigError: no such drop-in; lists the known ones.
    """
    return cast("Login", load_plugin(__name__, name, "login", field="connection.login"))
