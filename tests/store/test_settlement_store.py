from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessai.errors import ConfigError, StoreError
from bessai.fleet.settlement import to_micro_per_mwh
from bessai.model import SiteId
from bessai.store.account import Account, MeterReading
from bessai.store.settlement import SettlementStore
from tests.support.fleet_meter_process import PRICE

AT = datetime(2024, 3, 1, 12, 34, 56, 789_012, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
WH = st.integers(0, 2**62)


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'fleet.db'}"


def account(site_id: str = "a", amount_pico: int = -123_456_789_012_345) -> Account:
    return Account(
        site_id=SiteId(site_id),
        currency="USD",
        meter=MeterReading(1_000_001, 2_000_002, AT),
        exported_wh=10,
        imported_wh=20,
        unpriced_exported_wh=1,
        unpriced_imported_wh=2,
        amount_pico=amount_pico,
        resets=3,
    )


def test_accounts_come_back_as_they_were_saved(tmp_path: Path) -> None:
    store = SettlementStore.open(url_of(tmp_path))
    assert store.load() == {}
    store.save([account("a"), account("b")])
    later = replace(account("a"), amount_pico=7, resets=4)
    store.save([later, account("c")])
    store.close()
    again = SettlementStore.open(url_of(tmp_path))
    wanted = [later, account("b"), account("c")]
    assert again.load() == {a.site_id: a for a in wanted}
    again.close()


@settings(deadline=None)
@given(
    amount_pico=st.integers(-(10**24), 10**24),
    exported=WH,
    at=st.datetimes(timezones=st.just(UTC)),
)
def test_every_account_round_trips(amount_pico: int, exported: int, at: datetime) -> None:
    store = SettlementStore.open("sqlite://")
    before = replace(
        account(amount_pico=amount_pico),
        meter=MeterReading(exported, 0, at),
        exported_wh=exported,
    )
    store.save([before])
    assert store.load() == {before.site_id: before}
    store.close()


def test_a_batch_is_saved_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    store = SettlementStore.open(url_of(tmp_path))
    store.save([account("a", 1)])
    too_large = replace(account("b"), resets=2**70)
    with pytest.raises(StoreError, match="cannot be written"):
        store.save([account("a", 2), too_large])
    assert store.load()[SiteId("a")].amount_pico == 1
    store.close()


def test_a_store_that_was_not_loaded_can_be_saved_to(tmp_path: Path) -> None:
    for amount_pico in (1, 2):
        store = SettlementStore.open(url_of(tmp_path))
        store.save([account("a", amount_pico)])
        store.close()
    with sqlite3.connect(tmp_path / "fleet.db") as connection:
        rows = connection.execute("SELECT amount_rest_pico FROM settlement_accounts").fetchall()
    assert rows == [(2,)]


def test_the_database_runs_in_wal_mode(tmp_path: Path) -> None:
    SettlementStore.open(url_of(tmp_path)).close()
    with sqlite3.connect(tmp_path / "fleet.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    "change", ["UPDATE bessai_schema SET version=2", "DELETE FROM bessai_schema"]
)
def test_another_schema_version_is_refused_with_the_fix(tmp_path: Path, change: str) -> None:
    SettlementStore.open(url_of(tmp_path)).close()
    with sqlite3.connect(tmp_path / "fleet.db") as connection:
        connection.execute(change)
    with pytest.raises(ConfigError, match="schema version") as caught:
        SettlementStore.open(url_of(tmp_path))
    assert caught.value.fix is not None


@pytest.mark.parametrize("url", ["nonsense", "nodb://x/y"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="store url"):
        SettlementStore.open(url)


def test_a_missing_folder_and_a_foreign_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="missing"):
        SettlementStore.open(f"sqlite:///{tmp_path / 'missing' / 'fleet.db'}")
    (tmp_path / "fleet.db").write_text("this is no database, it is a long enough text file\n" * 9)
    with pytest.raises(StoreError, match="not a database"):
        SettlementStore.open(url_of(tmp_path))


def test_a_locked_database_fails_the_save_and_a_later_one_succeeds(tmp_path: Path) -> None:
    store = SettlementStore.open(url_of(tmp_path) + "?timeout=0.1")
    store.save([account("a", 1)])
    with sqlite3.connect(tmp_path / "fleet.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            store.save([account("a", 2)])
        other.execute("ROLLBACK")
    store.save([account("a", 2)])
    assert store.load()[SiteId("a")].amount_pico == 2
    store.close()


def start_meter(url: str, start_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.fleet_meter_process", url, str(start_s)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_sigkill_at_any_moment_neither_loses_nor_doubles_a_watt_hour(tmp_path: Path) -> None:
    url, start_s = url_of(tmp_path), time.time()
    settled: list[int] = []
    baseline: tuple[int, int] | None = None
    for alive_s in (0.05, 0.21, 0.13):
        process = start_meter(url, start_s)
        assert process.stdout is not None
        line = process.stdout.readline().split()
        baseline = baseline or (int(line[0]), int(line[1]))
        time.sleep(alive_s)
        process.kill()
        process.wait()
        process.stdout.close()
        store = SettlementStore.open(url)
        found = store.load()[SiteId("a")]
        store.close()
        settled.append(found.exported_wh)
        assert found.resets == 0
        assert found.unpriced_wh == 0
        assert found.exported_wh == found.meter.exported_wh - baseline[0]
        assert found.imported_wh == found.meter.imported_wh - baseline[1]
        price = to_micro_per_mwh(PRICE)
        assert price is not None
        assert found.amount_pico == (found.exported_wh - found.imported_wh) * price
        assert found.meter.market_at > AT - timedelta(days=1)
    assert settled == sorted(settled)
    assert settled[0] < settled[-1]
