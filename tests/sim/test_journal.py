"""Logs of a simulated device: what they keep, what they lose, whom they blame."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.config import load_profile
from bessai.devices.mbap import ClientId
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.journal import Cause, Connections, FaultEntry, Journal, Log, PowerEntry
from bessai.sim.spec import InverterSpec
from bessai.units import MonotonicS
from tests.support.simulated import SPEC, HandClock

HUAWEI = load_profile("huawei_sun2000")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def device_of(clock: HandClock, *, speed: float = 1.0, **site: object) -> SimulatedInverter:
    spec = InverterSpec.model_validate({**SPEC.model_dump(), **site})
    return SimulatedInverter(spec, HUAWEI, speed, now=clock)


def force(device: SimulatedInverter, watts: int, connection: int = 1) -> None:
    for address, words in ((47249, (0, watts)), (47083, (2,)), (47100, (2,))):
        assert device.write_from(connection, address, words) is None


def line(device: SimulatedInverter) -> list[PowerEntry]:
    device.advance()
    return list(device.journal.timeline)


@given(st.integers(1, 20), st.integers(0, 60))
def test_a_log_keeps_the_newest_and_counts_the_lost(size: int, count: int) -> None:
    log = Log[FaultEntry](size)
    for number in range(count):
        log.append(FaultEntry(log.total, float(number), NOON, ""))
    kept = [entry.number for entry in log]
    assert kept == list(range(max(count - size, 0), count))
    assert (log.total, log.lost) == (count, count - len(kept))


def test_entries_since_a_moment_include_it() -> None:
    log = Log[FaultEntry](9)
    for at_s in (1.0, 2.0, 3.0):
        log.append(FaultEntry(log.total, at_s, NOON, ""))
    assert [entry.at_s for entry in log.since(2.0)] == [2.0, 3.0]
    assert [entry.at_s for entry in log.since(None)] == [1.0, 2.0, 3.0]


def test_every_log_of_a_device_is_bounded() -> None:
    clock = HandClock()
    device = device_of(clock, journal_entries=5)
    for watts in range(1000, 4000, 100):
        force(device, watts)
        clock.at_s += 1.0
    journal = device.journal
    for log in (journal.commands, journal.timeline):
        assert len(list(log)) == 5
        assert log.lost == log.total - 5 > 0


def test_those_who_left_are_forgotten_at_some_time_and_counted() -> None:
    known = Connections(size=2)
    for number in range(1, 6):
        client = ClientId(number, "127.0.0.1", 4000 + number)
        known.request(client, MonotonicS(float(number)), writes=number == 5)
        known.keep_only({client}, MonotonicS(number + 0.5))
    assert [one.number for one in known.entries()] == [3, 4, 5]
    assert known.lost == 2
    left, last = known.entries()[1:]
    assert (left.opened_at_s, left.closed_at_s, left.requests, left.writes) == (4.0, 5.5, 1, 0)
    assert (last.closed_at_s, last.requests, last.writes) == (None, 1, 1)


def test_wall_time_of_a_moment_that_has_passed() -> None:
    clock = HandClock()
    journal = Journal(clock, 9, 5.0, wall=lambda: NOON)
    assert journal.wall_at(clock.at_s - 3.0) == NOON - timedelta(seconds=3)


def test_commands_are_told_with_cause_writer_and_moment() -> None:
    clock = HandClock()
    device = device_of(clock, minute_s=1.0)
    force(device, 1500, connection=4)
    clock.at_s += 1.0
    assert device.write_from(5, 47100, (2,)) is None
    clock.at_s += 0.1
    assert device.write_from(6, 47249, (0, 2500)) is None
    clock.at_s += 60.0
    device.advance()
    force(device, 500)
    device.reboot()
    told = [
        (one.at_s, one.before_kw, one.after_kw, one.renewed, one.cause, one.connection)
        for one in device.journal.commands
    ]
    assert told == [
        (1000.0, None, 1.5, True, Cause.WRITE, 4),
        (1001.0, 1.5, 1.5, True, Cause.WRITE, 5),
        (1001.1, 1.5, 2.5, False, Cause.WRITE, 6),
        (1003.0, 2.5, None, False, Cause.DEAD_MAN, None),
        (1061.1, None, 0.5, True, Cause.WRITE, 1),
        (1061.1, 0.5, None, False, Cause.REBOOT, None),
    ]


def test_a_release_where_nothing_is_forced_is_no_command() -> None:
    device = device_of(HandClock())
    assert device.write_from(1, 47100, (0,)) is None
    assert list(device.journal.commands) == []


def test_the_time_line_has_the_moment_of_safe_power() -> None:
    clock = HandClock()
    device = device_of(clock, minute_s=1.0, load_kw=0.5)
    force(device, 3000)
    clock.at_s += 50.0
    told = [(one.at_s, one.power_kw, one.commanded_kw, one.follows) for one in line(device)]
    assert told == [
        (1000.0, 0.5, None, False),
        (1000.0, 3.0, 3.0, True),
        (1002.0, 0.5, None, False),
    ]


def test_the_time_line_has_the_end_of_a_ramp() -> None:
    """Also where the last look was so near to it that the rest alone would be no news."""
    clock = HandClock()
    device = device_of(clock, ramp_kw_per_s=1.0)
    force(device, 3000)
    clock.at_s += 2.97
    device.advance()
    clock.at_s += 30.0
    assert [(one.at_s, one.power_kw) for one in line(device)] == [
        (1000.0, 0.0),
        (1000.0, 0.0),
        (pytest.approx(1002.97), pytest.approx(2.97)),
        (pytest.approx(1003.0), 3.0),
    ]


@pytest.mark.parametrize("step_s", [0.001, 0.1])
def test_the_time_line_grows_with_what_happens_and_not_with_looking(step_s: float) -> None:
    """Into the taper and to the end at 5 %: a percent of the nameplate an entry."""
    clock = HandClock()
    device = device_of(clock, speed=3600.0, soc_pct=20.0)
    force(device, 5000)
    for _ in range(round(0.4 / step_s)):
        clock.at_s += step_s
        device.advance()
    entries = line(device)
    assert 3 <= len(entries) <= 110
    assert entries[-1].power_kw == 0.0
    assert entries[-1].soc_pct == pytest.approx(5.0)
