"""The file of one site's decision record: SQLite, bounded, and never a reason to stop.

The standard library's sqlite3 and not the store's SQLAlchemy: the site's process stays small.
Write-ahead mode without a sync per commit: a killed process loses nothing that was committed, a
power cut may lose the last seconds, and neither damages the file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from bessai.errors import StoreError

APPLICATION_ID: Final = 0x42455353
"""Marks the file as ours; the letters BESS."""

LAYOUT: Final = 1
PAGE_BYTES: Final = 4096
STRIDE: Final = 1024
"""Sequence numbers per segment; the cycles of a segment lie together and go together."""

BUSY_MS: Final = 2000
ROOM_PAGES: Final = 64
"""Kept free for one transaction."""

REMOVE_AT_ONCE: Final = 10
MISTAKES: Final = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
"""Not the disk's fault; the same entries would fail again."""

NOT_OURS: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

SCHEMA: Final = """
CREATE TABLE run (
    id INTEGER PRIMARY KEY, began REAL NOT NULL, version TEXT NOT NULL, layout TEXT NOT NULL,
    site TEXT NOT NULL, rules TEXT NOT NULL, lost INTEGER NOT NULL);
CREATE TABLE segment (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, began REAL NOT NULL, ended REAL NOT NULL,
    continues INTEGER NOT NULL, dictionary BLOB NOT NULL);
CREATE TABLE part (
    segment INTEGER NOT NULL, reference TEXT NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (segment, reference)) WITHOUT ROWID;
CREATE TABLE cycle (
    sequence INTEGER PRIMARY KEY, wall REAL NOT NULL, market REAL NOT NULL, control REAL,
    power_kw REAL, source TEXT NOT NULL, cause_id TEXT, autonomy TEXT NOT NULL,
    codes TEXT NOT NULL, write_kind TEXT, write_kw REAL, result TEXT, settled TEXT,
    changed INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE INDEX changed_cycle ON cycle (changed) WHERE changed = 1;
"""


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How much is kept; the oldest segments go first.

    Attributes:
        max_bytes: Of the file and its write-ahead log together, at least 1 MiB.
        max_age_s: Wall seconds; a segment goes when its newest cycle is older.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_age_s: float = 30 * 86400.0

    def __post_init__(self) -> None:
        if self.max_bytes < 1024 * 1024:
            raise ValueError(f"max_bytes must be at least 1 MiB, got {self.max_bytes}")
        if not self.max_age_s > 0:
            raise ValueError(f"max_age_s must be positive, got {self.max_age_s}")

    @property
    def wal_bytes(self) -> int:
        """The write-ahead log's share."""
        return max(256 * 1024, self.max_bytes // 16)

    @property
    def main_pages(self) -> int:
        """Most pages of the file itself."""
        return (self.max_bytes - self.wal_bytes) // PAGE_BYTES


class LogFile:
    """The writer's side; for one thread. Opens itself when it is first used.

    Attributes:
        set_aside: Where an unreadable file was moved to, or None.
    """

    def __init__(self, path: Path, limits: LogLimits) -> None:
        self.path = path
        self.limits = limits
        self.set_aside: Path | None = None
        self._open: sqlite3.Connection | None = None
        self._inode = 0

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, with what is too old or too much removed.

        Raises:
            StoreError: it cannot be written now; the file is closed and opened anew next time.
        """
        try:
            connection = self._connection()
            self._check_wal(connection)
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
            self._shrink(connection)
        except (sqlite3.DatabaseError, OSError) as error:
            self.close()
            if isinstance(error, MISTAKES):
                raise
            if isinstance(error, sqlite3.Error) and _is_damaged(error):
                self._move_away()
            raise StoreError(
                f"the decision record cannot be written ({error})", field=str(self.path)
            ) from error
        except BaseException:
            self.close()
            raise

    def trim(self, connection: sqlite3.Connection, now: datetime) -> None:
        """Remove the oldest segments, a few at a time, while they are too old or too much.

        The newest segment always stays.
        """
        oldest = now.timestamp() - self.limits.max_age_s
        rows = connection.execute(
            "SELECT id, ended FROM segment WHERE id < (SELECT max(id) FROM segment)"
            " ORDER BY id LIMIT ?",
            (REMOVE_AT_ONCE,),
        ).fetchall()
        for segment, ended in rows:
            if ended >= oldest and self._fits(connection):
                break
            self._remove(connection, segment)

    def close(self) -> None:
        """Close; what was not committed is gone."""
        found, self._open = self._open, None
        if found is not None:
            with contextlib.suppress(sqlite3.Error):
                found.close()

    def _connection(self) -> sqlite3.Connection:
        if self._open is not None and self._inode == _inode(self.path):
            return self._open
        self.close()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._open = self._opened()
        except sqlite3.DatabaseError as error:
            if not _is_damaged(error):
                raise
            self._move_away()
            self._open = self._opened()
        self._inode = _inode(self.path)
        return self._open

    def _opened(self) -> sqlite3.Connection:
        if not self.path.exists():
            os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(
            self.path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        limits = self.limits
        if _size(self.path) == 0:
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise _damage("it fails its check")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA cache_size=-1024")
        connection.execute(f"PRAGMA wal_autocheckpoint={limits.wal_bytes // 4 // PAGE_BYTES}")
        connection.execute(f"PRAGMA journal_size_limit={limits.wal_bytes // 2}")
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            connection.executescript(
                f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id={APPLICATION_ID};"
                f"PRAGMA user_version={LAYOUT}; COMMIT;"
            )
        elif layout_of(connection) != (APPLICATION_ID, LAYOUT):
            raise _damage("it has another layout")
        connection.execute(f"PRAGMA max_page_count={limits.main_pages}")

    def _check_wal(self, connection: sqlite3.Connection) -> None:
        """A reader that never ends keeps the write-ahead log from being emptied."""
        if _size(_beside(self.path, "-wal")) <= self.limits.wal_bytes:
            return
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if _size(_beside(self.path, "-wal")) > self.limits.wal_bytes:
            raise sqlite3.OperationalError("a reader holds the file, its log may not grow")

    def _shrink(self, connection: sqlite3.Connection) -> None:
        """Give free pages back where the file is larger than it may be now."""
        if _number(connection, "PRAGMA page_count") > self.limits.main_pages:
            # execute() would take one step only, and each step frees one page.
            connection.executescript("PRAGMA incremental_vacuum(256)")

    def _fits(self, connection: sqlite3.Connection) -> bool:
        pages = _number(connection, "PRAGMA page_count")
        free = _number(connection, "PRAGMA freelist_count")
        return pages - free + ROOM_PAGES <= self.limits.main_pages

    @staticmethod
    def _remove(connection: sqlite3.Connection, segment: int) -> None:
        first = segment * STRIDE
        connection.execute(
            "DELETE FROM cycle WHERE sequence BETWEEN ? AND ?", (first, first + STRIDE - 1)
        )
        connection.execute("DELETE FROM part WHERE segment = ?", (segment,))
        connection.execute("DELETE FROM segment WHERE id = ?", (segment,))
        connection.execute("DELETE FROM run WHERE id NOT IN (SELECT run FROM segment)")

    def _move_away(self) -> None:
        """Keep one unreadable file for a person to look at, and make room for a new one."""
        self.close()
        aside = _beside(self.path, ".unreadable")
        for end in ("", "-wal", "-shm"):
            here, there = _beside(self.path, end), _beside(aside, end)
            there.unlink(missing_ok=True)
            if here.exists():
                here.replace(there)
        self.set_aside = aside


def decision_file(folder: Path, site_id: str) -> Path:
    """Where a site's record lies in the folder of what must survive its process."""
    return folder / f"{site_id}.decisions.sqlite"


def layout_of(connection: sqlite3.Connection) -> tuple[int, int]:
    """Whose file it is, and in which layout."""
    application = _number(connection, "PRAGMA application_id")
    return application, _number(connection, "PRAGMA user_version")


def insert(connection: sqlite3.Connection, table: str, row: Sequence[object]) -> int:
    """Add a row with all columns of the table; its row id."""
    marks = ",".join("?" * len(row))
    cursor = connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608 - ours
    return cursor.lastrowid or 0


def _is_damaged(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in NOT_OURS


def _damage(text: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
    return error


def _number(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
