"""A recorded log steps through the core again, bit for bit; and a changed core is found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bessai.control import SiteLoop, ledger
from bessai.control.logbook import LogReader
from bessai.control.logbook import writer as writer_module
from bessai.control.logbook.codec import Codec
from bessai.control.logbook.replay import Replay, differences
from bessai.errors import ProtocolError
from bessai.model import FleetReply, Priority, Telemetry
from bessai.model.outcome import ApplyOutcome, PartiallyApplied
from tests.support.logbook_play import RULES, recorded, replayed
from tests.support.site_fakes import FakeDevice, FakeUplink, until
from tests.support.site_strategies import telemetries
from tests.support.site_time import stand_still
from tests.support.site_values import proposal, schedule


def replay_is_exact(path: Path, least: int) -> None:
    replay = replayed(path, RULES)
    assert replay.first == []
    assert (replay.mismatches, replay.cycles >= least) == (0, True)


async def _a_bad_day(loop: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
    await until(lambda: device.commanded_kw == 4.0)
    for fault in ("busy", "dead", "odd", "hang", None):
        device.fault = fault
        await asyncio.sleep(14)
    device.refuse = True
    uplink.reply = FleetReply(
        schedule([-3.0] * 24), 15.0, (proposal(Priority.VPP_EVENT, 2.0, (-1.0, 2.5), 30.0),)
    )
    await asyncio.sleep(20)
    device.refuse = False
    device.commanded_kw = -1.0
    await asyncio.sleep(20)
    device.base = replace(device.base, soc_pct=float("nan"), temperature_c=49)
    await asyncio.sleep(20)
    uplink.down = True
    device.base = replace(device.base, soc_pct=93.5)
    await asyncio.sleep(30)
    stand_still(20.0)
    await asyncio.sleep(250)


def test_a_bad_day_replays_bit_for_bit(tmp_path: Path) -> None:
    path = recorded(tmp_path / "alpha.sqlite", _a_bad_day)
    replay_is_exact(path, least=350)
    with LogReader(path) as reader:
        assert len(reader.segments()) > 1, "it must go across segments"
        kinds = {
            one.settled.outcome.__class__
            for s in reader.segments()
            for one in reader.cycles(s.id)
            if one.settled is not None
        }
    assert len(kinds) >= 2


Apply = Callable[[float], Awaitable[ApplyOutcome]]
FAULTS = st.sampled_from([None, "dead", "busy", "odd", "hang"])


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_play_replays_bit_for_bit(tmp_path: Path, data: st.DataObject) -> None:
    """Faults, reconnects, refused and partial writes, foreign commands, any numbers read."""
    path = tmp_path / "alpha.sqlite"
    path.unlink(missing_ok=True)
    steps = data.draw(st.integers(2, 8))

    async def script(_: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        device.apply_power = _sometimes_partial(device, data)  # type: ignore[method-assign,assignment]
        for _step in range(steps):
            device.fault = data.draw(FAULTS)
            device.base = _read(data.draw(telemetries()))
            device.refuse, device.follows = data.draw(st.booleans()), data.draw(st.booleans())
            device.commanded_kw = data.draw(st.sampled_from([device.commanded_kw, None, 1.25]))
            uplink.down = data.draw(st.booleans())
            power = data.draw(st.floats(-6, 6))
            uplink.reply = FleetReply(
                schedule([power] * 24),
                data.draw(st.floats(0, 90)),
                (proposal(Priority.TRADE, power / 3, (-2.0, 2.0), data.draw(st.floats(-5, 60))),),
            )
            if data.draw(st.booleans()):
                stand_still(data.draw(st.floats(0, 30)))
            await asyncio.sleep(data.draw(st.floats(0.1, 25)))

    replay_is_exact(recorded(path, script), least=1)


def _read(telemetry: Telemetry) -> Telemetry:
    return replace(telemetry, missing=("a point",))


def _sometimes_partial(device: FakeDevice, data: st.DataObject) -> Apply:
    whole = device.apply_power

    async def apply_power(power_kw: float) -> ApplyOutcome:
        if data.draw(st.integers(0, 4)) == 0:
            return PartiallyApplied(1, "power", "exception 4")
        return await whole(power_kw)

    return apply_power


async def _simple(_: SiteLoop, device: FakeDevice, __: FakeUplink) -> None:
    await until(lambda: device.commanded_kw == 4.0)
    device.refuse = True
    device.commanded_kw = 1.0
    await asyncio.sleep(40)
    device.refuse = False
    await asyncio.sleep(60)


def test_a_changed_constant_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recorded(tmp_path / "alpha.sqlite", _simple)
    replay_is_exact(path, least=90)
    monkeypatch.setattr(ledger, "RETRY_MAX_S", 9.0)
    replay = replayed(path, RULES)
    assert replay.mismatches > 0
    first = replay.first[0].differences[0]
    assert first.path == "after.ledger.retry_at"
    assert first.recorded != first.replayed


def test_other_rules_are_found(tmp_path: Path) -> None:
    path = recorded(tmp_path / "alpha.sqlite", _simple)
    slower = replace(RULES, limits=replace(RULES.limits, ramp_kw_per_s=4.999999999999999))
    assert replayed(path, slower).mismatches > 0


def test_one_flipped_bit_of_a_recorded_number_is_found(tmp_path: Path) -> None:
    path = recorded(tmp_path / "alpha.sqlite", _simple)
    with LogReader(path) as reader:
        segment = reader.segments()[0]
        cycles = list(reader.cycles(segment.id))
    telemetry = cycles[5].cycle.telemetry
    assert telemetry is not None
    power = 4.0 + 1e-15
    assert power != 4.0
    cycle = replace(cycles[5].cycle, telemetry=replace(telemetry, active_power_kw=power))
    cycles[5] = replace(cycles[5], cycle=cycle)
    replay = Replay(RULES, Codec())
    replay.segment(cycles, continues=False)
    assert replay.mismatches >= 1
    assert "active_power_kw" in str(replay.first[0].differences)


def test_a_state_that_was_not_handed_on_is_found(tmp_path: Path) -> None:
    """What the loop does to its state beside the core shows, unless it says that it lost it."""
    path = recorded(tmp_path / "alpha.sqlite", _simple)
    with LogReader(path) as reader:
        cycles = list(reader.cycles(reader.segments()[0].id))
    replay = Replay(RULES, Codec())
    replay.segment([*cycles[:10], *cycles[20:]], continues=False)
    assert replay.mismatches > 0
    replay = Replay(RULES, Codec())
    with pytest.raises(ProtocolError, match="begins without a state"):
        replay.segment(cycles[1:], continues=False)


def test_a_range_is_stepped_from_the_begin_of_its_segment(tmp_path: Path) -> None:
    path = recorded(tmp_path / "alpha.sqlite", _simple)
    with LogReader(path) as reader:
        segment = reader.segments()[0]
        every = list(reader.cycles(segment.id))
        replay = Replay(RULES, reader.codec)
        replay.segment(
            reader.cycles(segment.id), continues=False, since=every[30].wall, until=every[39].wall
        )
    assert (replay.cycles, replay.mismatches) == (10, 0)


def test_the_state_that_a_segment_begins_with_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "SEGMENT_CYCLES", 20)
    path = recorded(tmp_path / "alpha.sqlite", _simple)
    replay_is_exact(path, least=90)
    with LogReader(path) as reader:
        segments = reader.segments()
        assert [s.continues for s in segments[:3]] == [False, True, True]
        second = list(reader.cycles(segments[1].id))
        assert second[0].before is not None
        second[0] = replace(second[0], before={**second[0].before, "power_kw": 3.0})
        replay = Replay(RULES, reader.codec)
        replay.segment(reader.cycles(segments[0].id), continues=False)
        replay.segment(second, continues=True)
    assert replay.first[0].differences[0].path == "before.power_kw"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (0.0, -0.0, False),
        (1, 1.0, False),
        (1.0, True, False),
        (0.1, 0.1, True),
        (float("nan"), float("nan"), True),
        (None, 0, False),
    ],
)
def test_values_are_compared_by_their_bits(one: object, other: object, *, same: bool) -> None:
    assert (list(differences("x", {"a": [one]}, {"a": [other]})) == []) is same
