from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from bessai.control import SiteLoop
from bessai.model import (
    AutonomyLevel,
    FleetReply,
    Schedule,
    SiteState,
)
from tests.support.site_fakes import FakeDevice, FakeUplink, until
from tests.support.site_play import play
from tests.support.site_time import (
    stand_still,
    virtual_now,
)
from tests.support.site_values import MARKET_0, schedule


def test_a_site_follows_its_schedule_and_reports_it() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        assert loop.state is SiteState.STARTING
        await until(lambda: device.commanded_kw == 4.0)
        await asyncio.sleep(3)
        snapshot = loop.snapshot()
        assert snapshot.state is SiteState.RUNNING
        assert snapshot.autonomy is AutonomyLevel.FLEET
        assert snapshot.error is None
        assert snapshot.setpoint is not None
        assert snapshot.setpoint.reason == "schedule: discharge 4.0 kW until 13:00 UTC"
        assert snapshot.reading is not None
        assert snapshot.reading.active_power_kw == 4.0
        assert snapshot.reading.age_s < 1.1
        assert snapshot.schedule_age_s == pytest.approx(virtual_now() - 1000.0)
        assert snapshot.market_at == MARKET_0 + timedelta(
            seconds=virtual_now() - 1000.0 - snapshot.reading.age_s
        )
        sequences = [s.sequence for s in uplink.snapshots]
        assert sequences == sorted(set(sequences))

    play(script)


def test_cycles_keep_their_rate_without_drift() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await asyncio.sleep(100.5)
        assert device.reads == pytest.approx([1000.0 + n for n in range(101)])
        counters = loop.snapshot().counters
        assert (counters.cycles, counters.overruns) == (101, 0)
        assert counters.cycle_duration.total == 101
        assert counters.cycle_duration.counts[-1] == 101
        assert counters.cycle_duration.sum_s == pytest.approx(101 * 0.05)
        assert len(uplink.times) == pytest.approx(101, abs=2)

    play(script)


def test_a_slow_device_is_an_overrun_and_keeps_the_grid() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        device.read_s = 1.4
        await asyncio.sleep(9.9)
        assert device.reads == pytest.approx([1000, 1002, 1004, 1006, 1008])
        assert loop.snapshot().counters.overruns == 5

    play(script)


def test_the_dead_man_is_renewed_at_half_its_period() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        device.forced.dead_man_s = 120.0
        await until(lambda: device.commanded_kw == 4.0)
        await asyncio.sleep(200)
        times = [at for at, power in device.commands if power == 4.0]
        gaps = [b - a for a, b in pairwise(times)]
        assert len(gaps) == 3
        assert all(60 <= gap <= 61.1 for gap in gaps)
        writes = loop.snapshot().counters.writes
        assert writes["renew"] == 12
        assert "external" not in writes

    play(script)


def test_an_unreachable_site_says_so_and_comes_back_by_itself() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.fault = "dead"
        await until(lambda: loop.snapshot().state is SiteState.UNREACHABLE)
        before = len(uplink.snapshots)
        await asyncio.sleep(30)
        snapshot = loop.snapshot()
        assert snapshot.reading is None
        assert snapshot.setpoint is None
        assert snapshot.error == ("10.0.0.7:502: connection refused; trying again every 1 to 10 s")
        assert len(uplink.snapshots) - before == pytest.approx(30, abs=2)
        retries = [b - a for a, b in pairwise(device.connects)]
        assert 4 <= len(retries) <= 9
        assert max(retries) <= 11
        device.fault = None
        device.commanded_kw = None
        await until(lambda: loop.state is SiteState.RUNNING, limit_s=12)
        assert device.commands[-1][1] == 4.0
        counters = loop.snapshot().counters
        assert counters.reconnects == 1
        assert counters.read_failures == 1
        assert loop.snapshot().error is None

    play(script)


def test_a_site_that_never_answers_starts_as_unreachable() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: len(uplink.snapshots) > 3)
        assert uplink.snapshots[-1].state is SiteState.UNREACHABLE
        assert device.commands == []
        assert loop.snapshot().counters.reconnects == 0

    play(script, fault="dead")


def test_failed_reads_show_no_number_and_end_in_a_hold() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.fault = "busy"
        await asyncio.sleep(3)
        snapshot = loop.snapshot()
        assert snapshot.reading is None
        assert snapshot.state is SiteState.RUNNING
        assert snapshot.error == "read failed: device is busy; trying again in the next cycle"
        assert device.commanded_kw == 4.0
        await until(lambda: device.commanded_kw == 0.0, limit_s=9)
        assert loop.snapshot().counters.safety_blocks["stale_data"] > 0
        assert loop.state is SiteState.HOLDING
        await until(lambda: loop.state is SiteState.UNREACHABLE)
        device.fault = None
        await until(lambda: loop.state is SiteState.RUNNING)
        assert device.commanded_kw == 4.0

    play(script)


def test_a_hanging_read_ages_in_the_open_and_is_cut() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.fault = "hang"
        await asyncio.sleep(5)
        reading = loop.snapshot().reading
        assert reading is not None
        assert reading.age_s > 3
        assert virtual_now() - uplink.times[-1] < 2.2
        await until(lambda: loop.state is SiteState.UNREACHABLE, limit_s=8)
        assert loop.snapshot().reading is None

    play(script)


def test_garbage_holds_and_says_why() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.base = replace(device.base, soc_pct=None)
        await until(lambda: device.commanded_kw == 0.0)
        snapshot = loop.snapshot()
        assert snapshot.state is SiteState.HOLDING
        assert snapshot.error == "holding: state of charge is not available"
        assert snapshot.reading is not None
        assert snapshot.reading.soc_pct is None

    play(script)


def test_a_fault_of_the_battery_is_a_fault() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        device.base = replace(device.base, battery_status="fault", soc_pct=float("nan"))
        await until(lambda: loop.state is SiteState.FAULT)
        snapshot = loop.snapshot()
        assert snapshot.error == "holding: state of charge of nan % cannot be; battery is fault"
        assert snapshot.reading is not None
        assert snapshot.reading.soc_pct is None

    play(script)


def test_a_slow_fleet_never_delays_a_cycle() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        uplink.delay_s = 3.3
        await asyncio.sleep(30.5)
        assert device.reads == pytest.approx([1000.0 + n for n in range(31)])
        assert uplink.most_in_flight == 1
        assert 7 <= len(uplink.snapshots) <= 10
        ages = [s.reading.age_s for s in uplink.snapshots if s.reading is not None]
        assert max(ages) < 1.1

    play(script)


def test_without_the_fleet_autonomy_steps_down_to_the_cached_plan_and_then_to_hold() -> None:
    short: Schedule = schedule([4.0, -2.0], step=timedelta(seconds=30))

    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        uplink.down = True
        await asyncio.sleep(10)
        assert loop.snapshot().autonomy is AutonomyLevel.FLEET
        await until(lambda: loop.snapshot().autonomy is AutonomyLevel.CACHED_SCHEDULE)
        assert virtual_now() == pytest.approx(1016.5, abs=1.5)
        await until(lambda: device.commanded_kw == -2.0)
        await until(lambda: device.commanded_kw == 0.0)
        assert virtual_now() == pytest.approx(1061, abs=1.5)
        snapshot = loop.snapshot()
        assert (snapshot.state, snapshot.autonomy) == (SiteState.HOLDING, AutonomyLevel.HOLD)
        assert snapshot.setpoint is not None
        assert snapshot.setpoint.source == "hold"
        assert snapshot.setpoint.reason == (
            "hold: the fleet is silent and the schedule does not cover now"
        )
        holds = len(device.commands)
        await asyncio.sleep(65)
        assert [power for _, power in device.commands[holds:]] == [0.0]

    play(script, reply=FleetReply(short, 15.0))


def test_a_fleet_that_hangs_is_given_up_and_the_site_goes_on() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        uplink.delay_s = 1e6
        await asyncio.sleep(20)
        assert uplink.snapshots == []
        assert len(device.reads) == 20
        assert loop.state is SiteState.HOLDING
        uplink.delay_s = 0.0
        await until(lambda: loop.state is SiteState.RUNNING, limit_s=8)

    play(script)


def test_a_bug_in_the_uplink_ends_neither_cycles_nor_reports(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        uplink.bug = True
        await asyncio.sleep(10.5)
        assert len(device.reads) == 11
        uplink.bug = False
        await until(lambda: loop.state is SiteState.RUNNING, limit_s=3)

    with caplog.at_level(logging.ERROR, "bessai.control"):
        play(script)
    assert [r.message for r in caplog.records] == ["report failed: ZeroDivisionError: planted"]


def test_a_foreign_command_is_undone_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        await asyncio.sleep(2)
        device.commanded_kw = -3.0
        await until(lambda: device.commanded_kw == 4.0, limit_s=1.2)
        assert loop.snapshot().counters.writes["external"] == 4
        await asyncio.sleep(2)

    with caplog.at_level(logging.INFO, "bessai.control"):
        play(script)
    external = [r.getMessage() for r in caplog.records if "external" in r.message]
    assert external == [
        "external change: it holds -3 kW, 4.00 kW was commanded",
        "external change: over",
    ]


def test_a_refused_write_is_reported_and_repeated_with_patience() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        device.refuse = True
        await asyncio.sleep(20.5)
        snapshot = loop.snapshot()
        assert snapshot.error == "command not accepted: register 47247: exception 2"
        assert 3 <= snapshot.counters.write_failures <= 7
        device.refuse = False
        await until(lambda: device.commanded_kw == 4.0, limit_s=11)
        assert loop.snapshot().counters.writes["change"] == 4
        await until(lambda: loop.snapshot().error is None)

    play(script)


def test_a_battery_that_does_not_follow_is_reported_once() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        device.follows = False
        await asyncio.sleep(30)
        snapshot = loop.snapshot()
        assert snapshot.counters.verify_failures == 1
        assert snapshot.error == "battery does not follow: 4.00 kW commanded, 0.0 kW measured"
        device.follows = True
        await until(lambda: loop.snapshot().error is None)

    play(script)


def test_a_bug_in_a_cycle_does_not_end_the_site(caplog: pytest.LogCaptureFixture) -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.fault = "bug"
        await until(lambda: loop.state is SiteState.FAULT)
        snapshot = loop.snapshot()
        assert snapshot.reading is None
        assert snapshot.error is not None
        assert "ZeroDivisionError: planted" in snapshot.error
        assert snapshot.counters.safety_blocks["internal_fault"] == 1
        await asyncio.sleep(10)
        assert device.closed > 0
        device.fault = None
        await until(lambda: loop.state is SiteState.RUNNING)

    with caplog.at_level(logging.ERROR, "bessai.control"):
        play(script)
    crashes = [r for r in caplog.records if r.exc_info]
    assert len(crashes) == 1


def test_a_slow_device_never_gets_power_from_stale_data() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        device.read_s, device.register_s = 7.0, 1.5
        await asyncio.sleep(60)
        ages = [at - max(r for r in device.reads if r <= at) for at, kw in device.sent if kw]
        assert ages
        assert max(ages) <= 10.0
        assert device.commands == []
        snapshot = loop.snapshot()
        assert snapshot.error is not None
        assert "not written and read back within" in snapshot.error

    play(script)


def test_a_process_that_stood_still_does_not_finish_an_old_command() -> None:
    async def script(_: SiteLoop, device: FakeDevice, __: FakeUplink) -> None:
        device.register_s = 0.1
        await until(lambda: len(device.sent) == 1)
        stand_still(30.0)
        sent = len(device.sent)
        await until(lambda: len(device.reads) == 2)
        assert len(device.sent) == sent

    play(script)


def test_a_restarted_site_takes_up_its_plan_without_a_dip_to_rest() -> None:
    async def script(_: SiteLoop, device: FakeDevice, __: FakeUplink) -> None:
        device.commanded_kw = 4.0
        await until(lambda: len(device.commands) == 1)
        assert device.commands[0][1] == 4.0

    play(script)


def test_normal_cycles_log_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: loop.state is SiteState.RUNNING)
        await asyncio.sleep(3)
        caplog.clear()
        await asyncio.sleep(600)
        assert [r.getMessage() for r in caplog.records] == []

    with caplog.at_level(logging.DEBUG, "bessai.control"):
        play(script)
