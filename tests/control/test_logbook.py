"""The decision record: bounded, never in the way, and whole after whatever happens to its disk."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bessai.control.logbook import DecisionQuery, Logbook, LogLimits, LogReader
from bessai.control.logbook.file import LogFile
from bessai.control.logbook.views import decisions_view
from bessai.errors import ProtocolError, StoreError
from bessai.model.outcome import PartiallyApplied, Rejected
from tests.support.logbook_play import replayed
from tests.support.logbook_values import RULES, START, Calls, Tape, Wall, plans
from tests.support.site_values import HEALTHY

MIB = 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions" / "alpha.sqlite"


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def log(path: Path, wall: Wall) -> Iterator[Logbook]:
    found = book(path, wall)
    yield found
    found.close()


def book(path: Path, wall: Wall, **how: Any) -> Logbook:
    return Logbook(path, '{"id": "alpha"}', wall=wall, **{"commit_s": 0.02, **how})


def count(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(connection.execute("SELECT count(*) FROM cycle").fetchone()[0])


def size(path: Path) -> int:
    return sum(f.stat().st_size for f in path.parent.glob(f"{path.name}*") if f.suffix != ".shm")


def test_what_was_decided_is_there_with_everything_that_led_to_it(
    log: Logbook, path: Path, wall: Wall
) -> None:
    tape = Tape(log, wall)
    tape.run(3)
    tape.answer, tape.alarms = PartiallyApplied(2, "power", "exception 4"), ("2068 battery",)
    tape.run(1)
    found = decisions_view(path, "alpha", DecisionQuery(), log)
    assert (found.lost, found.error, len(found.decisions)) == (0, None, 4)
    first, last = found.decisions[0], found.decisions[-1]
    assert first.command is not None
    assert (first.command.result, first.command.registers) == ("applied", 4)
    assert first.setpoint_kw == 4.0
    assert (first.cause_id, first.source) == ("plan-1", "dispatch")
    assert [(p.source, p.preferred_kw, p.live) for p in first.proposals] == [
        ("dispatch", 4.0, True)
    ]
    assert last.setpoint_kw == 0.0
    assert [r.code for r in last.reasons] == ["alarm"]
    assert last.measured is not None
    assert (last.measured.soc_pct, last.measured.alarms) == (50.0, ["2068 battery"])
    assert last.measured.age_s == pytest.approx(0.05)
    assert last.command is not None
    assert (last.command.kind, last.command.result) == ("safety", "partial")
    assert last.command.error == "power: exception 4"
    assert last.at == START + timedelta(seconds=4)
    assert last.reason.startswith("schedule: discharge 4.0 kW")


def test_queries_narrow_by_time_cause_number_and_change(
    log: Logbook, path: Path, wall: Wall
) -> None:
    tape = Tape(log, wall)
    tape.run(30)
    tape.alarms = ("2068 battery",)
    tape.run(30)
    log.flush()

    def seconds(**how: Any) -> list[int]:
        with LogReader(path) as reader:
            found = reader.find(DecisionQuery(**how))
        return [round((one.wall - START).total_seconds()) for one in found]

    def at(second: int) -> Any:
        return START + timedelta(seconds=second)

    assert seconds(last=3) == [58, 59, 60]
    assert seconds(since=at(10), until=at(12)) == [10, 11, 12]
    assert seconds(until=at(2)) == [1, 2]
    assert seconds(since=at(61)) == []
    assert seconds(cause_id="plan-1", last=1) == [60]
    assert seconds(cause_id="other") == []
    assert seconds(changes=True) == [1, 31]
    assert seconds(changes=True, until=at(30)) == [1]
    assert seconds(last=0) == [60]


def test_a_refused_write_is_a_change_and_so_is_a_lost_connection(
    log: Logbook, path: Path, wall: Wall
) -> None:
    tape = Tape(log, wall)
    tape.run(60)
    tape.answer = Rejected("busy")
    tape.run(10)
    tape.answer = None
    tape.run(20)
    tape.lose()
    tape.run(5)
    found = decisions_view(path, "alpha", DecisionQuery(last=50, changes=True), log).decisions
    refused = [one for one in found if one.command and one.command.result == "rejected"]
    assert refused
    assert refused[0].command is not None
    assert refused[0].command.kind == "renew"
    assert [one.connection_lost for one in found][-1]
    assert replayed(path, RULES).mismatches == 0


def test_the_control_cycle_never_waits_for_the_disk(
    log: Logbook, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = threading.Event()

    def hang(_file: LogFile) -> None:
        stuck.wait(20)

    monkeypatch.setattr(LogFile, "_connection", hang)
    tape = Tape(log, wall)
    begun = time.perf_counter()
    tape.run(700)
    took_s = time.perf_counter() - begun
    assert took_s < 5.0, "700 pure cycles take a fraction of that"
    status = log.status
    assert status.waiting <= 600
    assert status.lost >= 100
    assert not log.flush(0.05)
    stuck.set()


@pytest.fixture(scope="module")
def many() -> Calls:
    """1800 cycles with a plan for each third one, 0.8 MB in a file."""
    calls = Calls()
    tape = Tape(calls, Wall())
    for plan in plans(600):
        tape.plan = plan
        tape.run(3)
    return calls


def test_recording_costs_the_cycle_little(path: Path, wall: Wall, many: Calls) -> None:
    """The best of several, in the thread's own processor time: a busy machine does not matter."""
    log, costs_s = book(path, wall, max_waiting=100_000), []
    for begin in range(0, 1000, 100):
        begun = time.thread_time()
        many.tell(log, wall, begin, begin + 100)
        costs_s.append((time.thread_time() - begun) / 100)
    log.close(20.0)
    assert min(costs_s) < 150e-6


def test_the_file_stays_small_and_the_newest_stay(path: Path, wall: Wall, many: Calls) -> None:
    log, biggest = book(path, wall, limits=LogLimits(max_bytes=MIB)), 0
    for begin in range(0, len(many.said), 100):
        many.tell(log, wall, begin, begin + 100)
        assert log.flush(20.0)
        biggest = max(biggest, size(path))
    log.close()
    assert (log.status.lost, log.status.error) == (0, None)
    assert MIB // 2 < biggest <= MIB
    kept = count(path)
    assert 600 < kept < 1700
    replay = replayed(path, RULES)
    assert (replay.cycles, replay.mismatches) == (kept, 0)
    with LogReader(path) as reader:
        assert reader.find(DecisionQuery(last=1))[0].wall == wall.now
        assert len(reader.runs()) == 1


def test_a_smaller_limit_makes_a_larger_file_smaller(path: Path, wall: Wall, many: Calls) -> None:
    for _ in range(2):
        big = book(path, wall, max_waiting=10_000)
        many.tell(big, wall, 0, len(many.said))
        big.close(20.0)
    assert size(path) > MIB
    small = book(path, wall, limits=LogLimits(max_bytes=MIB))
    tape = Tape(small, wall)
    for _ in range(5):
        tape.run(1)
        assert small.flush(20.0)
    small.close()
    assert size(path) <= MIB
    assert count(path) > 5


def test_old_segments_go(path: Path, wall: Wall) -> None:
    log = book(path, wall, limits=LogLimits(max_age_s=1000.0))
    tape = Tape(log, wall)
    tape.run(650)
    log.flush()
    wall.now += timedelta(seconds=1100)
    tape.run(5)
    log.flush()
    log.close()
    with LogReader(path) as reader:
        oldest = reader.segments()[0].began
    assert wall.now - oldest < timedelta(seconds=1900)
    assert count(path) < 650


@pytest.mark.parametrize("wrong", [{"max_bytes": 1000}, {"max_age_s": 0.0}])
def test_senseless_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LogLimits(**wrong)


def test_a_new_process_goes_on_in_the_same_file(path: Path, wall: Wall) -> None:
    for cycles in (20, 30):
        log = book(path, wall)
        Tape(log, wall).run(cycles)
        log.close()
    with LogReader(path) as reader:
        assert len(reader.runs()) == 2
        assert [s.continues for s in reader.segments()] == [False, False]
        sequences = [one.sequence for one in reader.find(DecisionQuery(last=1000))]
    assert len(sequences) == 50
    assert sequences == sorted(set(sequences))
    assert replayed(path, RULES).mismatches == 0
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_processes_of_one_site_do_not_harm_each_other(path: Path, wall: Wall) -> None:
    """A process of a lost node may still live; the record must survive that."""
    old, new = book(path, wall), book(path, wall)
    one, other = Tape(old, wall), Tape(new, wall)
    for _ in range(10):
        one.run(10)
        other.run(10)
        assert old.flush(10.0)
        assert new.flush(10.0)
    old.close()
    new.close()
    assert count(path) == 200
    assert replayed(path, RULES).mismatches == 0


def test_a_reader_does_not_hold_up_the_writer(log: Logbook, path: Path, wall: Wall) -> None:
    tape = Tape(log, wall)
    tape.run(10)
    log.flush()
    with LogReader(path) as reader:
        cycles = reader.cycles(reader.segments()[0].id)
        next(cycles)
        tape.run(10)
        assert log.flush()
        assert len(list(cycles)) == 9
    assert log.status.error is None


def test_a_reader_that_never_ends_cannot_grow_the_file(path: Path, wall: Wall, many: Calls) -> None:
    log = book(path, wall, limits=LogLimits(max_bytes=MIB))
    tape = Tape(log, wall)
    tape.run(10)
    log.flush()
    holds = sqlite3.connect(path, isolation_level=None)
    holds.execute("BEGIN")
    holds.execute("SELECT * FROM cycle").fetchone()
    for begin in range(0, len(many.said), 60):
        many.tell(log, wall, begin, begin + 60)
        if not log.flush(5.0):
            break
    assert size(path) <= MIB
    assert "a reader holds the file" in str(log.status.error)
    holds.close()
    tape.run(1)
    assert log.flush(10.0)
    assert log.status.error is None
    log.close()


def test_a_full_queue_loses_the_newest_counts_them_and_goes_on(path: Path, wall: Wall) -> None:
    path.parent.mkdir()
    path.mkdir()  # a folder where the file should be: nothing can be written
    log = book(path, wall, max_waiting=50)
    tape = Tape(log, wall)
    tape.run(20)
    assert not log.flush()
    assert "cannot be written" in str(log.status.error)
    tape.run(100)
    assert log.status.lost > 60
    path.rmdir()
    assert log.flush(10.0)
    tape.run(10)
    assert log.flush()
    assert log.status.error is None
    log.close()
    with LogReader(path) as reader:
        segments = reader.segments()
        assert [s.continues for s in segments] == [False, False]
    assert replayed(path, RULES).mismatches == 0
    lost = decisions_view(path, "alpha", DecisionQuery()).lost
    assert lost == log.status.lost, "a reader without the process is told too"


def test_problems_are_said_once_and_their_end_too(
    path: Path, wall: Wall, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.mkdir()
    with caplog.at_level("INFO", "bessai.control"):
        log = book(path, wall)
        tape = Tape(log, wall)
        for _ in range(5):
            tape.run(1)
            log.flush()
        path.rmdir()
        log.flush(10.0)
        log.close()
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    assert [r.getMessage() for r in caplog.records][-1] == "decision record goes on"


@pytest.mark.parametrize("damage", ["text", "middle", "layout"])
def test_an_unreadable_file_is_set_aside_and_a_new_one_begun(
    path: Path, wall: Wall, damage: str
) -> None:
    log = book(path, wall)
    Tape(log, wall).run(300)
    log.close()
    data = bytearray(path.read_bytes())
    if damage == "text":
        data[:] = b"these are not the cycles you are looking for\n" * 100
    elif damage == "middle":
        data[4096:] = os.urandom(len(data) - 4096)
    else:
        data[60:64] = (99).to_bytes(4, "big")
    path.write_bytes(data)
    log = book(path, wall)
    Tape(log, wall).run(10)
    assert log.flush()
    log.close()
    assert log.status.error is None
    assert count(path) == 10
    assert path.with_name("alpha.sqlite.unreadable").read_bytes() == bytes(data)


def test_a_file_damaged_while_it_is_open_is_replaced_at_the_next_start_at_the_latest(
    path: Path, wall: Wall
) -> None:
    log = book(path, wall)
    tape = Tape(log, wall)
    tape.run(300)
    log.flush()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))
    for _ in range(5):
        tape.run(10)
        log.flush()
    log.close()
    log = book(path, wall)
    Tape(log, wall).run(10)
    assert log.flush()
    log.close()
    assert count(path) >= 10
    assert path.with_name("alpha.sqlite.unreadable").exists()


def test_a_removed_file_is_begun_anew(log: Logbook, path: Path, wall: Wall) -> None:
    tape = Tape(log, wall)
    tape.run(10)
    log.flush()
    shutil.rmtree(path.parent)
    tape.run(10)
    assert log.flush()
    assert count(path) == 10
    assert replayed(path, RULES).mismatches == 0


def test_a_value_that_json_cannot_hold_loses_its_cycle_alone(
    log: Logbook, path: Path, wall: Wall
) -> None:
    calls = Calls()
    tape = Tape(calls, Wall())
    tape.run(11)
    _, (before, rules, cycle, after, decision) = calls.said[6]
    odd = replace(cycle, telemetry=replace(HEALTHY, soc_pct=object()))  # type: ignore[arg-type,type-var]
    calls.said[6] = ("decided", (before, rules, odd, after, decision))
    calls.tell(log, wall, 0, len(calls.said))
    assert log.flush()
    assert (log.status.lost, count(path)) == (1, 10)
    assert "cannot be encoded" in str(log.status.error)
    replay = replayed(path, RULES)
    assert (replay.cycles, replay.mismatches) == (10, 0)
    tape = Tape(log, wall)
    tape.run(1)
    assert log.flush()
    assert log.status.error is None


def test_what_is_handed_over_after_the_end_is_counted(path: Path, wall: Wall) -> None:
    log = book(path, wall)
    tape = Tape(log, wall)
    tape.run(5)
    log.close()
    tape.run(2)
    assert log.status.lost >= 2
    assert count(path) == 5


WRITES_FOR_EVER = """
import sys, itertools, time
from pathlib import Path
from bessai.control.logbook import Logbook
from tests.support.logbook_values import Tape, Wall, plans
wall = Wall()
log = Logbook(Path(sys.argv[1]), "{}", wall=wall, commit_s=0.05)
tape = Tape(log, wall)
for n in itertools.count():
    if n % 10 == 0:
        tape.plan = next(plans(1))
    tape.run(10)
    print(10 * n + 10, log.status.stored, flush=True)
    time.sleep(0.01)
"""


@pytest.mark.timeout(60)
def test_a_killed_process_loses_its_last_batch_at_most(path: Path, wall: Wall) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES_FOR_EVER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    stored = 0
    for line in process.stdout:
        done, stored = (int(word) for word in line.split())
        if done > 250:
            break
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    kept = count(path)
    assert kept >= stored > 0
    replay = replayed(path, RULES)
    assert (replay.cycles, replay.mismatches) == (kept, 0)
    log = book(path, wall)
    Tape(log, wall).run(5)
    log.close()
    assert count(path) == kept + 5


ON_A_SMALL_DISK = """
import os, sys
from pathlib import Path
from bessai.control.logbook import Logbook
from tests.support.logbook_play import replayed
from tests.support.logbook_values import RULES, Tape, Wall
folder, wall = Path(sys.argv[1]), Wall()
log = Logbook(folder / "alpha.sqlite", "{}", wall=wall, commit_s=0.02, max_waiting=100)
tape = Tape(log, wall)
tape.run(50)
assert log.flush(5.0), log.status
ballast = folder / "ballast"
file = os.open(ballast, os.O_CREAT | os.O_WRONLY)
try:
    while True:
        os.write(file, b"x" * 4096)
except OSError:
    os.close(file)
for _ in range(10):
    tape.run(20)
    log.flush(1.0)
status = log.status
assert status.error is not None and status.lost > 0, status
ballast.unlink()
assert log.flush(5.0), log.status
tape.run(20)
assert log.flush(5.0), log.status
assert log.status.error is None, log.status
log.close()
replay = replayed(folder / "alpha.sqlite", RULES)
assert replay.mismatches == 0 and replay.cycles > 150, replay
print("recovered", status.error)
"""


def test_a_full_disk_is_survived_and_recorded_on_again_when_there_is_space(
    tmp_path: Path,
) -> None:
    """A real file system of 1 MiB, in a mount name space of the test's own."""
    inside = f'mount -t tmpfs -o size=1m none {tmp_path} && exec "$0" -c "$1" {tmp_path}'
    result = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", inside, sys.executable, ON_A_SMALL_DISK],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    if "unshare:" in result.stderr or "mount:" in result.stderr:
        pytest.skip("this machine gives no mount name space of one's own")
    assert result.returncode == 0, result.stderr
    assert "full" in result.stdout


def test_a_copy_where_nothing_may_be_written_is_read(
    log: Logbook, path: Path, wall: Wall, tmp_path: Path
) -> None:
    Tape(log, wall).run(20)
    log.close()
    copy = tmp_path / "copy" / "alpha.sqlite"
    copy.parent.mkdir()
    shutil.copy(path, copy)
    copy.chmod(0o400)
    copy.parent.chmod(0o500)
    try:
        with LogReader(copy) as reader:
            assert len(reader.find(DecisionQuery(last=1000))) == 20
    finally:
        copy.parent.chmod(0o700)


@pytest.mark.parametrize("content", [b"", b"hello\n" * 1000])
def test_something_else_is_not_a_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(StoreError, match="not a decision record"):
        LogReader(tmp_path / "x")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such decision record"):
        LogReader(tmp_path / "none.sqlite")


def test_a_damaged_cycle_says_so(log: Logbook, path: Path, wall: Wall) -> None:
    Tape(log, wall).run(20)
    log.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE cycle SET payload = substr(payload, 1, 20)")
    with LogReader(path) as reader, pytest.raises(ProtocolError, match=r"damaged|cut off"):
        reader.find(DecisionQuery())
