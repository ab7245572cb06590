from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessai.errors import ConfigError, ModelError
from bessai.model import DISPATCH_SOURCE, QuantileForecast, Schedule
from bessai.policies import open_policy
from bessai.policies.linear import LinearPolicy, expected_price
from tests.support.dispatch import NOON, request

POLICY = LinearPolicy()
HOUR = timedelta(hours=1)


def powers(schedule: Schedule) -> list[float]:
    return [round(interval.power_kw, 4) for interval in schedule.intervals]


def test_buys_low_and_sells_high() -> None:
    plan = POLICY.plan_now(request([0.0, 100.0, 300.0], soc_pct=10.0))
    (schedule,) = plan.schedules
    assert powers(schedule)[0] == pytest.approx(-50.0)
    assert powers(schedule)[2] == pytest.approx(50.0)
    assert schedule.expected_revenue == pytest.approx(
        sum(p * kw / 1000 for p, kw in zip([0.0, 100.0, 300.0], powers(schedule), strict=True)),
        abs=1e-3,
    )


def test_a_schedule_says_who_when_and_where() -> None:
    plan = POLICY.plan_now(request([0.0, 100.0], late_min=20))
    (schedule,) = plan.schedules
    assert schedule.schedule_id == "site-0@2024-05-20T12:20:00+00:00"
    assert (schedule.source, schedule.currency) == (DISPATCH_SOURCE, "USD")
    assert schedule.issued_at == NOON + timedelta(minutes=20)
    assert (plan.source, plan.degraded) == ("linear", None)


def test_the_first_step_is_only_what_is_left_of_it() -> None:
    (schedule,) = POLICY.plan_now(request([0.0, 200.0], late_min=45, soc_pct=10.0)).schedules
    first = schedule.intervals[0]
    assert (first.start, first.end) == (NOON + timedelta(minutes=45), NOON + HOUR)
    assert first.power_kw == pytest.approx(-50.0)
    assert first.soc_end_pct == pytest.approx(10.0 + 12.5)


def test_an_old_forecast_is_planned_over_what_is_left() -> None:
    (schedule,) = POLICY.plan_now(request([0.0, 0.0, 0.0, 200.0], late_min=130)).schedules
    assert [i.start for i in schedule.intervals] == [NOON + timedelta(minutes=130), NOON + 3 * HOUR]
    assert schedule.intervals[-1].end == NOON + 4 * HOUR


@pytest.mark.parametrize("late_min", [-1.0, 120.0])
def test_a_forecast_for_another_time_is_refused(late_min: float) -> None:
    with pytest.raises(ModelError, match=r"market_now.*does not cover"):
        POLICY.plan_now(request([10.0, 20.0], late_min=late_min))


@given(price=st.floats(0, 400), soc=st.floats(10, 90), rte=st.floats(60, 99))
@settings(max_examples=25, deadline=None)
def test_without_a_spread_nothing_is_traded(price: float, soc: float, rte: float) -> None:
    flat = request([price] * 6, soc_pct=soc, round_trip_efficiency_pct=rte, wear_cost_per_mwh=5.0)
    (schedule,) = POLICY.plan_now(flat).schedules
    assert powers(schedule) == [0.0] * 6
    assert schedule.expected_revenue == 0.0


@pytest.mark.parametrize(("wear", "trades"), [(0.0, True), (20.0, True), (45.0, False)])
def test_a_spread_must_pay_for_losses_and_wear(wear: float, trades: bool) -> None:
    # Bought at 60 and sold at 110 over 90 %: the hurdle is 110 - 60 / 0.9 = 43.3 per MWh.
    asked = request(
        [60.0, 110.0, 85.0], soc_pct=10.0, round_trip_efficiency_pct=90.0, wear_cost_per_mwh=wear
    )
    (schedule,) = POLICY.plan_now(asked).schedules
    assert (max(powers(schedule)) > 1.0) is trades


def test_a_negative_price_pays_for_charging() -> None:
    (schedule,) = POLICY.plan_now(request([-50.0, -50.0, -50.0], soc_pct=10.0)).schedules
    assert sum(powers(schedule)) == pytest.approx(-80.0)
    assert schedule.expected_revenue == pytest.approx(80 * 0.05)


@pytest.mark.parametrize(
    ("soc", "charge", "expected_soc"), [(2.0, 5.0, (7.0, 10.0)), (97.0, 50.0, (90.0, 90.0))]
)
def test_outside_the_band_it_goes_back_as_fast_as_it_can(
    soc: float, charge: float, expected_soc: tuple[float, float]
) -> None:
    against = [400.0, 400.0] if soc < 10 else [0.0, 0.0]
    asked = request(against, soc_pct=soc, max_charge_kw=charge)
    (schedule,) = POLICY.plan_now(asked).schedules
    assert [i.soc_end_pct for i in schedule.intervals] == pytest.approx(expected_soc)


def test_of_equal_prices_the_later_one_is_bought() -> None:
    asked = request([0.0, 0.0, 0.0, 300.0], soc_pct=60.0, max_discharge_kw=90.0)
    (schedule,) = POLICY.plan_now(asked).schedules
    assert powers(schedule) == pytest.approx([0.0, 0.0, -30.0, 80.0], abs=1e-3)


def test_nothing_is_moved_where_nothing_is_earned() -> None:
    (schedule,) = POLICY.plan_now(request([0.0] * 5, soc_pct=[50.0])).schedules
    assert powers(schedule) == [0.0] * 5


def test_outside_the_band_without_power_it_still_plans() -> None:
    asked = request([10.0, 300.0], soc_pct=2.0, max_charge_kw=0.0, max_discharge_kw=0.0)
    assert powers(POLICY.plan_now(asked).schedules[0]) == [0.0, 0.0]


@settings(max_examples=30, deadline=None)
@given(
    prices=st.lists(st.floats(-300, 500), min_size=2, max_size=24),
    soc=st.lists(st.floats(0, 100), min_size=1, max_size=4),
    charge=st.floats(0, 200),
    late_min=st.floats(0, 59.99),
)
def test_no_plan_leaves_the_limits(
    prices: list[float], soc: list[float], charge: float, late_min: float
) -> None:
    asked = request(
        prices,
        late_min=late_min,
        soc_pct=soc,
        max_charge_kw=charge,
        round_trip_efficiency_pct=88.0,
        wear_cost_per_mwh=8.0,
    )
    for start, schedule in zip(soc, POLICY.plan_now(asked).schedules, strict=True):
        low, high = min(10.0, start), max(90.0, start)
        for interval in schedule.intervals:
            assert -charge <= interval.power_kw <= 50.0
            assert low - 1e-6 <= interval.soc_end_pct <= high + 1e-6


def test_one_bad_site_is_named_and_does_not_stop_the_others() -> None:
    asked = request(
        [0.0, 300.0], capacity_kwh=[100.0, 0.0, 100.0], max_charge_kw=[50.0, 50.0, -1.0],
        degraded="2 prices are missing",
    )  # fmt: skip
    plan = POLICY.plan_now(asked)
    assert powers(plan.schedules[1]) == powers(plan.schedules[2]) == [0.0, 0.0]
    assert max(powers(plan.schedules[0])) == pytest.approx(50.0)
    assert plan.degraded == "2 prices are missing; values allow no plan, 0 kW for site-1, site-2"


def test_every_site_keeps_its_place_and_its_values() -> None:
    plan = POLICY.plan_now(request([0.0, 100.0, 300.0], soc_pct=[10.0, 50.0, 90.0]))
    assert [s.site_id for s in plan.schedules] == ["site-0", "site-1", "site-2"]
    revenues = [s.expected_revenue for s in plan.schedules]
    assert revenues == sorted(revenues)
    assert revenues[0] < revenues[2]


def test_the_expected_price_lies_between_the_quantiles() -> None:
    low, middle, high = np.array([0.0]), np.array([10.0]), np.array([100.0])
    band = QuantileForecast(NOON, NOON, NOON, HOUR, low, middle, high, "USD/MWh", "test")
    assert expected_price(band) == pytest.approx([34.0])


async def test_the_async_answer_is_the_same() -> None:
    asked = request([0.0, 100.0, 300.0])
    assert await POLICY.plan(asked) == POLICY.plan_now(asked)


def test_policies_are_found_by_name() -> None:
    assert isinstance(open_policy("linear"), LinearPolicy)
    with pytest.raises(ConfigError, match=r"'magic'.*use one of .*linear"):
        open_policy("magic")
