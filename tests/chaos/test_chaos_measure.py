"""The campaign's own judgement: each rule sees the violation that it is there for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bessai.sim.journal import Cause, CommandEntry, WriteEntry
from tests.chaos.cluster import ABOVE
from tests.chaos.lanes import LANES, shared_out
from tests.chaos.measure import (
    Decided,
    Sample,
    control_s,
    cycle_gap_s,
    gap_s,
    lost_and_doubled,
    missing_cycles,
    own_mode_s,
    safe_s,
    second_masters,
)
from tests.chaos.promises import broken
from tests.chaos.report import merge, quantiles, table
from tests.chaos.soak import Reading, grown, problems_of

WALL = datetime(2026, 1, 1, tzinfo=UTC)


def command(
    at_s: float, kw: float | None, connection: int | None = 1, cause: Cause = Cause.WRITE
) -> CommandEntry:
    return CommandEntry(0, at_s, WALL, 0.0, kw, True, cause, connection)


def write(at_s: float, connection: int, outcome: str = "accepted") -> WriteEntry:
    return WriteEntry(0, at_s, WALL, "c", connection, 1, 47100, (1,), outcome, True)


def decided(now_s: float, kw: float | None = None, result: str | None = "applied") -> Decided:
    return Decided(now_s, 1, kw, None if kw is None else result)


KILLED = [command(90, 2.0), command(210, None, None, Cause.DEAD_MAN), command(230, 2.0, 2)]


def test_safe_power_and_control_are_counted_from_the_fault() -> None:
    assert own_mode_s(KILLED, 100, 300) == safe_s(KILLED, 100, 300) == 110
    assert control_s(KILLED, 100, 300, known=frozenset({1})) == 130
    assert control_s([*KILLED[:1], command(120, 2.0, 1)], 100, 300, known=frozenset({1})) is None


def test_a_battery_that_rests_already_is_safe_at_once() -> None:
    assert safe_s([command(90, 0.0)], 100, 300) == 0.0


def test_a_command_that_is_never_renewed_is_counted_to_the_end() -> None:
    assert gap_s([command(90, 2.0), command(95, 2.0)], 100, 400) == 300
    assert gap_s(KILLED, 100, 240) == 120
    assert gap_s([command(90, 2.0), command(150, 2.0)], 100, 160) == 60


def test_a_connection_that_writes_again_after_another_one_is_a_second_master() -> None:
    assert second_masters([write(1, 1), write(2, 2), write(3, 2)]) == []
    assert second_masters([write(1, 1), write(2, 2), write(3, 1)]) == [3]
    assert second_masters([write(1, 1), write(2, 0), write(3, 1)]) == []  # 0 is the rogue
    assert second_masters([write(1, 1), write(2, 2, "exception 6"), write(3, 1)]) == []


def test_a_command_that_never_came_is_lost_unless_it_was_replaced() -> None:
    seen = [command(10.1, 2.0), command(30.1, 1.0)]
    told = [decided(10, 2.0), decided(20, 3.0, "rejected"), decided(30, 1.0), decided(200)]
    assert lost_and_doubled(told, seen) == ([], [])
    applied = [decided(10, 2.0), decided(20, 3.0), decided(30, 1.0), decided(200)]
    assert lost_and_doubled(applied, seen) == ([20], [])
    never = [decided(10, 2.0), decided(40, 3.0, None), decided(200)]
    assert lost_and_doubled(never, seen[:1]) == ([40], [])


def test_one_decision_written_by_two_connections_is_doubled() -> None:
    seen = [command(10.1, 2.0, 1), command(10.4, 2.0, 2)]
    assert lost_and_doubled([decided(10, 2.0), decided(11)], seen) == ([], [10])


def test_missing_and_late_cycles_are_seen() -> None:
    cycles = [decided(float(n)) for n in range(100) if n not in (50, 51, 52)]
    assert cycle_gap_s(cycles, 0, 100) == 4
    assert missing_cycles(cycles, 0, 100) == 2  # one at the edges does not count
    assert missing_cycles([decided(float(n)) for n in range(100)], 0, 100) == 0
    other = [Decided(1, 1, None, None), Decided(9, 2, None, None)]
    assert cycle_gap_s(other, 0, 100) is None  # a new process began


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        (Sample("disk full", "s1", 0, 1, 2, forced_kwh=1e-6), "kWh beyond"),
        (Sample("disk full", "s1", 0, 1, 2, lost=1), "lost"),
        (Sample("disk full", "s1", 0, 1, 2, masters=1), "second masters"),
        (Sample("disk full", "s1", 0, 1, 2, gap_s=130), "nobody renewed"),
        (Sample("site kill -9", "s1", 0, 1, 2, control_s=10.5), "only after 10.5 s"),
        (Sample("site kill -9", "s1", 0, 1, 2), "no command again"),
        (Sample("fleet kill -9", "fleet", 0, 1, 2, safe_s=3), "lost control"),
        (Sample(ABOVE, "fleet", 0, 1, 2, details={"missing_cycles": 1.0}), "missing"),
        (Sample(ABOVE, "fleet", 0, 1, 2, cycle_gap_s=2.5), "between two control cycles"),
        (Sample("disk full", "s1", 0, 0, 0, note="FAILED: it"), "FAILED"),
    ],
)
def test_each_promise_can_be_broken(sample: Sample, text: str) -> None:
    (line,) = broken([sample])
    assert text in line


def test_what_is_as_promised_breaks_nothing() -> None:
    fine = Sample("site kill -9", "s1", 0, 1, 2, control_s=4.0, gap_s=60.0)
    assert broken([fine, Sample(ABOVE, "fleet", 0, 1, 2, cycle_gap_s=1.4)]) == []
    assert "| site kill -9 | 1 | 0 | - | 4.0 / 4.0 / 4.0 |" in table([fine])


def test_lanes_share_the_samples_out_evenly() -> None:
    shares = shared_out(20, list(LANES), 20)
    assert [sorted(k.name for k in share).count("site kill -9") for share in shares].count(0) < 20
    assert sum(len(share) for share in shares) == 20 * len(LANES)
    lengths = [sum(k.active_s + k.settle_s for k in share) for share in shares]
    assert max(lengths) - min(lengths) <= 180


def test_quantiles_of_twenty() -> None:
    assert quantiles([float(n) for n in range(1, 21)]) == "11.0 / 20.0 / 20.0"


def test_each_run_leaves_the_part_of_the_other_alone(tmp_path: Path) -> None:
    path = tmp_path / "reliability.md"
    merge(path, "soak", "soak one")
    merge(path, "campaign", "campaign one")
    merge(path, "soak", "soak two")
    merge(path, "campaign", "campaign two")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Reliability")
    assert text.index("campaign two") < text.index("soak two")
    assert "one" not in text.replace("one.", "")


def test_growing_memory_and_descriptors_are_found() -> None:
    def readings(step_mb: float, files: int) -> list[Reading]:
        return [
            Reading(30.0 * n, "s1", 7, 100 + step_mb * n, 1, 30 + files * n, 20) for n in range(60)
        ]

    assert problems_of(grown(readings(0.0, 0), 300), {}) == []
    assert "memory grew" in problems_of(grown(readings(0.1, 0), 300), {})[0]
    assert "descriptors" in problems_of(grown(readings(0.0, 1), 300), {})[0]
    assert problems_of([], {"s1": 2}) == ["s1: 2 processes"]
