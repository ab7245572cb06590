"""A simulated device as a witness, asked over its socket while real clients talk to it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bessai.config import load_profile
from bessai.devices.mbap import frame
from bessai.errors import BessaiError, DeviceError
from bessai.sim.control import (
    inject_fault,
    observe_commands,
    observe_summary,
    observe_timeline,
    observe_writes,
    serve_control,
)
from bessai.sim.faults import Fault
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.journal import WriteEntry
from bessai.sim.observe import Commands, Question, Summary, Timeline, Writes
from bessai.sim.server import LOOPBACK, HostedInverter, SimulatorServer, control_time
from bessai.sim.spec import ClockSpec, InverterSpec, SimSpec, WitnessSpec
from tests.support.modbus_raw import Raw, until
from tests.support.simulated import SPEC, HandClock, RawRegisters, hosted, registers_of

CLOCK = ClockSpec(
    market_start=datetime(2024, 6, 1, tzinfo=UTC),
    wall_start=datetime(2026, 1, 1, tzinfo=UTC),
    speed=600.0,
)
ONE_KW = {47249: (0, 1000), 47083: (2,), 47100: (2,)}


def device_of(
    clock: HandClock, *, max_clients: int | None = 1, **site: object
) -> SimulatedInverter:
    profile = load_profile("huawei_sun2000")
    connection = profile.connection.model_copy(update={"max_clients": max_clients})
    spec = InverterSpec.model_validate({**SPEC.model_dump(), **site})
    shared = profile.model_copy(update={"connection": connection})
    return SimulatedInverter(spec, shared, 1.0, now=clock)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def host(clock: HandClock) -> AsyncIterator[HostedInverter]:
    async with hosted(device_of(clock, max_clients=None)) as one:
        yield one


def writing(address: int, words: tuple[int, ...]) -> bytes:
    """A request with function 16."""
    data = b"".join(word.to_bytes(2, "big") for word in words)
    head = address.to_bytes(2, "big") + len(words).to_bytes(2, "big")
    return b"\x10" + head + bytes((len(data),)) + data


def summary(host: HostedInverter) -> Summary:
    answer = host.observe(Question.SUMMARY)
    assert isinstance(answer, Summary)
    return answer


def writes(host: HostedInverter) -> tuple[WriteEntry, ...]:
    answer = host.observe(Question.WRITES)
    assert isinstance(answer, Writes)
    return answer.writes


async def unanswered(link: RawRegisters, pdu: bytes, seconds: float = 0.1) -> None:
    link.raw.writer.write(frame(3, 1, pdu))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await link.raw.reader.read(1)


async def test_two_masters_are_told_apart(host: HostedInverter, clock: HandClock) -> None:
    first, second = await registers_of(host), await registers_of(host)
    for at_s, link, watts in ((1001, first, 1000), (1002, second, 2000), (1003, first, 1000)):
        clock.at_s = float(at_s)
        for address, words in (ONE_KW | {47249: (0, watts)}).items():
            assert await link.write(address, words) is None
    ports = [link.raw.writer.get_extra_info("sockname")[1] for link in (first, second)]
    commands = host.observe(Question.COMMANDS)
    assert isinstance(commands, Commands)
    changed = [c for c in commands.commands if c.before_kw != c.after_kw]
    assert [(c.at_s, c.before_kw, c.after_kw, c.connection) for c in changed] == [
        (1001.0, None, 1.0, 1),
        (1002.0, 1.0, 2.0, 2),
        (1003.0, 2.0, 1.0, 1),
    ]
    assert [c.connection for c in commands.commands if c.renewed] == [1, 2, 1]
    assert [(w.client, w.connection) for w in writes(host)[::3]] == [
        (f"127.0.0.1:{ports[0]}", 1),
        (f"127.0.0.1:{ports[1]}", 2),
        (f"127.0.0.1:{ports[0]}", 1),
    ]
    await first.raw.close()
    await until(lambda: len(host.connected) == 1)
    one, two = summary(host).connections
    assert (one.requests, one.writes, one.closed_at_s) == (6, 6, 1003.0)
    assert (two.requests, two.writes, two.closed_at_s) == (3, 3, None)
    await second.raw.close()


async def test_every_write_is_told_with_its_answer(host: HostedInverter) -> None:
    link = await registers_of(host)
    assert await link.write(43006, [0]) is None
    assert await link.write(47249, [0, 5001]) == 3
    await host.set_fault(Fault.BUSY)
    assert await link.write(47249, [0, 1000]) == 6
    await host.set_fault(Fault.HANG)
    await unanswered(link, b"\x06" + (47100).to_bytes(2, "big") + b"\x00\x02")
    told = [(w.address, w.words, w.outcome, w.answered) for w in writes(host)]
    assert told == [
        (43006, (0,), "accepted", True),
        (47249, (0, 5001), "exception 3", True),
        (47249, (0, 1000), "exception 6", True),
        (47100, (2,), "not served", False),
    ]
    (connection,) = summary(host).connections
    assert (connection.requests, connection.writes) == (4, 4)
    await link.raw.close()


async def test_half_of_the_lost_frames_are_answers(host: HostedInverter) -> None:
    link = await registers_of(host)
    await host.set_fault(Fault.parse("drop_share:1"))
    for _ in range(40):
        await unanswered(link, b"\x06" + (43006).to_bytes(2, "big") + b"\x00\x00", 0.005)
    await until(lambda: host.inverter.journal.writes.total == 40)
    outcomes = [w.outcome for w in writes(host)]
    assert not any(w.answered for w in writes(host))
    assert 8 <= outcomes.count("accepted") <= 32
    assert outcomes.count("not served") == 40 - outcomes.count("accepted")
    await link.raw.close()


async def test_a_share_of_lost_frames_lets_the_others_through(host: HostedInverter) -> None:
    await host.set_fault(Fault.parse("drop_share:0.3"))
    answers = 0
    for _ in range(3):
        link = await registers_of(host)
        for number in range(20):
            link.raw.writer.write(
                frame(number, 1, b"\x03" + (37760).to_bytes(2, "big") + b"\x00\x01")
            )
        link.raw.writer.write_eof()
        answers += len(await link.raw.reader.read()) // 11
        await link.raw.close()
    assert 30 <= answers <= 54


async def test_a_rogue_writes_again_and_again_and_is_no_client(
    host: HostedInverter, clock: HandClock
) -> None:
    link = await registers_of(host)
    for address, words in ONE_KW.items():
        assert await link.write(address, words) is None
    await host.set_fault(Fault.parse("rogue:-2:5"))
    assert host.inverter.commanded_kw == -2.0
    clock.at_s += 1.0
    for address, words in ONE_KW.items():
        assert await link.write(address, words) is None
    host.tick()
    assert host.inverter.commanded_kw == 1.0
    clock.at_s += 4.0
    host.tick()
    assert host.inverter.commanded_kw == -2.0
    await host.set_fault()
    clock.at_s += 50.0
    host.tick()
    rogue, client = summary(host).connections
    assert (rogue.number, rogue.client, rogue.closed_at_s) == (0, "rogue", None)
    assert rogue.writes == sum(w.client == "rogue" for w in writes(host)) > 0
    assert client.writes == 6
    changed = [c.connection for c in host.inverter.journal.commands if c.before_kw != c.after_kw]
    assert changed == [1, 0, 1, 0]
    await link.raw.close()


async def test_a_rogue_that_writes_once_writes_once(host: HostedInverter, clock: HandClock) -> None:
    await host.set_fault(Fault.parse("rogue:2"))
    count = host.inverter.journal.writes.total
    clock.at_s += 100.0
    host.tick()
    assert host.inverter.journal.writes.total == count > 0


async def test_a_rogue_beyond_the_device_is_refused(host: HostedInverter) -> None:
    with pytest.raises(DeviceError, match="beyond the 10 kW"):
        await host.set_fault(Fault.parse("rogue:20"))
    assert list(host.inverter.faults) == []


async def test_faults_are_dated_and_so_is_the_end_of_a_reboot(
    host: HostedInverter, clock: HandClock
) -> None:
    await host.set_fault(Fault.BUSY)
    clock.at_s += 1.0
    await host.set_fault(Fault.parse("reboot:0.05"))
    await until(lambda: not list(host.inverter.faults))
    log = summary(host).fault_log
    assert [(one.at_s, one.faults) for one in log] == [
        (1000.0, "busy"),
        (1001.0, "reboot:0.05"),
        (1001.0, "none"),
    ]


async def test_questions_over_the_socket(tmp_path: Path) -> None:
    witness = WitnessSpec(max_discharge_kw=0.5, soc_min_pct=10.0)
    inverter = SPEC.model_copy(update={"witness": witness})
    simulator = SimulatorServer(SimSpec(clock=CLOCK, inverters=(inverter,)))
    await simulator.start()
    path = tmp_path / "control"
    control = await serve_control(path, simulator)
    try:
        raw = Raw(*await asyncio.open_connection(LOOPBACK, simulator.port(inverter.id)))
        began_s = control_time()
        for address, words in ONE_KW.items():
            assert (await raw.ask(writing(address, words)))[0] == 0x10
        commanded_s = control_time()
        await asyncio.sleep(0.25)
        await asyncio.to_thread(inject_fault, path, "north", "busy")
        told = await asyncio.to_thread(observe_summary, path, "north")
        assert began_s < commanded_s < told.stamp.clock_s < control_time()
        assert abs(datetime.now(UTC) - told.stamp.wall_at) < timedelta(seconds=5)
        assert (told.power_kw, told.commanded_kw, told.faults) == (1.0, 1.0, "busy")
        assert [one.faults for one in told.fault_log] == ["busy"]
        discharge, soc = told.excesses
        assert (discharge.limit, soc.limit) == ("max_discharge_kw", "soc_min_pct")
        least_kwh = 0.5 * 0.25 * 600 / 3600
        assert (
            least_kwh <= discharge.forced_kwh <= least_kwh * (told.stamp.clock_s - began_s) / 0.25
        )
        assert discharge.worst == 0.5
        assert told.outside_forced_kwh == discharge.forced_kwh
        assert (soc.forced_kwh, told.outside_own_mode_kwh) == (0.0, 0.0)
        commands = await asyncio.to_thread(observe_commands, path, "north")
        assert [one.after_kw for one in commands.commands] == [1.0]
        assert began_s < commands.commands[0].at_s < commanded_s
        later = await asyncio.to_thread(observe_commands, path, "north", commanded_s)
        assert later.commands == ()
        written = await asyncio.to_thread(observe_writes, path, "north")
        assert [one.address for one in written.writes] == list(ONE_KW)
        line = await asyncio.to_thread(observe_timeline, path, "north", began_s)
        assert [(one.power_kw, one.follows) for one in line.timeline] == [(1.0, True)]
        with pytest.raises(BessaiError, match="'west'; use one of north"):
            await asyncio.to_thread(observe_timeline, path, "west")
        await raw.close()
    finally:
        control.close()
        await simulator.stop()


async def test_a_question_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    simulator = SimulatorServer(SimSpec(clock=CLOCK, inverters=(SPEC,)))
    control = await serve_control(tmp_path / "control", simulator)
    reader, writer = await asyncio.open_unix_connection(tmp_path / "control")
    for request in (
        {"site": "north", "observe": "everything"},
        {"site": "north", "observe": "summary", "since": "yesterday"},
        {"site": "north", "observe": "summary", "fault": "busy"},
        {"site": "north", "observe": "summary", "until": 3},
    ):
        writer.write(json.dumps(request).encode() + b"\n")
        answer = json.loads(await asyncio.wait_for(reader.readline(), 2.0))
        assert list(answer) == ["error"]
        assert "one of summary, writes, commands, timeline" in answer["error"]
        assert "\n" not in answer["error"]
    writer.write(b'{"site": "north", "observe": "timeline"}\n')
    line = Timeline.model_validate_json(await asyncio.wait_for(reader.readline(), 2.0))
    assert [one.power_kw for one in line.timeline] == [0.0]
    writer.close()
    control.close()


def test_the_process_answers_with_a_clock_of_the_same_host(tmp_path: Path) -> None:
    spec = SimSpec(clock=CLOCK, inverters=(SPEC.model_copy(update={"minute_s": 0.2}),))
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    files = ["--spec", "spec.json", "--ready", "ready", "--control", "c"]
    with subprocess.Popen([sys.executable, "-m", "bessai.sim", *files], cwd=tmp_path) as process:
        try:
            end = time.monotonic() + 20.0
            while not (tmp_path / "ready").exists():
                assert time.monotonic() < end
                time.sleep(0.02)
            before_s = time.monotonic()
            told = observe_summary(tmp_path / "c", "north")
            assert before_s <= told.stamp.clock_s <= time.monotonic()
            inject_fault(tmp_path / "c", "north", "rogue:3")
            end = time.monotonic() + 5.0
            while len(found := observe_commands(tmp_path / "c", "north").commands) < 2:
                assert time.monotonic() < end
                time.sleep(0.05)
            force, fall_back = found
            # Two of the device's own minutes, which the spec made short.
            assert fall_back.at_s - force.at_s == pytest.approx(0.4, abs=0.01)
            assert (force.connection, fall_back.after_kw) == (0, None)
        finally:
            process.terminate()
