"""A stop reaches its site, holds through everything, and is told as it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bessai.errors import ConfigError, StoreError
from bessai.fleet.views import StopView
from bessai.model import (
    AutonomyLevel,
    FleetReply,
    Freeze,
    Setpoint,
    SiteId,
    SiteSnapshot,
    StopOrder,
    Stops,
    Tenure,
)
from bessai.store.stops import Word
from tests.support.fleet_fakes import HOUR, T0, MemoryOrders
from tests.support.fleet_values import Rig, reading, snapshot

AT = datetime(2026, 1, 1, tzinfo=UTC)
REST = Setpoint(0.0, "operator", "stopped", None)
FREEZE = Freeze("intrusion", "writes from a stranger", AT, after_revision=0)


class Site:
    """A site that obeys as soon as it hears, as the real one does."""

    def __init__(self, rig: Rig, site_id: str = "a") -> None:
        self.rig, self.site_id = rig, site_id
        self.stops = Stops()
        self.deaf = False

    def report(self) -> FleetReply:
        reply = self.rig.fleet.report([self.snapshot()])[0]
        if not self.deaf:
            self.stops = self.stops.heard(reply.stop)
        return reply

    def snapshot(self) -> SiteSnapshot:
        self.rig.sequence += 1
        level = AutonomyLevel.SAFE_STOP if self.stops.active else AutonomyLevel.FLEET
        report = snapshot(self.site_id, self.rig.sequence, self.rig.clock.now(), reading())
        setpoint = REST if self.stops.active else report.setpoint
        return replace(report, stops=self.stops, autonomy=level, setpoint=setpoint)


def stop_of(rig: Rig, site_id: str = "a") -> StopView:
    found = rig.fleet.site(site_id).stop
    assert found is not None
    return found


async def test_a_stop_reaches_the_site_with_its_next_report_until_it_is_released() -> None:
    rig = Rig()
    site = Site(rig)
    assert site.report().stop is None
    assert rig.fleet.site("a").stop is None
    order = await rig.fleet.stop_site("a", "Ana", "smoke")
    assert (order.site_id, order.revision, order.stopped) == ("a", 1, True)
    assert (stop_of(rig).active, stop_of(rig).obeyed) == (True, False)
    assert rig.fleet.status().fallbacks[-1] == "stop or release not obeyed yet: a"
    assert site.report().stop == StopOrder(1, True, "Ana", "smoke", order.at)
    assert not stop_of(rig).obeyed, "the site heard it, but has not said so yet"
    site.report()
    assert stop_of(rig) == StopView(
        active=True, kind="operator", by="Ana", reason="smoke", at=order.at, revision=1, obeyed=True
    )
    await rig.fleet.release_site("a", "Ben", "no smoke")
    assert (stop_of(rig).active, stop_of(rig).obeyed) == (False, False)
    site.report()
    site.report()
    assert (stop_of(rig).by, stop_of(rig).active, stop_of(rig).obeyed) == ("Ben", False, True)


async def test_a_site_that_heard_but_does_not_rest_does_not_obey() -> None:
    rig = Rig()
    site = Site(rig)
    await rig.fleet.stop_site("a", "Ana", "smoke")
    site.report()
    rig.fleet.report([replace(site.snapshot(), autonomy=AutonomyLevel.FLEET)])
    assert not stop_of(rig).obeyed
    for setpoint in (None, replace(REST, power_kw=0.1)):  # None: it may not or cannot write
        rig.fleet.report([replace(site.snapshot(), setpoint=setpoint)])
        assert not stop_of(rig).obeyed
    rig.fleet.report([site.snapshot()])
    assert stop_of(rig).obeyed


async def test_a_stop_survives_the_fleet_and_a_deaf_site_is_told_again() -> None:
    rig = Rig()
    site = Site(rig)
    await rig.fleet.stop_site("a", "Ana", "smoke")
    again = Rig(orders=rig.orders)
    site.rig, site.deaf = again, True
    assert bool(again.fleet._state.stopped[0]), "before the first report"
    for _ in range(3):
        reply = site.report()
        assert reply.stop is not None
        assert reply.stop.stopped
        assert not stop_of(again).obeyed


async def test_an_order_that_cannot_be_stored_orders_nothing() -> None:
    rig = Rig(site_ids=("a", "b"))
    rig.orders.broken = True
    with pytest.raises(StoreError, match="disk full"):
        await rig.fleet.stop_fleet("Ana", "storm")
    rig.orders.broken = False
    assert [reply.stop for reply in (Site(rig).report(), Site(rig, "b").report())] == [None, None]
    assert rig.orders.count() == 0


async def test_an_unknown_site_is_refused_and_nothing_is_stored() -> None:
    rig = Rig()
    for order in (rig.fleet.stop_site, rig.fleet.release_site):
        with pytest.raises(ConfigError, match="'ghost'"):
            await order("ghost", "Ana", "smoke")
    assert rig.orders.count() == 0


async def test_the_whole_fleet_is_stopped_and_released() -> None:
    rig = Rig(site_ids=("a", "b"))
    sites = [Site(rig, "a"), Site(rig, "b")]
    given = await rig.fleet.stop_fleet("Ana", "storm")
    assert [(o.site_id, o.stopped) for o in given.orders] == [("a", True), ("b", True)]
    for site in sites * 2:
        site.report()
    assert all(view.stop and view.stop.obeyed for view in rig.fleet.sites().sites)
    await rig.fleet.release_fleet("Ana", "calm")
    for site in sites * 2:
        site.report()
    assert [site.stops.active for site in sites] == [False, False]


async def test_a_stopped_site_is_left_out_of_planning_and_flexibility_and_says_so() -> None:
    rig = Rig(site_ids=("a", "b"))
    sites = [Site(rig, "a"), Site(rig, "b")]
    for site in sites:
        site.report()
    await rig.fleet.plan_if_due()
    before = rig.fleet.fleet().flexibility
    assert before is not None
    await rig.fleet.stop_site("a", "Ana", "smoke")
    flexibility = rig.fleet.fleet().flexibility
    assert flexibility is not None
    assert flexibility.up_kw == before.up_kw / 2
    assert (rig.fleet.schedule("a"), len(rig.fleet.schedules().schedules)) == (None, 1)
    replies = [site.report() for site in sites]
    assert [reply.schedule is None for reply in replies] == [True, False]
    rig.pass_s(2, market=HOUR)
    for site in sites:
        site.report()
    await rig.fleet.plan_if_due()
    assert list(rig.dispatch.requests[-1].site_ids) == ["b"]
    assert "sites stopped, left out of planning: a" in rig.fleet.status().fallbacks
    await rig.fleet.release_site("a", "Ana", "no smoke")
    assert rig.fleet.schedule("a") is None, "it has not said yet that it heard"
    rig.pass_s(2)
    sites[0].report()
    sites[0].report()
    await rig.fleet.plan_if_due()
    assert list(rig.dispatch.requests[-1].site_ids) == ["a", "b"]
    assert rig.fleet.schedule("a") is not None


def test_a_freeze_of_the_site_itself_counts_and_only_a_release_ends_it() -> None:
    rig = Rig()
    site = Site(rig)
    site.stops = Stops(freeze=FREEZE)
    site.report()
    shown = stop_of(rig)
    assert (shown.kind, shown.by, shown.active, shown.obeyed) == ("freeze", "intrusion", True, True)
    assert rig.fleet.fleet().flexibility is None
    asyncio.run(rig.fleet.stop_site("a", "Ana", "look at it"))
    site.report()
    site.report()
    assert (stop_of(rig).kind, stop_of(rig).obeyed) == ("freeze", True)
    asyncio.run(rig.fleet.release_site("a", "Ana", "it was us"))
    site.report()
    site.report()
    assert not site.stops.active
    assert (stop_of(rig).active, stop_of(rig).obeyed) == (False, True)


def test_a_release_is_newer_than_all_that_a_site_heard_from_a_lost_store() -> None:
    rig = Rig()
    site = Site(rig)
    order = StopOrder(41, True, "Ana", "smoke", AT)
    site.stops = Stops(order, replace(FREEZE, after_revision=57))
    site.report()
    assert stop_of(rig).active
    assert asyncio.run(rig.fleet.release_site("a", "Ben", "no smoke")).revision == 58
    site.report()
    assert not site.stops.active


def test_a_silent_site_keeps_its_stop_and_does_not_obey() -> None:
    rig = Rig()
    site = Site(rig)
    site.stops = Stops(freeze=FREEZE)
    site.report()
    rig.pass_s(11)
    assert (stop_of(rig).active, stop_of(rig).obeyed) == (True, False)


def test_a_site_that_only_reads_has_no_flexibility_and_is_named() -> None:
    rig = Rig()
    report = replace(
        snapshot("a", 1, T0, reading()), tenure=Tenure.PROBATION, tenure_reason="80 s", epoch=4
    )
    rig.fleet.report([report])
    site = rig.fleet.site("a")
    assert (site.tenure, site.tenure_reason, site.epoch) == (Tenure.PROBATION, "80 s", 4)
    assert rig.fleet.fleet().flexibility is None
    assert "sites that only read: a" in rig.fleet.status().fallbacks


def test_level_cause_and_intrusion_of_a_live_site_are_shown_and_of_a_silent_one_are_not() -> None:
    rig = Rig()
    report = replace(
        snapshot("a", 1, T0, reading()),
        autonomy=AutonomyLevel.LOCAL_POLICY,
        autonomy_cause="the plan has ended",
        autonomy_since=AT,
        intrusion_score=0.25,
        intrusion=("odd cadence",),
    )
    rig.fleet.report([report])
    site = rig.fleet.site("a")
    assert (site.autonomy_cause, site.autonomy_since) == ("the plan has ended", AT)
    assert (site.intrusion_score, site.intrusion) == (0.25, ["odd cadence"])
    assert "sites on local_policy: a" in rig.fleet.status().fallbacks
    rig.pass_s(11)
    site = rig.fleet.site("a")
    known = [site.autonomy_cause, site.autonomy_since, site.tenure, site.epoch, site.stop]
    assert [*known, site.intrusion_score, site.intrusion] == [None] * 6 + [[]]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the store has no event
            await asyncio.sleep(0.02)


def hears(rig: Rig) -> bool:
    return Site(rig).report().stop is not None


def blames_the_store(rig: Rig) -> bool:
    return any(line.startswith("store: stop orders:") for line in rig.fleet.status().fallbacks)


class SlowOrders(MemoryOrders):
    """A store that writes only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def add(self, floors: Mapping[SiteId, int], word: Word) -> Mapping[SiteId, StopOrder]:
        self.gate.wait(10)
        return super().add(floors, word)


async def test_an_order_whose_caller_went_away_is_heard_once_it_is_stored() -> None:
    orders = SlowOrders()
    rig = Rig(orders=orders)
    asked = asyncio.create_task(rig.fleet.stop_site("a", "Ana", "smoke"))
    await asyncio.sleep(0.05)
    assert Site(rig).report().stop is None, "nobody hears of an order before it is stored"
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    orders.gate.set()
    await until(lambda: hears(rig))


async def test_an_order_that_another_process_stored_is_heard_too() -> None:
    rig = Rig()
    work = asyncio.create_task(rig.fleet.run())
    await asyncio.sleep(0.05)
    rig.orders.broken = True
    await until(lambda: blames_the_store(rig))
    rig.orders.broken = False
    await Rig(orders=rig.orders).fleet.stop_site("a", "Ana", "by the other process")
    await until(lambda: hears(rig))
    await until(lambda: not blames_the_store(rig))
    await rig.fleet.stop()
    await work
