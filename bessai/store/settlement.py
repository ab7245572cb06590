"""Accounts in SQLite (embedded) or any database that SQLAlchemy reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Final, Self

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    bindparam,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from bessai.errors import ConfigError
from bessai.model import SiteId
from bessai.store.account import PICO_PER_MICRO, Account, MeterReading
from bessai.store.database import open_engine, shown, store_error

SCHEMA_VERSION: Final = 1
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

metadata = MetaData()
schema_table = Table("bessai_schema", metadata, Column("version", Integer, nullable=False))
account_table = Table(
    "settlement_accounts",
    metadata,
    Column("site_id", String(63), primary_key=True),
    Column("currency", String(3), nullable=False),
    Column("meter_exported_wh", BigInteger, nullable=False),
    Column("meter_imported_wh", BigInteger, nullable=False),
    Column("meter_market_at_us", BigInteger, nullable=False),
    Column("exported_wh", BigInteger, nullable=False),
    Column("imported_wh", BigInteger, nullable=False),
    Column("unpriced_exported_wh", BigInteger, nullable=False),
    Column("unpriced_imported_wh", BigInteger, nullable=False),
    Column("amount_micro", BigInteger, nullable=False),
    Column("amount_rest_pico", Integer, nullable=False),
    Column("resets", Integer, nullable=False),
)


class SettlementStore:
    """One open database of accounts; safe to call from several threads.

    Saves are single transactions. SQLite runs in WAL mode with ``synchronous=NORMAL``: after a
    power cut the last transactions may be gone, but baseline and amounts of a site are always
    of the same moment, so the next meter reading settles what is missing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: set[SiteId] = set()
        self._lock = Lock()

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the database at ``url``, e.g. ``sqlite:////var/lib/bessai/fleet.db``.

        Raises:
            ConfigError: the address is wrong, or the database is of another version.
            StoreError: it cannot be opened.
        """
        engine = open_engine(url)
        try:
            with engine.begin() as connection:
                _prepare_schema(connection, engine.url)
        except SQLAlchemyError as error:
            engine.dispose()
            raise store_error("cannot be opened", engine.url, error) from error
        except ConfigError:
            engine.dispose()
            raise
        store = cls(engine)
        store.load()  # so that a save knows which rows exist
        return store

    def load(self) -> Mapping[SiteId, Account]:
        """All accounts by site.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._lock:
            try:
                with self._engine.connect() as connection:
                    rows = connection.execute(select(account_table)).mappings().all()
            except SQLAlchemyError as error:
                raise store_error("cannot be read", self._engine.url, error) from error
            accounts = {account.site_id: account for account in map(_to_account, rows)}
            self._known = set(accounts)
            return accounts

    def save(self, accounts: Sequence[Account]) -> None:
        """Write all accounts in one transaction.

        Raises:
            StoreError: nothing was written.
        """
        with self._lock:
            new = [a for a in accounts if a.site_id not in self._known]
            old = [a for a in accounts if a.site_id in self._known]
            try:
                with self._engine.begin() as connection:
                    _write(connection, new, old)
            except (SQLAlchemyError, OverflowError) as error:
                raise store_error("cannot be written", self._engine.url, error) from error
            self._known.update(a.site_id for a in new)

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()


def _prepare_schema(connection: Connection, url: URL) -> None:
    if not inspect(connection).has_table(schema_table.name):
        metadata.create_all(connection)
        connection.execute(insert(schema_table).values(version=SCHEMA_VERSION))
        return
    versions = [str(row[0]) for row in connection.execute(select(schema_table.c.version))]
    if versions != [str(SCHEMA_VERSION)]:
        raise ConfigError(
            f"has schema version {', '.join(versions) or 'none'}, this program knows "
            f"{SCHEMA_VERSION}",
            field=shown(url),
            fix="run the version of bessai that wrote it, or name another database",
        )


def _write(connection: Connection, new: Sequence[Account], old: Sequence[Account]) -> None:
    if new:
        connection.execute(insert(account_table), [_to_row(a) for a in new])
    if old:
        names = [c.name for c in account_table.columns if not c.primary_key]
        statement = (
            update(account_table)
            .where(account_table.c.site_id == bindparam("key"))
            .values({name: bindparam(name) for name in names})
        )
        rows = [_to_row(a) for a in old]
        connection.execute(statement, [{**row, "key": row["site_id"]} for row in rows])


def _to_row(account: Account) -> dict[str, int | str]:
    return {
        "site_id": account.site_id,
        "currency": account.currency,
        "meter_exported_wh": account.meter.exported_wh,
        "meter_imported_wh": account.meter.imported_wh,
        "meter_market_at_us": (account.meter.market_at - EPOCH) // MICROSECOND,
        "exported_wh": account.exported_wh,
        "imported_wh": account.imported_wh,
        "unpriced_exported_wh": account.unpriced_exported_wh,
        "unpriced_imported_wh": account.unpriced_imported_wh,
        "amount_micro": account.amount_micro,
        "amount_rest_pico": account.amount_rest_pico,
        "resets": account.resets,
    }


def _to_account(row: RowMapping) -> Account:
    return Account(
        site_id=SiteId(row["site_id"]),
        currency=row["currency"],
        meter=MeterReading(
            exported_wh=row["meter_exported_wh"],
            imported_wh=row["meter_imported_wh"],
            market_at=EPOCH + row["meter_market_at_us"] * MICROSECOND,
        ),
        exported_wh=row["exported_wh"],
        imported_wh=row["imported_wh"],
        unpriced_exported_wh=row["unpriced_exported_wh"],
        unpriced_imported_wh=row["unpriced_imported_wh"],
        amount_pico=row["amount_micro"] * PICO_PER_MICRO + row["amount_rest_pico"],
        resets=row["resets"],
    )
