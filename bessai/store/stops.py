"""Stops and releases that people ordered: append only, so that who, when and why stay known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, Final, Self

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Executable,
    MetaData,
    Row,
    String,
    Table,
    Text,
    case,
    func,
    insert,
    literal,
    select,
    values,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from bessai.errors import StoreError
from bessai.model import SiteId, StopOrder
from bessai.store.database import open_engine, store_error

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
WAIT_S: Final = 3.0
"""For another writer; a person at a stop button is told after that."""
ATTEMPTS: Final = 5
"""Where two writers took the same revision (not possible in SQLite), one writes again."""
CHUNK: Final = 5_000

order_table = Table(
    "stop_orders",
    MetaData(),
    Column("site_id", String(63), primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("stopped", Boolean, nullable=False),
    Column("ordered_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Word:
    """What a person says, before it has a revision.

    Attributes:
        stopped: True for a stop, False for its release.
        by: Who.
        reason: One sentence.
        at: Aware UTC wall time.
    """

    stopped: bool
    by: str
    reason: str
    at: datetime


class StopStore:
    """One open database of orders; safe to call from several threads and processes.

    The table is made where it is missing, so a store of an earlier version gets it. SQLite
    runs with ``synchronous=FULL``: an order that was answered survives a power cut.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()  # an in-memory database has one connection for all threads

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the database at ``url``.

        Raises:
            ConfigError: the address is wrong.
            StoreError: it cannot be opened.
        """
        engine = open_engine(url, synchronous="FULL", wait_s=WAIT_S)
        try:
            with engine.begin() as connection:
                connection.execute(CreateTable(order_table, if_not_exists=True))
        except SQLAlchemyError as error:
            engine.dispose()
            raise store_error("cannot be opened", engine.url, error) from error
        return cls(engine)

    def add(self, floors: Mapping[SiteId, int], word: Word) -> dict[SiteId, StopOrder]:
        """Write one order per site, all or none; each gets the site's next revision.

        Args:
            floors: The sites, each with the highest revision it is known to have heard: the
                new one is higher, also where this database lost what it once gave out.
            word: What is ordered.

        Raises:
            StoreError: nothing was written.
        """
        for attempt in range(ATTEMPTS):
            try:
                return self._add(floors, word)
            except IntegrityError as error:
                if attempt == ATTEMPTS - 1:
                    raise self._failure("cannot be written", error) from error
            except (SQLAlchemyError, OverflowError) as error:
                raise self._failure("cannot be written", error) from error
        raise AssertionError  # the loop returns or raises

    def _add(self, floors: Mapping[SiteId, int], word: Word) -> dict[SiteId, StopOrder]:
        asked = sorted(floors.items())  # one order of locks for all writers
        given: dict[SiteId, StopOrder] = {}
        with self._lock, self._engine.begin() as connection:
            for start in range(0, len(asked), CHUNK):
                given |= _insert(connection, asked[start : start + CHUNK], word)
        return given

    def newest(self) -> dict[SiteId, StopOrder]:
        """The newest order of each site that ever had one.

        Raises:
            StoreError: the database cannot be read.
        """
        table = order_table.c
        last = (
            select(table.site_id, func.max(table.revision).label("revision"))
            .group_by(table.site_id)
            .subquery()
        )
        same = (table.site_id == last.c.site_id) & (table.revision == last.c.revision)
        rows = self._rows(select(order_table).join(last, same))
        return {SiteId(row.site_id): _to_order(row) for row in rows}

    def count(self) -> int:
        """How many orders there are; it grows with each one, so it tells whether any is new.

        Raises:
            StoreError: the database cannot be read.
        """
        return int(self._rows(select(func.count()).select_from(order_table))[0][0])

    def history(self, site_id: SiteId) -> list[StopOrder]:
        """All orders of one site, the newest first.

        Raises:
            StoreError: the database cannot be read.
        """
        table = order_table.c
        query = select(order_table).where(table.site_id == site_id).order_by(table.revision.desc())
        return [_to_order(row) for row in self._rows(query)]

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    def _rows(self, query: Executable) -> Sequence[Row[Any]]:
        try:
            with self._lock, self._engine.connect() as connection:
                rows: Sequence[Row[Any]] = connection.execute(query).all()
                return rows
        except SQLAlchemyError as error:
            raise self._failure("cannot be read", error) from error

    def _failure(self, what: str, error: Exception) -> StoreError:
        return store_error(f"stop orders: {what}", self._engine.url, error)


def _insert(
    connection: Connection, asked: Sequence[tuple[SiteId, int]], word: Word
) -> dict[SiteId, StopOrder]:
    # One statement reads the last revision and writes the next one: SQLite takes its write
    # lock before it reads, so nobody else can take the same revision.
    rows = values(Column("site_id", String), Column("floor", BigInteger), name="asked")
    wanted = rows.data(list(asked)).cte("asked")
    last = (
        select(func.coalesce(func.max(order_table.c.revision), 0))
        .where(order_table.c.site_id == wanted.c.site_id)
        .scalar_subquery()
    )
    known = case((wanted.c.floor > last, wanted.c.floor), else_=last)
    at_us = (word.at - EPOCH) // MICROSECOND
    said = (word.stopped, word.by, word.reason, at_us)
    query = select(wanted.c.site_id, known + 1, *map(literal, said))
    statement = (
        insert(order_table)
        .from_select([column.name for column in order_table.columns], query)
        .returning(order_table.c.site_id, order_table.c.revision)
    )
    return {
        SiteId(site_id): StopOrder(revision, word.stopped, word.by, word.reason, word.at)
        for site_id, revision in connection.execute(statement)
    }


def _to_order(row: Row[Any]) -> StopOrder:
    return StopOrder(
        revision=row.revision,
        stopped=row.stopped,
        by=row.ordered_by,
        reason=row.reason,
        at=EPOCH + row.at_us * MICROSECOND,
    )
