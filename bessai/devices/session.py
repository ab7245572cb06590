"""The login of one connection: made after each connect, kept alive, never hammered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from bessai.config.profile import Connection, KeepAlive, Point
from bessai.devices.logins import Credentials, Line, Login, load_login
from bessai.devices.turns import Urgency
from bessai.errors import ConfigError, DeviceBusy, DeviceError, DeviceTimeout, Fenced

log = logging.getLogger(__name__)

LOGIN_PAUSE_S: Final = 600.0
"""Real seconds without another login after a refused one: a few wrong ones lock the account."""


class SessionLine(Line, Protocol):
    """What a session needs of a connection."""

    async def write(
        self, device: str, address: int, registers: Sequence[int], *, urgency: Urgency
    ) -> None:
        """Write registers."""
        ...


class Session:
    """Logs in where the family has a login and the site has credentials.

    Args:
        settings: Habits of the family.
        credentials: Of the site; None leaves the device as it is.
        keep_alive: The point that ``settings.keep_alive`` names.

    Raises:
        ConfigError: credentials for a family without a login, or a keep-alive without its point.
    """

    def __init__(
        self, settings: Connection, credentials: Credentials | None, keep_alive: Point | None
    ) -> None:
        self._credentials = credentials
        self._login = None if credentials is None else _login_of(settings)
        self._heartbeat = self._checked(settings.keep_alive, keep_alive)
        self._owes_login = False
        self._refused: tuple[DeviceError, float] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def owes_login(self) -> bool:
        """Whether the login was put off: this process might not write when the link was opened."""
        return self._owes_login

    def check(self) -> None:
        """Before a login.

        Raises:
            DeviceError: the login was refused less than :data:`LOGIN_PAUSE_S` ago.
        """
        if self._refused is None:
            return
        error, again_s = self._refused
        if asyncio.get_running_loop().time() < again_s:
            raise error
        self._refused = None

    async def begin(self, line: SessionLine) -> None:
        """Log in on a link that was just opened, and keep it alive until :meth:`end`.

        Where this process may not write now, the login is put off: reading goes on without it.

        Raises:
            DeviceTimeout, DeviceBusy: no answer to the login now.
            DeviceError: the login is refused.
        """
        self._owes_login = self._login is not None
        try:
            await self.log_in(line)
        except Fenced as error:
            log.info(
                "login waits for the first write",
                extra={"device": line.address, "reason": str(error)},
            )

    async def log_in(self, line: SessionLine) -> None:
        """The login of :meth:`begin`, or the one that it put off.

        Raises:
            DeviceTimeout, DeviceBusy: no answer to the login now.
            Fenced: this process may not write; the login is still to be done.
            DeviceError: the login is refused, now or less than :data:`LOGIN_PAUSE_S` ago.
        """
        self.check()
        if self._login is not None and self._credentials is not None:
            try:
                await self._login(line, self._credentials)
            except (DeviceTimeout, DeviceBusy, Fenced):
                raise
            except DeviceError as error:
                self._refused = (error, asyncio.get_running_loop().time() + LOGIN_PAUSE_S)
                raise
        self._owes_login = False
        if self._heartbeat is not None:
            self._task = asyncio.create_task(_beat(line, *self._heartbeat))

    def end(self) -> None:
        """Stop the keep-alive; a second call does nothing."""
        self._owes_login = False
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def _checked(
        self, habit: KeepAlive | None, point: Point | None
    ) -> tuple[Point, KeepAlive] | None:
        """The keep-alive that is to run, where there is one."""
        if habit is None or (habit.only_when_logged_in and self._login is None):
            return None
        if point is None:
            raise ConfigError(
                "was not given to the connection", field="keep_alive", value=repr(habit.point)
            )
        return point, habit


async def _beat(line: SessionLine, point: Point, habit: KeepAlive) -> None:
    """Write the heartbeat until the link ends; the log tells when it fails and heals."""
    failing = False
    while True:
        await asyncio.sleep(habit.every_s)
        try:
            await line.write(
                point.device, point.address, (habit.value,), urgency=Urgency.BACKGROUND
            )
        except DeviceTimeout:
            return  # the link is closed, and whoever uses it is told
        except DeviceError as error:
            if not failing:
                log.warning(
                    "keep-alive refused", extra={"device": line.address, "reason": str(error)}
                )
            failing = True
        else:
            if failing:
                log.info("keep-alive accepted again", extra={"device": line.address})
            failing = False


def _login_of(settings: Connection) -> Login:
    if settings.login is None:
        raise ConfigError(
            "this family has no login", field="credentials", fix="remove the credentials"
        )
    return load_login(settings.login)
