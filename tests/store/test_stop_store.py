from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bessai.errors import ConfigError, StoreError
from bessai.model import SiteId, StopOrder
from bessai.store.settlement import SettlementStore
from bessai.store.stops import StopStore, Word

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 3, 1, 12, 34, 56, 789_012, tzinfo=UTC)
A, B = SiteId("a"), SiteId("b")


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'fleet.db'}"


def word(reason: str = "smoke", *, stopped: bool = True) -> Word:
    return Word(stopped, "Ana", reason, AT)


def test_each_order_of_a_site_has_the_next_revision_and_all_are_kept(tmp_path: Path) -> None:
    store = StopStore.open(url_of(tmp_path))
    assert store.newest() == {}
    store.add({A: 0}, word("smoke"))
    store.add({A: 0, B: 0}, word("storm"))
    last = store.add({A: 0}, word("clear", stopped=False))
    store.close()
    again = StopStore.open(url_of(tmp_path))
    assert last == {A: StopOrder(3, False, "Ana", "clear", AT)}
    assert again.newest() == last | {B: StopOrder(1, True, "Ana", "storm", AT)}
    kept = [(o.revision, o.stopped, o.reason) for o in again.history(A)]
    assert kept == [(3, False, "clear"), (2, True, "storm"), (1, True, "smoke")]
    assert again.count() == 4
    again.close()


def test_a_revision_is_above_what_a_site_has_heard_from_a_lost_store(tmp_path: Path) -> None:
    store = StopStore.open(url_of(tmp_path))
    assert store.add({A: 41, B: 0}, word())[A].revision == 42
    assert store.add({A: 7, B: 0}, word())[A].revision == 43
    assert store.newest()[B].revision == 2
    store.close()


def test_many_sites_are_ordered_at_once() -> None:
    store = StopStore.open("sqlite://")
    sites = {SiteId(f"site-{n}"): n % 3 for n in range(5_500)}
    given = store.add(sites, word())
    assert {site: order.revision - 1 for site, order in given.items()} == sites
    assert store.newest() == given
    store.close()


def test_orders_live_beside_the_accounts_of_an_earlier_version(tmp_path: Path) -> None:
    SettlementStore.open(url_of(tmp_path)).close()
    with sqlite3.connect(tmp_path / "fleet.db") as connection:
        assert not connection.execute(
            "SELECT 1 FROM sqlite_master WHERE name='stop_orders'"
        ).fetchall()
    store = StopStore.open(url_of(tmp_path))
    store.add({A: 0}, word())
    SettlementStore.open(url_of(tmp_path)).close()
    store.close()


def test_an_order_is_on_the_disk_before_it_is_answered(tmp_path: Path) -> None:
    """``synchronous=FULL`` (2) syncs each commit; NORMAL (1) may lose it in a power cut."""
    store = StopStore.open(url_of(tmp_path))
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    store.close()


def test_a_store_that_cannot_write_orders_nothing_and_says_so(tmp_path: Path) -> None:
    store = StopStore.open(url_of(tmp_path) + "?timeout=0.1")
    store.add({A: 0}, word())
    with sqlite3.connect(tmp_path / "fleet.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"stop orders: cannot be written.*locked"):
            store.add({A: 0, B: 0}, word())
        other.execute("ROLLBACK")
    with pytest.raises(StoreError):
        store.add({A: 2**70, B: 0}, word())
    assert (store.count(), B in store.newest()) == (1, False)
    assert store.add({A: 0}, word())[A].revision == 2
    store.close()


def test_an_address_that_is_none_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="store url"):
        StopStore.open("nonsense")
    (tmp_path / "fleet.db").write_text("this is no database, it is a long enough text file\n" * 9)
    with pytest.raises(StoreError, match="not a database"):
        StopStore.open(url_of(tmp_path))


def test_two_writers_never_share_a_revision_and_sigkill_loses_no_answered_order(
    tmp_path: Path,
) -> None:
    url = url_of(tmp_path) + "?timeout=60"  # on a loaded machine one writer may wait long
    command = [sys.executable, "-m", "tests.support.fleet_stop_process", url]
    writers = [
        subprocess.Popen([*command, name], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    said: list[set[int]] = [set(), set()]
    try:
        for _ in range(15):
            for writer, revisions in zip(writers, said, strict=True):
                assert writer.stdout is not None
                revisions.add(int(writer.stdout.readline()))
    finally:
        for writer in writers:
            writer.kill()
    for writer, revisions in zip(writers, said, strict=True):
        out, _ = writer.communicate(timeout=10)
        # The line in work at the moment of the kill may be cut.
        revisions.update(int(line) for line in out.split("\n")[:-1])
    one, two = said
    assert not one & two
    store = StopStore.open(url)
    kept = [order.revision for order in store.history(A)]
    assert kept == list(range(len(kept), 0, -1))
    assert one | two <= set(kept)
    assert {order.by for order in store.history(A)} == {"one", "two"}
    store.close()
