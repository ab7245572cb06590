from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessai.fleet.settlement import SettlementRules, settle, to_micro_per_mwh
from bessai.model import SiteId
from bessai.store.account import Account, MeterReading
from tests.support.fleet_fakes import HOUR, T0, FakePrices

SITE = SiteId("a")
MAX_KW = 1e6


def rules(prices: list[float]) -> SettlementRules:
    source = FakePrices(prices, start=T0)
    return SettlementRules("USD", HOUR, T0, source.price_at)


def run(meters: list[MeterReading], with_rules: SettlementRules, max_kw: float = MAX_KW) -> Account:
    account: Account | None = None
    for meter in meters:
        account = settle(account, SITE, meter, with_rules, max_kw)
    assert account is not None
    return account


def at(minutes: float, exported_wh: int, imported_wh: int = 0) -> MeterReading:
    return MeterReading(exported_wh, imported_wh, T0 + timedelta(minutes=minutes))


def test_the_first_reading_settles_nothing() -> None:
    account = run([at(0, 5_000_000, 7_000_000)], rules([100.0]))
    assert (account.exported_wh, account.imported_wh, account.amount_pico) == (0, 0, 0)


@pytest.mark.parametrize(
    ("meters", "prices", "amount_micro"),
    [
        ([at(0, 0), at(30, 1000)], [50.0], 50_000),  # 1 kWh sold at 50 USD/MWh
        ([at(0, 0), at(30, 0, 1000)], [50.0], -50_000),  # bought
        ([at(0, 0), at(30, 0, 1000)], [-20.0], 20_000),  # bought at a negative price
        ([at(30, 0), at(90, 1000)], [10.0, 30.0], 20_000),  # half in each step
        ([at(0, 0), at(60, 1000), at(120, 3000)], [10.0, 30.0], 70_000),
        ([at(60, 0), at(60, 1000)], [10.0, 30.0], 30_000),  # same moment: the step that begins
    ],
)
def test_energy_is_settled_at_the_price_of_its_step(
    meters: list[MeterReading], prices: list[float], amount_micro: int
) -> None:
    assert run(meters, rules(prices)).amount_micro == amount_micro


def test_a_missing_price_leaves_the_energy_unpriced_and_not_free() -> None:
    account = run([at(0, 0), at(180, 3000, 300)], rules([10.0, float("nan"), 30.0]))
    assert (account.exported_wh, account.imported_wh) == (3000, 300)
    assert (account.unpriced_exported_wh, account.unpriced_imported_wh) == (1000, 100)
    assert account.amount_pico == 900 * 10_000_000 + 900 * 30_000_000


def test_energy_after_the_last_price_is_unpriced() -> None:
    account = run([at(0, 0), at(120, 2000)], rules([10.0]))
    assert (account.exported_wh, account.unpriced_exported_wh) == (2000, 1000)


@pytest.mark.parametrize("counters", [(400, 900), (1100, 300), (0, 0)])
def test_counters_that_go_back_are_a_new_baseline(counters: tuple[int, int]) -> None:
    account = run([at(0, 0, 0), at(10, 1000, 900), at(20, *counters)], rules([10.0]))
    assert (account.exported_wh, account.imported_wh, account.resets) == (1000, 900, 1)
    again = settle(account, SITE, at(30, counters[0] + 5, counters[1]), rules([10.0]), MAX_KW)
    assert again.exported_wh == 1005


def test_a_jump_that_no_connection_can_carry_is_a_new_baseline() -> None:
    glitch = [at(0, 9_000_000), at(1, 0), at(2, 9_000_100), at(3, 9_000_200)]
    account = run(glitch, rules([10.0]), max_kw=50.0)
    assert (account.exported_wh, account.resets) == (100, 2)


def test_energy_between_two_replays_of_the_market_has_no_price() -> None:
    account = run([at(50, 0), at(0, 100)], rules([10.0]))
    assert (account.exported_wh, account.unpriced_exported_wh, account.resets) == (100, 100, 0)


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (45.37, 45_370_000),
        (0.0000005, 1),
        (-0.0000005, -1),
        (0.0000025, 3),
        (0.1 + 0.2, 300_000),
        (float("nan"), None),
        (None, None),
    ],
)
def test_prices_round_half_away_from_zero(price: float | None, expected: int | None) -> None:
    assert to_micro_per_mwh(price) == expected


STEPS = st.lists(
    st.tuples(st.integers(1, 90 * 60), st.integers(0, 5000), st.integers(0, 5000)),
    min_size=2,
    max_size=25,
)
PRICES = st.lists(st.one_of(st.floats(-100, 300), st.just(float("nan"))), min_size=40, max_size=40)


def meters_of(steps: list[tuple[int, int, int]]) -> list[MeterReading]:
    moment, exported, imported = T0, 0, 0
    meters = []
    for seconds, more_exported, more_imported in steps:
        moment += timedelta(seconds=seconds)
        exported, imported = exported + more_exported, imported + more_imported
        meters.append(MeterReading(exported, imported, moment))
    return meters


@settings(deadline=None)
@given(steps=STEPS, prices=PRICES)
def test_every_watt_hour_is_settled_once_whatever_the_readings(
    steps: list[tuple[int, int, int]], prices: list[float]
) -> None:
    meters = meters_of(steps)
    account = run(meters, rules(prices))
    assert account.resets == 0
    assert account.exported_wh == meters[-1].exported_wh - meters[0].exported_wh
    assert account.imported_wh == meters[-1].imported_wh - meters[0].imported_wh
    assert 0 <= account.unpriced_exported_wh <= account.exported_wh
    assert account.amount_micro * 1_000_000 + account.amount_rest_pico == account.amount_pico


@settings(deadline=None)
@given(steps=STEPS, price=st.floats(-100, 300), data=st.data())
def test_any_partition_of_the_same_counters_gives_the_same_account(
    steps: list[tuple[int, int, int]], price: float, data: st.DataObject
) -> None:
    meters = meters_of(steps)
    kept = [m for m in meters[1:-1] if data.draw(st.booleans())]
    flat = rules([price] * 100)
    assert run([meters[0], *kept, meters[-1]], flat) == run(meters, flat)


@settings(deadline=None)
@given(exported=st.integers(0, 10**6), minutes=st.integers(1, 600), prices=PRICES)
def test_cutting_at_the_steps_changes_nothing(
    exported: int, minutes: int, prices: list[float]
) -> None:
    start, end = at(13, 0), at(13 + minutes, exported)
    cuts = [T0 + HOUR * k for k in range(1, 12) if T0 + HOUR * k < end.market_at]
    inner = [
        MeterReading(
            exported * _us(cut - start.market_at) // _us(end.market_at - start.market_at), 0, cut
        )
        for cut in cuts
    ]
    assert run([start, *inner, end], rules(prices)) == run([start, end], rules(prices))


@settings(deadline=None)
@given(steps=STEPS, prices=PRICES)
def test_replayed_readings_add_nothing(
    steps: list[tuple[int, int, int]], prices: list[float]
) -> None:
    meters = meters_of(steps)
    with_rules = rules(prices)
    twice = [meters[0], *(m for pair in pairwise(meters) for m in (pair[1], pair[1]))]
    assert run(twice, with_rules) == run(meters, with_rules)


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def test_steps_follow_the_sources_grid() -> None:
    half_past = T0 + timedelta(minutes=30)
    source = FakePrices([10.0, 30.0], start=half_past)
    by_half = SettlementRules("USD", HOUR, half_past, source.price_at)
    moments: list[datetime] = [half_past, half_past + 2 * HOUR]
    account = run([MeterReading(2000 * k, 0, m) for k, m in enumerate(moments)], by_half)
    assert account.amount_micro == 40_000
