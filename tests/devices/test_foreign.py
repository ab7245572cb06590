"""What somebody else commands is seen within two cycles, for as few requests as that takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

import pytest

from bessai.config import load_profile
from bessai.config.profile import Space
from bessai.devices.codec import Registers
from bessai.devices.plan import ReadRules, ReadSchedule
from bessai.devices.poll import Poller
from bessai.devices.program import Command, power_command, release_command
from bessai.devices.telemetry import watched_points
from bessai.model.outcome import Applied
from bessai.units import MonotonicS
from tests.devices.test_driver_families import COMMANDED, Rig, spec_of
from tests.devices.test_plan import Device, named
from tests.support.simulated import HandClock, client_of, hosted, simulated

READABLE = [name for name in COMMANDED if load_profile(name).command_readable]
PHASES = range(5)
"""Cycles between our command and the foreign one: slow reads come in turns."""


@pytest.fixture(params=READABLE)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    clock = HandClock()
    async with hosted(simulated(clock, spec=spec_of(request.param))) as host:
        driver = client_of(host, clock)
        await driver.connect()
        yield Rig(host, driver, clock)
        await driver.close()


async def commanded(rig: Rig, power_kw: float, cycles: int) -> None:
    outcome = await rig.driver.apply_power(power_kw)
    assert isinstance(outcome, Applied), outcome
    for _ in range(cycles):
        assert (await rig.after(1.0)).commanded_kw == pytest.approx(power_kw, abs=0.02)


def foreign(rig: Rig, command: Command, only: Collection[str] | None = None) -> None:
    """Somebody else writes the registers of a command, or some of them, to the device."""
    device = rig.host.inverter
    for write in command.writes:
        if only is None or write.name in only:
            refused = device.write(write.point.address, write.registers, write.point.device)
            assert refused is None


def power_points(rig: Rig) -> set[str]:
    """Where the power of the command in force is."""
    profile, reading = rig.driver.profile, rig.driver.reading
    state = next(state for state in profile.commanded if reading.holds(state))
    assert state.point is not None
    return {state.point}


@pytest.mark.parametrize("cycles", PHASES)
async def test_a_foreign_power_is_seen_within_two_cycles(rig: Rig, cycles: int) -> None:
    await commanded(rig, 2.0, cycles)
    lower = power_command(rig.driver.profile, 1.0, rig.driver.reading)
    foreign(rig, lower, power_points(rig))
    await rig.after(1.0)
    assert (await rig.after(1.0)).commanded_kw == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("cycles", PHASES)
async def test_a_foreign_mode_is_seen_within_two_cycles_and_never_with_a_stale_power(
    rig: Rig, cycles: int
) -> None:
    await commanded(rig, 2.0, cycles)
    foreign(rig, power_command(rig.driver.profile, -1.5, rig.driver.reading))
    seen = [(await rig.after(1.0)).commanded_kw for _ in range(2)]
    assert seen[1] == pytest.approx(-1.5, abs=0.02)
    assert seen[0] == pytest.approx(-1.5, abs=0.02) or seen[0] == pytest.approx(2.0, abs=0.02)


async def test_a_foreign_command_out_of_the_blue_is_seen_within_two_cycles(rig: Rig) -> None:
    for _ in range(3):
        assert (await rig.after(1.0)).commanded_kw is None
    foreign(rig, power_command(rig.driver.profile, -1.5, rig.driver.reading))
    await rig.after(1.0)
    assert (await rig.after(1.0)).commanded_kw == pytest.approx(-1.5, abs=0.02)


@pytest.mark.parametrize("cycles", PHASES)
async def test_a_foreign_release_is_seen_within_two_cycles(rig: Rig, cycles: int) -> None:
    await commanded(rig, 2.0, cycles)
    foreign(rig, release_command(rig.driver.profile, rig.driver.reading))
    await rig.after(1.0)
    assert (await rig.after(1.0)).commanded_kw is None


def test_only_the_power_in_force_is_watched() -> None:
    profile = load_profile("huawei_sun2000")
    charge, discharge = profile.commanded
    assert watched_points(profile, charge) == {"forced_charge_power"}
    assert watched_points(profile, discharge) == {"forced_discharge_power"}
    assert watched_points(profile, None) == frozenset()


class Held:
    """Answers every read with 7, but for the registers of a command."""

    def __init__(self, command_at: int, command: int) -> None:
        self.words = {command_at: command}
        self.reads = 0

    async def read(self, space: Space, address: int, count: int) -> Registers:
        self.reads += 1
        return tuple(self.words.get(at, 7) for at in range(address, address + count))


@pytest.mark.parametrize(("command", "most"), [(0, 3.8), (1, 4.1), (2, 4.1)])
async def test_watching_costs_few_requests_and_none_without_a_command(
    command: int, most: float
) -> None:
    profile = load_profile("huawei_sun2000")
    link = Held(profile.points["forced_command"].address, command)
    link.words[profile.points["meter_status"].address] = 1
    poller = Poller(link, profile)
    for second in range(10):
        await poller.read(MonotonicS(float(second)))
    link.reads = 0
    for second in range(10, 110):
        await poller.read(MonotonicS(float(second)))
    assert link.reads / 100 <= most


@pytest.mark.parametrize("step_s", [0.1, 1.0, 2.0, 4.0, 7.0])
def test_watched_points_are_read_every_second_cycle_and_the_others_grow_no_older(
    step_s: float,
) -> None:
    slow = named(*range(0, 600, 100))
    schedule = ReadSchedule(named(1000), slow, ReadRules(slow_s=5.0))
    device, watched = Device(), frozenset({"p300"})
    read_at = dict.fromkeys(slow, 0.0)
    since = 0
    for cycle in range(200):
        now_s = cycle * step_s
        found = schedule.due(now_s, watched)
        names = {name for block in found for name in block.points}
        since = 0 if "p300" in names else since + 1
        assert since <= 1
        for block in found:
            schedule.note_read(block, now_s)
            device.asked.append(block)
        read_at.update(dict.fromkeys(names & slow.keys(), now_s))
        assert max(now_s - at for at in read_at.values()) <= 5.0 + 1e-6
    if step_s == 1.0:
        assert len(device.asked) / 200 <= 1.0 + 0.5 + 1.05, "one fast, half a watched, 5 in 5 s"


def test_a_point_watched_anew_is_read_in_the_same_cycle_and_only_once() -> None:
    schedule = ReadSchedule(named(1000), named(0, 100), ReadRules(slow_s=5.0))
    watched = frozenset({"p100"})
    for block in schedule.due(0.0):
        schedule.note_read(block, 0.0)
    schedule.due(1.0)
    (block,) = schedule.unread(1.0, watched)
    assert block.points == ("p100",)
    schedule.note_read(block, 1.0)
    assert schedule.unread(1.0, watched) == []
