from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from bessai.model import DispatchPlan, DispatchRequest, PastPrices, QuantileForecast, SiteId
from tests.support.fleet_fakes import HOUR, FakeDispatch, FakeForecast, FakePrices, model_error
from tests.support.fleet_values import Rig, reading


async def planned_rig(*site_ids: str, speed: float = 1.0) -> Rig:
    rig = Rig(site_ids=site_ids or ("a",), speed=speed)
    for site_id in rig.site_ids:
        rig.report(reading(soc_pct=50.0), site_id)
    await rig.fleet.plan_if_due()
    assert rig.fleet.fleet().plan_error is None
    return rig


class EndedPrices(FakePrices):
    """A source that still answers with its last prices after its end."""

    def past(self, as_of: datetime) -> PastPrices:
        newest = min(as_of, self.coverage[1] + HOUR)
        return replace(super().past(newest), as_of=as_of)


async def replans(rig: Rig) -> bool:
    before = rig.forecast.calls
    await rig.fleet.plan_if_due()
    return rig.forecast.calls > before


async def test_a_plan_carries_the_state_and_limits_of_plannable_sites_only() -> None:
    rig = Rig(site_ids=("a", "b", "c"))
    rig.report(reading(soc_pct=42.0), "a")
    rig.report(reading(soc_pct=None), "b")
    await rig.fleet.plan_if_due()
    request = rig.dispatch.requests[0]
    assert request.site_ids == ("a",)
    assert request.soc_pct.tolist() == [42.0]
    assert request.capacity_kwh.tolist() == [100.0]
    assert request.max_discharge_kw.tolist() == [50.0]
    assert request.market_now == rig.clock.now()
    assert request.forecast.n_steps == 24
    reply = rig.report(reading(), "a")
    assert reply.lease_s == 15.0
    assert reply.schedule is not None
    assert reply.schedule.site_id == "a"
    assert rig.report(reading(soc_pct=None), "b").schedule is None


async def test_nothing_new_is_no_reason_to_plan() -> None:
    rig = await planned_rig()
    rig.pass_s(5)
    rig.report(reading(soc_pct=50.0))
    assert not await replans(rig)
    assert rig.fleet.fleet().plan_version == 1


async def test_a_new_step_is_planned() -> None:
    rig = await planned_rig()
    rig.pass_s(2, market=HOUR)
    assert await replans(rig)
    assert rig.fleet.fleet().plan_version == 2


async def test_a_price_that_is_published_within_a_step_is_planned() -> None:
    rig = Rig(publication_delay_h=0.5)
    rig.report(reading())
    rig.pass_s(2, market=timedelta(minutes=29))
    assert await replans(rig)
    rig.pass_s(2, market=timedelta(minutes=1))
    assert await replans(rig)
    rig.pass_s(2, market=timedelta(minutes=29))
    assert not await replans(rig)


async def test_a_site_that_becomes_plannable_is_planned() -> None:
    rig = await planned_rig("a", "b")
    rig.pass_s(2)
    rig.report(None, "b")
    assert not await replans(rig)
    rig.pass_s(2)
    rig.report(reading(), "b")
    assert await replans(rig)


@pytest.mark.parametrize(
    ("soc_pct", "speed", "again"),
    [(55.0, 1.0, False), (39.0, 1.0, True), (61.0, 1.0, True), (61.0, 600.0, False)],
)
async def test_a_site_off_its_plan_is_planned_anew(
    soc_pct: float, speed: float, again: bool
) -> None:
    rig = await planned_rig(speed=speed)
    rig.pass_s(2, market=timedelta(minutes=20))
    rig.report(reading(soc_pct=soc_pct))
    assert await replans(rig) is again


async def test_plans_are_at_least_a_second_apart() -> None:
    rig = await planned_rig()
    rig.pass_s(0.9, market=HOUR)
    assert not await replans(rig)
    rig.pass_s(0.2)
    assert await replans(rig)


async def test_a_failed_dispatch_keeps_the_old_schedules_and_says_so() -> None:
    rig = await planned_rig()
    before = rig.fleet.schedules().schedules
    rig.dispatch.error = model_error()
    rig.pass_s(2, market=HOUR)
    await rig.fleet.plan_if_due()
    fleet = rig.fleet.fleet()
    assert fleet.plan_error == "the model is not there"
    assert fleet.plan_version == 2  # the forecast is new
    assert rig.fleet.schedules().schedules == before
    assert rig.report(reading()).schedule is not None
    assert "planning: the model is not there" in rig.fleet.status().fallbacks


async def test_failures_back_off_and_recover() -> None:
    rig = Rig()
    rig.report(reading())
    rig.forecast.error = model_error()
    tries = []
    for second in range(40):
        if await replans(rig):
            tries.append(second)
        rig.pass_s(1)
        rig.report(reading())
    assert tries == [0, 1, 3, 7, 15, 31]
    assert "bessai_plan_failures_total 6.0" in rig.fleet.metrics_text()
    rig.forecast.error = None
    rig.pass_s(30)
    rig.report(reading())
    assert await replans(rig)
    assert rig.fleet.fleet().plan_error is None
    rig.forecast.error = model_error()
    rig.pass_s(2, market=HOUR)
    assert await replans(rig)
    rig.pass_s(1)
    assert await replans(rig), "after a success the waits begin anew"


async def test_prices_that_are_not_known_are_a_plan_error() -> None:
    rig = Rig(prices=FakePrices([40.0] * 24))
    await rig.fleet.plan_if_due()
    error = rig.fleet.fleet().plan_error
    assert error is not None
    assert "no price known" in error


class NanDispatch(FakeDispatch):
    async def plan(self, request: DispatchRequest) -> DispatchPlan:
        self.power_kw = float("nan")
        return await super().plan(request)


class DeafDispatch(FakeDispatch):
    async def plan(self, request: DispatchRequest) -> DispatchPlan:
        return DispatchPlan(schedules=(), source="deaf")


@pytest.mark.parametrize(
    ("dispatch", "text"), [(NanDispatch(), "not numbers"), (DeafDispatch(), "does not answer for")]
)
async def test_a_plan_that_is_unusable_is_refused(dispatch: FakeDispatch, text: str) -> None:
    rig = Rig(dispatch=dispatch)
    rig.report(reading())
    await rig.fleet.plan_if_due()
    assert text in str(rig.fleet.fleet().plan_error)
    assert rig.fleet.schedules().schedules == []


class SlowForecast(FakeForecast):
    """Counts how many calls are under way at once."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.most = self.running = 0

    async def forecast(self, past: PastPrices, horizon_steps: int) -> QuantileForecast:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.go_on.wait()
        self.running -= 1
        return await super().forecast(past, horizon_steps)


async def test_two_plans_never_overlap() -> None:
    slow = SlowForecast()
    rig = Rig(forecast=slow)
    rig.report(reading())
    first = asyncio.create_task(rig.fleet.plan_if_due())
    await asyncio.sleep(0)
    rig.pass_s(5, market=HOUR)
    await rig.fleet.plan_if_due()
    slow.go_on.set()
    await first
    assert slow.most == 1
    assert rig.fleet.schedule("a") is not None


async def test_a_site_without_a_reading_keeps_its_old_schedule() -> None:
    rig = await planned_rig("a", "b")
    rig.pass_s(2, market=HOUR)
    rig.report(None, "a")
    rig.report(reading(), "b")
    await rig.fleet.plan_if_due()
    assert rig.dispatch.requests[-1].site_ids == (SiteId("b"),)
    kept = rig.fleet.schedule("a")
    assert kept is not None
    assert kept.schedule_id == "a@1"


async def test_prices_that_ended_end_the_planning_and_say_so() -> None:
    rig = Rig(prices=EndedPrices([40.0] * 24 * 7))  # the last one is published at T0 + 1 h
    rig.report(reading())
    rig.pass_s(2, market=49 * HOUR)
    rig.report(reading())
    assert await replans(rig)
    assert rig.fleet.fleet().plan_error is None
    rig.pass_s(2, market=HOUR)
    rig.report(reading())
    assert not await replans(rig)
    error = rig.fleet.fleet().plan_error
    assert error is not None
    assert "no price was published since 2024-03-01T01:00+00:00" in error
    assert not next(c for c in rig.fleet.health().checks if c.name == "planning").ok
