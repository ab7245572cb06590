from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessai.fleet.books import Books
from bessai.fleet.settlement import SettlementRules
from bessai.model import SiteId, SiteSnapshot
from tests.support.fleet_fakes import HOUR, T0, FakePrices, MemoryStore
from tests.support.fleet_values import reading, site_config, snapshot

SITE = SiteId("a")
PRICES = FakePrices([10.0 + k for k in range(48)], start=T0)
RULES = SettlementRules("USD", HOUR, T0, PRICES.price_at)

EVENTS = st.lists(
    st.tuples(
        st.integers(30, 1800),
        st.integers(0, 4000),
        st.integers(0, 4000),
        st.sampled_from(["report", "save", "fail", "crash"]),
    ),
    min_size=3,
    max_size=30,
)


def report(at_s: int, exported_wh: int | None, imported_wh: int | None) -> SiteSnapshot:
    numbers = replace(reading(), exported_wh=exported_wh, imported_wh=imported_wh)
    return replace(snapshot(), market_at=T0 + timedelta(seconds=at_s), reading=numbers)


def books(store: MemoryStore) -> Books:
    return Books([site_config()], RULES, store)


@settings(max_examples=50, deadline=None)
@given(events=EVENTS)
def test_nothing_is_lost_or_doubled_wherever_the_process_dies(
    events: list[tuple[int, int, int, str]],
) -> None:
    store = MemoryStore()
    open_books = books(store)
    open_books.settle([report(0, 0, 0)])
    asyncio.run(open_books.flush())
    at_s = exported = imported = 0
    for seconds, more_exported, more_imported, what in events:
        at_s, exported, imported = (
            at_s + seconds,
            exported + more_exported,
            imported + more_imported,
        )
        open_books.settle([report(at_s, exported, imported)])
        store.broken = what == "fail"
        if what in {"save", "fail"}:
            asyncio.run(open_books.flush())
        elif what == "crash":
            open_books = books(store)
    open_books.settle([report(at_s, exported, imported)])
    account = open_books.account(SITE)
    assert account is not None
    assert (account.exported_wh, account.imported_wh) == (exported, imported)
    assert (account.unpriced_wh, account.resets) == (0, 0)
    dearest, cheapest = 10.0 + 47, 10.0
    most = (exported * dearest - imported * cheapest) * 1e6
    least = (exported * cheapest - imported * dearest) * 1e6
    assert least <= account.amount_pico <= most


def test_readings_without_both_counters_leave_the_baseline_alone() -> None:
    open_books = books(MemoryStore())
    open_books.settle([report(0, 0, 0)])
    open_books.settle(
        [report(60, None, 5), report(120, 7, None), replace(snapshot(), reading=None)]
    )
    open_books.settle([report(180, 30, 20)])
    account = open_books.account(SITE)
    assert account is not None
    assert (account.exported_wh, account.imported_wh) == (30, 20)


def test_a_reset_is_counted_logged_and_makes_no_energy(caplog: pytest.LogCaptureFixture) -> None:
    open_books = books(MemoryStore())
    with caplog.at_level(logging.WARNING):
        open_books.settle([report(0, 5000, 0), report(60, 5100, 0), report(120, 3, 0)])
    account = open_books.account(SITE)
    assert account is not None
    assert (account.exported_wh, account.resets) == (100, 1)
    assert [r.getMessage() for r in caplog.records] == [
        "meter counters cannot be continued; settling from a new baseline"
    ]


def test_a_store_that_fails_is_logged_once_and_its_recovery_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore()
    open_books = books(store)
    open_books.settle([report(0, 0, 0)])
    with caplog.at_level(logging.INFO):
        for store.broken in (True, True, False, False):
            asyncio.run(open_books.flush())
    texts = [r.getMessage() for r in caplog.records if r.name == "bessai.fleet.books"]
    assert texts == ["accounts cannot be saved", "accounts are saved again"]


def test_a_silent_fleet_writes_nothing() -> None:
    store = MemoryStore()
    open_books = books(store)
    open_books.settle([report(0, 0, 0)])
    asyncio.run(open_books.flush())
    store.broken = True
    open_books.settle([report(0, 0, 0)])
    asyncio.run(open_books.flush())
    assert open_books.error is None
