"""Which device a command talks to, and how it ends: one signal, one clean goodbye."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bessai.config.profile import MAIN, DeviceProfile
from bessai.config.secret import password_from
from bessai.devices import ModbusInverter
from bessai.devices.connection import ModbusConnection
from bessai.devices.logins import Credentials
from bessai.errors import ConfigError
from bessai.model import SiteId
from bessai.units import MonotonicS

_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Target:
    """One device as the command line names it."""

    host: str
    port: int
    unit_id: int
    profile: DeviceProfile
    credentials: Credentials | None = None

    @property
    def address(self) -> str:
        """Host, port and unit for a person."""
        return f"{self.host}:{self.port}, unit {self.unit_id}"

    def driver(self) -> ModbusInverter:
        """The driver that sites use, not yet connected."""
        return ModbusInverter(
            SiteId("device"),
            self.host,
            self.port,
            self.unit_id,
            self.profile,
            now=control_time,
            credentials=self.credentials,
        )

    def connection(self) -> ModbusConnection:
        """The bare connection, not yet open."""
        habit = self.profile.connection.keep_alive
        return ModbusConnection(
            self.host,
            self.port,
            {MAIN: self.unit_id},
            self.profile.connection,
            credentials=self.credentials,
            keep_alive=None if habit is None else self.profile.points[habit.point],
        )


def make_target(
    host: str,
    profile: DeviceProfile,
    port: int | None,
    unit_id: int | None,
    user: str,
    password_file: Path | None,
) -> Target:
    """The device; what is not given is the family's default.

    Raises:
        ConfigError: a value out of range, a password that cannot be read, or one for a family
            that knows no login.
    """
    check_port(port)
    check_unit_id(unit_id)
    connection = profile.connection
    if password_file is not None and connection.login is None:
        raise ConfigError(
            f"profile {profile.name} knows no login", field="--password-file", fix="leave it out"
        )
    return Target(
        host,
        connection.default_port if port is None else port,
        connection.default_unit_id if unit_id is None else unit_id,
        profile,
        None
        if password_file is None
        else Credentials(user, password_from(password_file, "--password-file")),
    )


def check_port(port: int | None) -> None:
    """Refuse what is no TCP port.

    Raises:
        ConfigError: it is not 1 to 65535.
    """
    if port is not None and not 1 <= port <= 65535:
        raise ConfigError("is not a port", field="--port", value=str(port), fix="use 1 to 65535")


def check_unit_id(unit_id: int | None) -> None:
    """Refuse what is no Modbus unit id.

    Raises:
        ConfigError: it is not 0 to 255.
    """
    if unit_id is not None and not 0 <= unit_id <= 255:
        raise ConfigError(
            "is not a unit id", field="--unit-id", value=str(unit_id), fix="use 0 to 255"
        )


def control_time() -> MonotonicS:
    """Real seconds of this host's monotonic clock."""
    return MonotonicS(time.monotonic())


@contextlib.contextmanager
def end_of_command() -> Iterator[asyncio.Event]:
    """Set by Ctrl-C, by the end of the terminal, and by whoever ends the process politely."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in _END_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in _END_SIGNALS:
            loop.remove_signal_handler(number)


async def wait_for_end(stop: asyncio.Event, seconds: float) -> bool:
    """Whether the end came within ``seconds``."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(0.0, seconds))
    return stop.is_set()
