from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from bessai.errors import ConfigError
from bessai.fleet.views import View
from bessai.model import AutonomyLevel, SiteId, SiteState
from tests.support.fleet_fakes import HOUR, T0, FakeDispatch, FakePrices, MemoryStore, model_error
from tests.support.fleet_values import Rig, reading, snapshot


def numbers_in(value: object) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from numbers_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from numbers_in(inner)


def all_views(rig: Rig) -> list[View]:
    fleet = rig.fleet
    plans: list[View] = [p for s in rig.site_ids if (p := fleet.schedule(s)) is not None]
    return [
        fleet.live(),
        fleet.status(),
        fleet.sites(),
        fleet.schedules(),
        fleet.price(),
        fleet.health(),
        *plans,
        *(fleet.history(s) for s in rig.site_ids),
    ]


async def test_views_never_hold_a_number_that_is_none() -> None:
    gaps = [math.nan if k % 3 == 0 else 40.0 for k in range(24 * 30)]
    rig = Rig(site_ids=("a", "b", "c"), prices=FakePrices(gaps))
    rig.report(reading(soc_pct=math.nan, power_kw=math.inf), "a")
    rig.report(reading(), "b")
    rig.pass_s(1)
    rig.fleet.report([replace(snapshot("a", 99, rig.clock.now()), schedule_age_s=math.nan)])
    await rig.fleet.plan_if_due()
    for view in all_views(rig):
        assert all(map(math.isfinite, numbers_in(view.model_dump())))
        json.loads(view.model_dump_json(), parse_constant=pytest.fail)


def test_a_fresh_site_shows_its_numbers_and_its_reason() -> None:
    rig = Rig()
    rig.report(reading(soc_pct=50.0, power_kw=10.0))
    site = rig.fleet.site("a")
    assert (site.soc_pct, site.active_power_kw, site.capacity_kwh) == (50.0, 10.0, 100.0)
    assert (site.setpoint_kw, site.setpoint_reason) == (10.0, "by plan")
    assert site.address == "127.0.0.1:1502"
    assert site.counters is not None
    assert site.counters.cycles == 7
    assert [n.code for n in site.narrowings] == ["soc_high"]
    assert site.reading_age_s == pytest.approx(0.1)


def test_a_silent_site_keeps_nothing_but_its_name_and_earnings() -> None:
    rig = Rig(site_ids=("a", "b"))
    rig.report(reading(exported_wh=0))
    rig.pass_s(60)
    rig.report(reading(exported_wh=500))
    rig.pass_s(11)
    rig.report(reading(), "b")
    site = rig.fleet.site("a")
    assert site.state is SiteState.SILENT
    assert site.error == "no report for 11 s"
    unknown = [site.soc_pct, site.active_power_kw, site.setpoint_kw, site.bounds, site.counters]
    assert [*unknown, site.autonomy, site.reading_age_s] == [None] * 7
    assert site.alarms == []
    assert site.earnings.exported_kwh == 0.5
    fleet = rig.fleet.fleet()
    assert (fleet.sites_reporting, fleet.capacity_kwh) == (1, 100.0)
    assert fleet.sites_by_state == {"silent": 1, "running": 1}
    assert "sites silent: a" in rig.fleet.status().fallbacks


def test_an_unreachable_site_shows_no_numbers() -> None:
    rig = Rig()
    rig.report(reading())
    gone = snapshot("a", 2, T0, None, SiteState.UNREACHABLE)
    rig.fleet.report([replace(gone, error="no answer from 127.0.0.1:1502")])
    site = rig.fleet.site("a")
    assert site.error == "no answer from 127.0.0.1:1502"
    assert site.soc_pct is None
    assert site.battery_status is None
    health = rig.fleet.health()
    assert not health.checks[0].ok
    assert "unreachable: a" in health.checks[0].detail


def test_an_unknown_site_is_named() -> None:
    rig = Rig()
    for ask in (rig.fleet.site, rig.fleet.history, rig.fleet.schedule):
        with pytest.raises(ConfigError, match="'ghost'"):
            ask("ghost")
    with pytest.raises(ConfigError, match="'ghost'"):
        rig.fleet.report([snapshot("ghost")])


def test_earnings_follow_the_meter_and_the_price() -> None:
    rig = Rig(prices=FakePrices([40.0] * 24 * 7 + [100.0] * 48))
    rig.report(reading(exported_wh=10_000, imported_wh=0))
    rig.pass_s(1, market=HOUR)
    rig.report(reading(exported_wh=40_000, imported_wh=1_000))
    earnings = rig.fleet.fleet().earnings
    assert (earnings.exported_kwh, earnings.imported_kwh) == (30.0, 1.0)
    assert earnings.amount == pytest.approx(2.9)
    assert rig.fleet.fleet().price_now == 100.0


async def test_a_restart_continues_where_it_was_saved() -> None:
    store = MemoryStore()
    rig = Rig(store=store)
    rig.report(reading(exported_wh=0))
    rig.pass_s(1, market=HOUR)
    rig.report(reading(exported_wh=10_000))
    await rig.fleet.save()
    rig.pass_s(1, market=HOUR)
    rig.report(reading(exported_wh=15_000))  # never saved: the process dies here
    again = Rig(store=store)
    again.pass_s(1, market=3 * HOUR)
    again.report(reading(exported_wh=20_000))
    assert again.fleet.fleet().earnings.exported_kwh == 20.0
    assert again.fleet.fleet().earnings.amount == pytest.approx(0.8)


async def test_a_broken_store_is_said_and_loses_nothing() -> None:
    rig = Rig()
    rig.store.broken = True
    rig.report(reading(exported_wh=0))
    rig.pass_s(1, market=HOUR)
    rig.report(reading(exported_wh=7_000))
    await rig.fleet.save()
    assert any(line.startswith("store: ") for line in rig.fleet.status().fallbacks)
    assert [c.name for c in rig.fleet.health().checks if not c.ok] == ["planning", "store"]
    rig.store.broken = False
    await rig.fleet.save()
    assert rig.store.accounts[SiteId("a")].exported_wh == 7_000
    assert not any(line.startswith("store: ") for line in rig.fleet.status().fallbacks)


def test_a_store_in_another_currency_is_refused() -> None:
    rig = Rig()
    rig.report(reading(exported_wh=0))
    asyncio.run(rig.fleet.save())
    with pytest.raises(ConfigError, match="accounts in USD"):
        Rig(store=rig.store, prices=FakePrices([1.0], currency="EUR", unit="EUR/MWh"))


def test_a_price_in_another_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match="EUR/kWh"):
        Rig(prices=FakePrices([1.0], currency="EUR", unit="EUR/kWh"))


async def test_price_shows_published_steps_only_and_gaps_as_null() -> None:
    values = [float(k) for k in range(24 * 9)]
    values[24 * 7 - 3] = math.nan
    rig = Rig(prices=FakePrices(values))
    rig.pass_s(0, market=timedelta(minutes=30))
    await rig.fleet.plan_if_due()
    price = rig.fleet.price()
    assert price.history[-1].start == T0 - 2 * HOUR  # ended at -1 h, published at 0 h
    assert price.history[0].start >= price.market_now - timedelta(days=1)
    assert [p.price for p in price.history if p.start == T0 - 3 * HOUR] == [None]
    assert len(price.history) == 22
    assert price.forecast is not None
    assert price.forecast.steps[0].start == T0
    assert len(price.forecast.steps) == 24


def test_without_a_published_price_there_is_no_history_and_health_says_so() -> None:
    rig = Rig(prices=FakePrices([40.0] * 24))
    assert rig.fleet.price().history == []
    assert rig.fleet.fleet().price_now is None
    check = {c.name: c for c in rig.fleet.health().checks}["prices"]
    assert not check.ok
    assert "no price known" in check.detail


@pytest.mark.parametrize(("gaps", "ok"), [(12, True), (13, False)])
def test_too_many_price_gaps_in_a_day_are_said(gaps: int, ok: bool) -> None:
    known = 24 * 7 - gaps - 1  # the newest hour before T0 is not published yet
    rig = Rig(prices=FakePrices([40.0] * known + [math.nan] * gaps + [40.0] * 24))
    check = next(c for c in rig.fleet.health().checks if c.name == "prices")
    assert check.ok is ok
    assert check.detail.startswith(f"{24 - gaps} of the last 24 prices known, newest published")


def test_a_site_whose_reading_grew_old_shows_none_of_it() -> None:
    rig = Rig()
    rig.report(reading())
    assert rig.fleet.site("a").battery_status == "running"
    rig.pass_s(9.95)
    site = rig.fleet.site("a")
    assert site.state is SiteState.RUNNING
    assert (site.soc_pct, site.battery_status, site.alarms) == (None, None, [])


def test_history_is_one_point_per_report_at_high_speed_and_a_day_long() -> None:
    rig = Rig(speed=600.0)
    for _ in range(200):
        rig.report(reading())
        rig.pass_s(1)
    points = rig.fleet.history("a").points
    assert len(points) == 145  # a day of ten minutes each, both ends
    assert points[-1].market_at - points[0].market_at == timedelta(days=1)


def test_history_is_thinned_at_live_speed_and_shows_gaps() -> None:
    rig = Rig()
    for second in range(300):
        rig.report(None if 100 <= second < 200 else reading())
        rig.pass_s(1)
    points = rig.fleet.history("a").points
    assert [p.soc_pct for p in points] == [50.0, 50.0, None, None, 50.0]


async def becomes(rig: Rig, status: str) -> None:
    for _ in range(200):
        if rig.fleet.health().status == status:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"health stays {rig.fleet.health()}")


async def test_health_goes_from_down_over_degraded_to_ok() -> None:
    rig = Rig()
    assert rig.fleet.health().status == "down"
    rig.report(reading())
    assert rig.fleet.health().status == "degraded"
    work = asyncio.create_task(rig.fleet.run())
    await becomes(rig, "ok")
    rig.dispatch.error = model_error()
    rig.pass_s(2, market=HOUR)
    rig.report(reading())
    await becomes(rig, "degraded")
    await rig.fleet.stop()
    await work
    assert "not running" in rig.fleet.health().checks[1].detail


async def test_stop_saves_what_is_not_saved_and_cancel_ends_run() -> None:
    rig = Rig()
    work = asyncio.create_task(rig.fleet.run())
    await asyncio.sleep(0.05)
    rig.report(reading(exported_wh=5))
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await rig.fleet.stop()
    assert rig.store.accounts[SiteId("a")].meter.exported_wh == 5


def test_lesser_autonomy_and_degraded_models_are_listed() -> None:
    rig = Rig(site_ids=("a", "b"))
    rig.forecast.degraded = "only 3 days of prices"
    for site_id in rig.site_ids:
        report = replace(snapshot(site_id, 1, T0, reading()), autonomy=AutonomyLevel.HOLD)
        rig.fleet.report([report])
    asyncio.run(rig.fleet.plan_if_due())
    status = rig.fleet.status()
    assert status.fallbacks == ["price: only 3 days of prices", "sites on hold: a, b"]
    assert (status.price_source, status.dispatch_source) == ("flat-1", "flat-plan")


@pytest.mark.parametrize(
    ("forecast", "dispatch", "lines"),
    [
        ("few prices", "few prices", ["price: few prices"]),
        (None, "0 kW for a", ["dispatch: 0 kW for a"]),
        ("few prices", None, ["price: few prices"]),
        (None, None, []),
    ],
)
async def test_each_fallback_is_said_once(
    forecast: str | None, dispatch: str | None, lines: list[str]
) -> None:
    rig = Rig()
    rig.forecast.degraded, rig.dispatch.degraded = forecast, dispatch
    rig.report(reading())
    await rig.fleet.plan_if_due()
    assert rig.fleet.status().fallbacks == lines


def test_an_own_schedule_reaches_each_site() -> None:
    rig = Rig(site_ids=("a", "b"), dispatch=FakeDispatch())
    rig.fleet.report([snapshot(s, 1, T0, reading()) for s in rig.site_ids])
    asyncio.run(rig.fleet.plan_if_due())
    replies = rig.fleet.report([snapshot(s, 2, T0, reading()) for s in ("b", "a")])
    assert [r.schedule.site_id for r in replies if r.schedule] == ["b", "a"]
