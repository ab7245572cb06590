"""One way to open a database and to say what is wrong with it, for all stores."""

from __future__ import annotations

import sqlite3
import time
from functools import partial
from typing import Final

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from bessai.errors import ConfigError, StoreError

WAL_ATTEMPTS: Final = 40
WAL_RETRY_S: Final = 0.05
"""Several processes open a new file at the same moment; each is done in a few milliseconds."""


def open_engine(url: str, *, synchronous: str = "NORMAL", wait_s: float | None = None) -> Engine:
    """An engine for ``url``; SQLite runs in WAL mode.

    Args:
        url: E.g. ``sqlite:////var/lib/bessai/fleet.db``.
        synchronous: SQLite only. ``NORMAL`` may lose the last transactions in a power cut,
            ``FULL`` loses none.
        wait_s: SQLite only: how long to wait for another writer, unless the address says.

    Raises:
        ConfigError: the address is wrong.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_pre_ping=True)
        if parsed.database in (None, "", ":memory:"):
            arguments = {"check_same_thread": False}
            return create_engine(parsed, poolclass=StaticPool, connect_args=arguments)
        says = wait_s is None or "timeout" in parsed.query
        engine = create_engine(parsed, connect_args={} if says else {"timeout": wait_s})
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"is not a usable database address ({_one_line(error)})",
            field="store url",
            value=url.rsplit("@", maxsplit=1)[-1],
            fix="use e.g. sqlite:///fleet.db",
        ) from None
    event.listen(engine, "connect", partial(_use_wal, synchronous))
    return engine


def _use_wal(synchronous: str, connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for attempt in range(WAL_ATTEMPTS):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:  # others open a new file: SQLite does not wait for them
            if attempt == WAL_ATTEMPTS - 1:
                raise
            time.sleep(WAL_RETRY_S)
    cursor.execute(f"PRAGMA synchronous={synchronous}")
    cursor.close()


def store_error(what: str, url: URL, error: Exception) -> StoreError:
    """The error of a driver in our words, with the database's address but no password."""
    cause = getattr(error, "orig", None) or error
    return StoreError(
        f"{what} ({_one_line(cause)})",
        field=shown(url),
        fix="check that the folder exists, is writable and has space",
    )


def shown(url: URL) -> str:
    """The address without its password."""
    return url.render_as_string(hide_password=True)


def _one_line(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0]
