"""One battery, one master: the loop in virtual time with authorities of every kind."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bessai.control import SiteLoop
from bessai.control.ownership import SEEN_FREE_S, OwnershipRules
from bessai.model import (
    AutonomyLevel,
    Bounds,
    CauseId,
    FleetReply,
    Freeze,
    Owner,
    Priority,
    Proposal,
    SiteLimits,
    SiteState,
    StopOrder,
    Telemetry,
    Tenure,
)
from bessai.model.outcome import ApplyOutcome
from bessai.units import MonotonicS
from tests.support.site_fakes import FakeAuthority, FakeDevice, FakeUplink, until
from tests.support.site_play import LEASED, PLAN, guards, play, site_loop
from tests.support.site_time import WALL_0, run_virtual, stand_still, virtual_now

ELSEWHERE = Owner("there", 4, "old")


def tenure(loop: SiteLoop) -> Tenure:
    return loop.snapshot().tenure


def order(revision: int, *, stopped: bool) -> StopOrder:
    return StopOrder(revision, stopped, "Ana", "smoke" if stopped else "all clear", WALL_0)


def sent_since(device: FakeDevice, at: float) -> list[tuple[float, float]]:
    return [(when, kw) for when, kw in device.sent if when > at]


def test_a_process_that_stood_still_in_a_write_ends_it_and_asks_first() -> None:
    authority = FakeAuthority()

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        device.register_s = 0.1
        authority.delay_s = 2.5
        await until(lambda: len(device.sent) == 2)
        stand_still(30.0)
        woke = virtual_now()
        await until(lambda: tenure(loop) is Tenure.UNCONFIRMED, limit_s=3)
        await until(lambda: bool(sent_since(device, woke)))
        asked = [at for at in authority.asked if at >= woke]
        assert sent_since(device, woke)[0][0] >= asked[0] + 2.5
        assert tenure(loop) is Tenure.OWNER

    play(script, authority=authority)


def test_woken_without_an_authority_it_reads_until_the_device_was_free_for_the_whole_period() -> (
    None
):
    authority = FakeAuthority()

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        device.forced.dead_man_s = 120.0
        await until(lambda: device.commanded_kw == 4.0)
        authority.down = True
        stand_still(5.0)
        woke = virtual_now()
        await until(lambda: bool(sent_since(device, woke)), limit_s=400)
        assert virtual_now() - woke == pytest.approx(120 + 120 - 5, abs=4)
        assert tenure(loop) is Tenure.OWNER

    play(script, authority=authority)


def test_an_authority_that_is_away_changes_no_cycle() -> None:
    authority = FakeAuthority()

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        authority.down = True
        since = virtual_now()
        await asyncio.sleep(600)
        assert tenure(loop) is Tenure.OWNER
        assert len({at for at, _ in sent_since(device, since)}) == 10
        assert loop.state is SiteState.RUNNING

    play(script, authority=authority)


@pytest.mark.parametrize("away", [False, True])
def test_after_a_new_connection_the_epoch_is_confirmed_before_the_next_write(away: bool) -> None:
    authority = FakeAuthority()

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.fault = "dead"
        await until(lambda: loop.state is SiteState.UNREACHABLE)
        device.fault, device.commanded_kw = None, -2.0
        authority.down, authority.delay_s = away, 2.0
        await until(lambda: tenure(loop) is Tenure.UNCONFIRMED)
        back = device.connects[-1]
        await asyncio.sleep(300 if away else 10)
        later = [at for at, _ in device.sent if at > back]
        if away:
            assert later == []
            error = loop.snapshot().error
            assert error is not None
            assert error.startswith("only reads: its epoch is not confirmed yet")
            authority.down = False
            await until(lambda: device.commanded_kw == 4.0, limit_s=16)
        else:
            assert later
            assert later[0] >= back + 2.0

    play(script, authority=authority)


def test_a_superseded_loop_ends_by_itself_and_writes_nothing_more() -> None:
    async def main() -> None:
        authority, device = FakeAuthority(), FakeDevice()
        loop = site_loop(device, FakeUplink(LEASED), guards(authority))
        running = asyncio.create_task(loop.run())
        await until(lambda: device.commanded_kw == 4.0)
        authority.epoch += 1
        await asyncio.wait_for(running, 15.0)
        ended = virtual_now()
        assert loop.superseded
        await loop.stop()
        await asyncio.sleep(200)
        assert sent_since(device, ended) == []
        assert (device.released, device.commanded_kw) == (0, 4.0)
        assert device.closed >= 1

    run_virtual(main)


def test_a_newer_owner_ends_a_write_between_two_registers() -> None:
    authority = FakeAuthority()

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.register_s = 1.0
        device.commanded_kw = -1.0
        asked = len(authority.asked)
        await until(lambda: len(device.sent) == 5)
        authority.epoch += 1
        loop._vigil._claims.ask()
        await until(lambda: len(authority.asked) > asked)
        told = virtual_now()
        await asyncio.sleep(10)
        assert sent_since(device, told) == []
        assert loop.superseded

    play(script, authority=authority)


def test_a_bug_in_the_authority_does_not_end_the_questions(
    caplog: pytest.LogCaptureFixture,
) -> None:
    authority = FakeAuthority()

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        authority.bug = True
        stand_still(5.0)
        await asyncio.sleep(20)
        authority.bug = False
        await until(lambda: tenure(loop) is Tenure.OWNER, limit_s=3)

    with caplog.at_level(logging.ERROR, "bessai.control"):
        play(script, authority=authority)
    assert [r.message for r in caplog.records] == ["claim failed: ZeroDivisionError: planted"]


@pytest.mark.parametrize("renew_s", [60.0, None])
def test_a_stop_in_doubt_asks_once_and_then_releases(renew_s: float | None) -> None:
    authority = FakeAuthority()

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        stand_still(5.0)
        await loop.stop()
        assert (device.commanded_kw, device.released) == (None, 1)

    play(script, authority=authority, renew_s=renew_s)


@pytest.mark.parametrize("newer", [False, True])
def test_a_stop_that_cannot_be_confirmed_leaves_the_device_alone(newer: bool) -> None:
    authority = FakeAuthority()

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        authority.down, authority.epoch = not newer, authority.epoch + newer
        stand_still(5.0)
        await loop.stop()
        assert (device.commanded_kw, device.released) == (4.0, 0)
        assert device.closed == 1

    play(script, authority=authority)


def test_a_release_on_a_new_connection_asks_whether_the_device_is_still_ours() -> None:
    """Without a dead-man the release is tried again and again; not against a newer owner."""
    authority = FakeAuthority()

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.fault = "dead"
        await until(lambda: loop.state is SiteState.UNREACHABLE)
        stopping = asyncio.create_task(loop.stop())
        await asyncio.sleep(3.0)
        authority.epoch += 1
        device.fault, device.commanded_kw = None, -2.0
        await stopping
        assert device.commanded_kw == -2.0

    play(script, authority=authority, renew_s=None)


def test_a_release_notices_that_its_connection_is_gone() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.fault = "dead"
        stopping = asyncio.create_task(loop.stop())
        await asyncio.sleep(4.0)
        device.fault = None
        made = len(device.connects)
        device.keeps_command = 0
        await stopping
        assert device.commanded_kw is None
        assert len(device.connects) >= made

    play(script, renew_s=None)


@dataclass
class Pair:
    """An old process and a new one, each with its own way to one inverter."""

    authority: FakeAuthority = field(default_factory=FakeAuthority)
    device: FakeDevice = field(default_factory=FakeDevice)

    def __post_init__(self) -> None:
        self.device.forced.dead_man_s = 120.0
        self.old_uplink, self.new_uplink = FakeUplink(LEASED), FakeUplink(LEASED)
        self.old = site_loop(self.device, self.old_uplink, guards(self.authority, owner=ELSEWHERE))
        self.old_run = asyncio.create_task(self.old.run())
        self.new_device = FakeDevice(self.device.forced)

    def start_new(self) -> SiteLoop:
        self.authority.previous = ELSEWHERE
        self.new_uplink.reply = FleetReply(None, 15.0, (wish(2.0),))
        self.new = site_loop(self.new_device, self.new_uplink, guards(self.authority))
        self.new_run = asyncio.create_task(self.new.run())
        return self.new


def wish(power_kw: float, expires_s: float = 15.0) -> Proposal:
    at = MonotonicS(expires_s)
    return Proposal("test", Priority.TRADE, power_kw, None, at, CauseId("wish"))


def test_an_old_owner_that_can_be_told_ends_before_the_new_one_writes() -> None:
    async def main() -> None:
        pair = Pair()
        await until(lambda: pair.device.commanded_kw == 4.0)
        new = pair.start_new()
        await until(lambda: pair.old.superseded, limit_s=15)
        assert pair.new_device.sent == []
        assert tenure(new) is Tenure.PROBATION
        await until(lambda: bool(pair.new_device.sent), limit_s=200)
        last = pair.device.sent[-1][0]
        assert pair.new_device.sent[0][0] - last >= 120.0
        await new.stop()

    run_virtual(main)


def test_a_device_that_drops_its_command_does_not_hand_it_to_a_second_master() -> None:
    """The old owner is cut off from the authority and alive: it writes a dropped command again."""

    async def main() -> None:
        pair = Pair()
        await until(lambda: pair.device.commanded_kw == 4.0)
        lonely = FakeAuthority()
        lonely.down = True
        pair.old._vigil._claims._authority = lonely
        new = pair.start_new()
        for _ in range(20):
            await asyncio.sleep(15)
            pair.device.commanded_kw = None
        assert pair.new_device.sent == []
        assert tenure(new) is Tenure.PROBATION
        assert pair.device.commands[-1][1] == 4.0
        await new.stop()
        await pair.old.stop()

    run_virtual(main)


def test_a_frozen_old_owner_that_wakes_after_the_takeover_writes_nothing() -> None:
    authority = FakeAuthority(ELSEWHERE)

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        """Ours is the one that freezes; another one claims meanwhile."""
        device.register_s = 0.2
        await until(lambda: device.commanded_kw == 4.0)
        device.commanded_kw = 1.0
        await until(lambda: len(device.sent) == 6)
        authority.epoch += 1
        stand_still(200.0)
        woke = virtual_now()
        await until(lambda: loop.superseded, limit_s=5)
        await asyncio.sleep(20)
        assert sent_since(device, woke) == []

    play(script, authority=authority)


def test_an_earlier_owner_elsewhere_is_waited_for_until_the_device_was_seen_free() -> None:
    authority = FakeAuthority(ELSEWHERE)

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        device.commanded_kw, device.forced.dead_man_s = -1.0, 120.0
        began = virtual_now()
        await until(lambda: bool(device.sent), limit_s=300)
        assert virtual_now() - began == pytest.approx(120 + SEEN_FREE_S, abs=3)

    play(script, authority=authority)


def test_a_write_only_family_waits_for_its_whole_period() -> None:
    authority = FakeAuthority(ELSEWHERE)
    mute = OwnershipRules(quiet_s=90.0, tells_command=False)

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        began = virtual_now()
        await until(lambda: bool(device.sent), limit_s=300)
        assert virtual_now() - began == pytest.approx(91, abs=2)

    play(script, authority=authority, ownership=mute)


def test_a_stop_is_obeyed_at_once_also_while_reads_fail_and_survives_the_process(
    tmp_path: Path,
) -> None:
    memory = tmp_path / "alpha.stops.json"

    async def stopped(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.fault = "busy"
        uplink.reply = FleetReply(PLAN, 15.0, stop=order(1, stopped=True))
        await until(lambda: device.commanded_kw == 0.0, limit_s=2.2)
        snapshot = loop.snapshot()
        assert snapshot.autonomy is AutonomyLevel.SAFE_STOP
        assert snapshot.stops.text() == "stopped by Ana: smoke"

    async def restarted(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        uplink.down = True
        device.commanded_kw = 4.0
        await until(lambda: device.commanded_kw == 0.0, limit_s=2.2)
        await asyncio.sleep(300)
        assert {kw for _, kw in device.commands} == {0.0}
        assert len(device.commands) == 6, "the rest is renewed for the device's own timer"
        uplink.down = False
        uplink.reply = FleetReply(PLAN, 15.0, stop=order(1, stopped=True))
        await asyncio.sleep(20)
        assert device.commanded_kw == 0.0
        uplink.reply = FleetReply(PLAN, 15.0, stop=order(2, stopped=False))
        await until(lambda: device.commanded_kw == 4.0, limit_s=4)

    play(stopped, stops=memory)
    play(restarted, stops=memory)


def test_a_freeze_rests_until_a_person_releases_it(tmp_path: Path) -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        uplink.reply = FleetReply(PLAN, 15.0, stop=order(3, stopped=False))
        await until(lambda: device.commanded_kw == 4.0)
        loop.freeze("intrusion", "rogue writes")
        await until(lambda: device.commanded_kw == 0.0, limit_s=2.2)
        await asyncio.sleep(100)
        frozen = loop.snapshot().stops.freeze
        assert frozen is not None
        assert frozen == Freeze("intrusion", "rogue writes", frozen.at, 3)
        assert device.commanded_kw == 0.0
        uplink.reply = FleetReply(PLAN, 15.0, stop=order(4, stopped=False))
        await until(lambda: device.commanded_kw == 4.0, limit_s=4)

    play(script, stops=tmp_path / "alpha.stops.json")


def test_a_release_within_a_long_read_is_not_taken_for_an_old_one(tmp_path: Path) -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        device.read_s = 8.0
        await asyncio.sleep(2)
        loop.freeze("intrusion", "rogue writes")
        await until(lambda: uplink.snapshots[-1].stops.freeze is not None)
        uplink.reply = FleetReply(PLAN, 15.0, stop=order(1, stopped=False))
        await until(lambda: not loop.snapshot().stops.active, limit_s=4)

    play(script, stops=tmp_path / "alpha.stops.json")


def test_what_expires_while_reads_fail_is_gone_all_the_same() -> None:
    async def script(_: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 3.0)
        uplink.down = True
        heard = uplink.times[-1]
        device.fault = "busy"
        await until(lambda: device.commanded_kw != 3.0, limit_s=6)
        assert virtual_now() - heard <= 4.0 + 1.2
        assert device.commanded_kw == 0.0

    play(script, reply=FleetReply(None, 15.0, (wish(3.0, 4.0),)))


def test_nothing_grows_on_an_old_read() -> None:
    async def script(_: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 2.0)
        device.fault = "busy"
        uplink.reply = FleetReply(None, 15.0, (wish(5.0),))
        await asyncio.sleep(5)
        assert device.commanded_kw == 2.0
        uplink.reply = FleetReply(None, 15.0, (wish(1.0),))
        await until(lambda: device.commanded_kw == 1.0, limit_s=2.2)

    play(script, reply=FleetReply(None, 15.0, (wish(2.0),)))


def test_an_answer_that_waited_while_the_process_stood_still_is_as_old_as_its_question() -> None:
    async def script(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 3.0)
        await asyncio.sleep(1.5)
        uplink.delay_s = 0.5
        before = uplink.in_flight
        await until(lambda: uplink.in_flight > before)
        stand_still(4.4)
        await asyncio.sleep(0.3)
        uplink.down = True
        left = loop._reporter.orders.proposals[0].expires_at - virtual_now()
        assert left <= 5.0 - 4.4

    play(script, reply=FleetReply(None, 15.0, (wish(3.0, 5.0),)))


def test_a_command_register_that_holds_no_number_does_not_end_the_site() -> None:
    authority = FakeAuthority(ELSEWHERE)

    async def script(loop: SiteLoop, device: FakeDevice, _: FakeUplink) -> None:
        device.commanded_kw, device.follows = float("nan"), False
        await asyncio.sleep(10)
        assert tenure(loop) is Tenure.PROBATION
        error = loop.snapshot().error
        assert error is not None
        assert error.startswith("only reads: an earlier owner may still write")
        device.commanded_kw = None
        await until(lambda: device.commanded_kw == 4.0, limit_s=SEEN_FREE_S + 5)

    play(script, authority=authority)


class Constant:
    """A local policy with one wish."""

    name = "constant"

    def power_kw(self, telemetry: Telemetry, limits: SiteLimits) -> float | None:
        return -1.5


def test_the_local_policy_waits_until_it_is_known_that_nobody_stopped_the_site(
    tmp_path: Path,
) -> None:
    memory = tmp_path / "alpha.stops.json"

    async def unknown(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        uplink.down = True
        await asyncio.sleep(30)
        assert loop.snapshot().autonomy is AutonomyLevel.HOLD
        assert {kw for _, kw in device.commands} == {0.0}
        uplink.down = False
        uplink.reply = FleetReply(None, 0.0, stop=order(1, stopped=False))
        await until(lambda: device.commanded_kw == -1.5, limit_s=10)

    async def known(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        uplink.down = True
        await until(lambda: device.commanded_kw == -1.5, limit_s=3)
        assert loop.snapshot().autonomy is AutonomyLevel.LOCAL_POLICY

    play(unknown, local=Constant(), stops=memory)
    play(known, local=Constant(), stops=memory)


def test_bounds_of_a_proposal_end_with_it() -> None:
    cap = Proposal(
        "grid", Priority.GRID_OPERATOR, 0.0, Bounds(-1.0, 1.0), MonotonicS(5.0), CauseId("c")
    )

    async def script(_: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 1.0)
        uplink.reply = LEASED
        await until(lambda: device.commanded_kw == 4.0, limit_s=7)

    play(script, reply=FleetReply(PLAN, 15.0, (cap,)))


def test_the_watchdog_lives_as_long_as_the_loop() -> None:
    async def main() -> None:
        process = guards()
        device = FakeDevice()
        loop = site_loop(device, FakeUplink(LEASED), process)
        running = asyncio.create_task(loop.run())
        await until(lambda: device.commanded_kw == 4.0)
        thread = process.watchdog._thread
        assert thread.is_alive()
        await loop.stop()
        await running
        thread.join(5.0)
        assert not thread.is_alive()

    run_virtual(main)


def test_outcomes_of_a_fenced_write_are_not_taken_for_success() -> None:
    async def main() -> None:
        process = guards()
        device = FakeDevice()
        device.may_write = process.permit.check
        outcome: ApplyOutcome = await device.apply_power(1.0)
        assert type(outcome).__name__ == "Rejected"

    run_virtual(main)
