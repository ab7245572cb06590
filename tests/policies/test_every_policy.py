"""What every dispatch policy must keep; a new module in ``bessai/policies`` is tested unasked."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bessai.errors import ModelError
from bessai.model import DISPATCH_SOURCE
from bessai.plugins import known_plugins
from bessai.policies import open_policy
from bessai.ports import DispatchModel
from tests.support.dispatch import NOON, request

NAMES = known_plugins("bessai.policies", "open_policy")
SLACK = 1e-6
prices = st.lists(st.floats(-100, 400), min_size=2, max_size=8)
anywhere = st.lists(st.floats(0, 100), min_size=1, max_size=3)
inside = st.lists(st.floats(10, 90), min_size=1, max_size=3)
late = st.floats(0, 59)


@pytest.fixture(params=NAMES)
def policy(request: pytest.FixtureRequest) -> DispatchModel:
    return open_policy(request.param)


def lasting(count: int) -> settings:
    return settings(
        max_examples=count, deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )  # fmt: skip


def test_there_is_a_policy() -> None:
    assert "linear" in NAMES


@given(prices=prices, soc_pct=anywhere, late_min=late)
@lasting(25)
async def test_each_site_gets_one_gapless_schedule_inside_its_power(
    policy: DispatchModel, prices: list[float], soc_pct: list[float], late_min: float
) -> None:
    asked = request(prices, soc_pct=soc_pct, late_min=late_min, max_charge_kw=30.0)
    plan = await policy.plan(asked)
    assert tuple(schedule.site_id for schedule in plan.schedules) == asked.site_ids
    for schedule in plan.schedules:
        starts = [interval.start for interval in schedule.intervals]
        ends = [interval.end for interval in schedule.intervals]
        assert starts == [asked.market_now, *ends[:-1]]
        assert ends[-1] == NOON + len(prices) * asked.forecast.step
        powers = [interval.power_kw for interval in schedule.intervals]
        assert -30.0 - SLACK <= min(powers) <= max(powers) <= 50.0 + SLACK
        assert (schedule.source, schedule.currency) == (DISPATCH_SOURCE, "USD")


@given(prices=prices, soc_pct=inside, late_min=late, rte=st.floats(60, 100))
@lasting(25)
async def test_the_charge_stays_in_its_band_and_follows_the_power(
    policy: DispatchModel, prices: list[float], soc_pct: list[float], late_min: float, rte: float
) -> None:
    asked = request(
        prices, soc_pct=soc_pct, late_min=late_min, round_trip_efficiency_pct=rte,
    )  # fmt: skip
    one_way = (rte / 100) ** 0.5
    for at, schedule in enumerate((await policy.plan(asked)).schedules):
        expected = float(asked.soc_pct[at])
        for interval in schedule.intervals:
            hours = (interval.end - interval.start).total_seconds() / 3600
            power = interval.power_kw
            # 100 kWh: one kWh in the cells is one percent.
            expected -= hours * (power / one_way if power > 0 else power * one_way)
            assert interval.soc_end_pct == pytest.approx(expected, abs=1e-3)
            assert 10.0 - SLACK <= interval.soc_end_pct <= 90.0 + SLACK


async def test_a_lesser_forecast_is_passed_on(policy: DispatchModel) -> None:
    plan = await policy.plan(request([0.0, 100.0], degraded="2 prices are missing"))
    assert plan.degraded is not None
    assert "2 prices are missing" in plan.degraded


async def test_a_forecast_for_another_time_is_refused(policy: DispatchModel) -> None:
    with pytest.raises(ModelError, match="market_now"):
        await policy.plan(request([10.0, 20.0], late_min=120.0))
