"""Epochs that survive restarts: who owns a site, and who may have owned it before.

An epoch is handed out once, whoever asks at the same time and from wherever. A claim also tells
of one earlier owner that may still live, where there is one: somebody of another machine before
somebody of the claimer's own, because only the latter can be proven dead from there. Owners are
forgotten once a later one is known to have taken over, not when it merely claimed: one that
claimed and died while it waited proves nothing about those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Final, Self, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    MetaData,
    RowMapping,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from bessai.model import Grant, Owner
from bessai.store.database import open_engine, store_error

WAIT_S: Final = 2.0
"""Longest wait for another writer of the file: who claims waits for its answer for 3 s."""

T = TypeVar("T")

metadata = MetaData()
epoch_table = Table(
    "epochs",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)
claim_table = Table(
    "epoch_claims",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("host", String(100), nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("token", String(100), nullable=False),
    Column("claimed_at", String(32), nullable=False),
)


class EpochStore:
    """Epochs by name in one database; safe to call from several threads and processes.

    SQLite writes each claim to the disk before it is granted: after a power cut no epoch is
    handed out a second time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the database at ``url``; others may open it at the same time.

        Raises:
            ConfigError: the address is wrong.
            StoreError: it cannot be opened.
        """
        engine = open_engine(url, synchronous="FULL", wait_s=WAIT_S)
        try:
            with engine.begin() as connection:
                for table in metadata.sorted_tables:
                    connection.execute(CreateTable(table, if_not_exists=True))
        except SQLAlchemyError as error:
            engine.dispose()
            raise store_error("cannot be opened", engine.url, error) from error
        return cls(engine)

    def claim(self, name: str, owner: Owner) -> Grant:
        """Make ``owner`` the one owner of ``name``; each call is a new epoch.

        Raises:
            StoreError: nothing was granted.
        """
        return self._do("cannot be written", lambda connection: _claim(connection, name, owner))

    def settle(self, name: str, epoch: int) -> None:
        """Forget the owners before ``epoch``: its own owner is known to have taken over.

        Raises:
            StoreError: nothing was forgotten.
        """
        old = delete(claim_table).where(_is(name), claim_table.c.epoch < epoch)
        self._do("cannot be written", lambda connection: connection.execute(old))

    def current(self, name: str) -> int:
        """The newest epoch, 0 before the first.

        Raises:
            StoreError: the database cannot be read.
        """
        return self._do("cannot be read", lambda connection: _current(connection, name))

    def owner_of(self, name: str) -> Owner | None:
        """Who claimed last, or None where nobody did.

        Raises:
            StoreError: the database cannot be read.
        """
        return next(iter(self.owners(name)), None)

    def owners(self, name: str) -> tuple[Owner, ...]:
        """Who claimed and is not forgotten, the newest first; at most two of each host.

        Raises:
            StoreError: the database cannot be read.
        """
        claims = self._do("cannot be read", lambda connection: _claims(connection, name))
        return tuple(map(_owner, claims))

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    def _do(self, problem: str, work: Callable[[Connection], T]) -> T:
        """One transaction; what it returns counts only after the commit."""
        with self._lock:
            try:
                try:
                    with self._engine.begin() as connection:
                        return work(connection)
                except IntegrityError:  # the first claim of a name, by two at once
                    with self._engine.begin() as connection:
                        return work(connection)
            except (SQLAlchemyError, OverflowError) as error:
                raise store_error(problem, self._engine.url, error) from error


def _claim(connection: Connection, name: str, owner: Owner) -> Grant:
    """The update comes first: it locks the name until the commit."""
    grown = update(epoch_table).where(epoch_table.c.name == name)
    if connection.execute(grown.values(epoch=epoch_table.c.epoch + 1)).rowcount == 0:
        connection.execute(insert(epoch_table).values(name=name, epoch=1))
    epoch = _current(connection, name)
    earlier = [row for row in _claims(connection, name) if row["token"] != owner.token]
    near = [row for row in earlier if row["host"] == owner.host]
    far = [row for row in earlier if row["host"] != owner.host]
    # Of one host the newest owner is enough: a crash loop must not fill the table.
    superfluous = delete(claim_table).where(_is(name), claim_table.c.host == owner.host)
    if near:
        superfluous = superfluous.where(claim_table.c.epoch != near[0]["epoch"])
    connection.execute(superfluous)
    connection.execute(
        insert(claim_table).values(
            name=name,
            epoch=epoch,
            host=owner.host,
            pid=owner.pid,
            token=owner.token,
            claimed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
    )
    return Grant(epoch, _owner((far or near)[0]) if earlier else None)


def _current(connection: Connection, name: str) -> int:
    found = connection.scalar(select(epoch_table.c.epoch).where(epoch_table.c.name == name))
    return 0 if found is None else int(found)


def _claims(connection: Connection, name: str) -> Sequence[RowMapping]:
    """The claims that are not forgotten, newest first."""
    query = select(claim_table).where(_is(name)).order_by(claim_table.c.epoch.desc())
    return connection.execute(query).mappings().all()


def _is(name: str) -> ColumnElement[bool]:
    return claim_table.c.name == name


def _owner(row: RowMapping) -> Owner:
    return Owner(row["host"], row["pid"], row["token"])
