"""What is read when: few requests, no value too old, nothing that the device refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.config.profile import MAIN, Guard, Persistence, Point, PointType, Space, Table
from bessai.devices.plan import Block, ReadRules, ReadSchedule, blocks

HOLDING = Space(MAIN, Table.HOLDING)
GUARD = Guard(first=101, last=138, requires="status", equals=1)


def point(address: int, count: int = 1, *, table: Table = Table.HOLDING) -> Point:
    kind = {1: PointType.U16, 2: PointType.U32}.get(count, PointType.STRING)
    return Point(address=address, count=count, type=kind, table=table)


def named(*addresses: int) -> dict[str, Point]:
    return {f"p{address}": point(address) for address in addresses}


def spans(found: tuple[Block, ...] | list[Block]) -> list[tuple[int, int]]:
    return [(block.address, block.count) for block in found]


@dataclass
class Device:
    """Answers reads like a device that lacks some registers, and counts what it is asked."""

    lacks: frozenset[int] = frozenset()
    status: int | None = None
    asked: list[Block] = field(default_factory=list)

    def read(self, schedule: ReadSchedule, now_s: float) -> None:
        pending = schedule.due(now_s)
        while pending:
            block = pending.pop(0)
            if not schedule.allows(block, now_s):
                continue
            self.asked.append(block)
            if self.lacks & set(range(block.address, block.end)):
                pending[:0] = schedule.split(block)
                continue
            schedule.note_read(block, now_s)
            if "status" in block.points:
                schedule.note_guard("status", self.status, now_s)

    def cycle(self, schedule: ReadSchedule, now_s: float) -> list[Block]:
        self.asked.clear()
        self.read(schedule, now_s)
        return list(self.asked)


def test_neighbours_are_merged_up_to_the_gap() -> None:
    found = blocks(named(10, 12, 15, 16), {}, ReadRules(max_gap=1))
    assert spans(found) == [(10, 3), (15, 2)]
    assert found[0].points == ("p10", "p12")


def test_a_block_is_no_longer_than_the_device_takes() -> None:
    assert spans(blocks(named(*range(10)), {}, ReadRules(max_block=4))) == [(0, 4), (4, 4), (8, 2)]


def test_a_point_longer_than_a_block_is_read_all_the_same() -> None:
    found = blocks({"text": point(5, 20), "next": point(25)}, {}, ReadRules(max_block=8))
    assert spans(found) == [(5, 20), (25, 1)]


def test_tables_and_units_are_read_apart() -> None:
    points = {"a": point(1), "b": point(2, table=Table.INPUT)}
    assert [block.space.table for block in blocks(points, {}, ReadRules())] == ["holding", "input"]


def test_points_that_share_registers_are_read_together() -> None:
    points = {"whole": point(4, 2), "low": point(5), "far": point(9)}
    found = blocks(points, {}, ReadRules())
    assert [(b.address, b.count, b.points) for b in found] == [
        (4, 2, ("whole", "low")),
        (9, 1, ("far",)),
    ]


def test_a_slow_point_in_reach_of_a_fast_block_rides_along() -> None:
    schedule = ReadSchedule(named(10, 14), named(12, 15, 60), ReadRules(max_gap=1))
    device = Device()
    device.read(schedule, 0.0)
    assert spans(device.cycle(schedule, 1.0)) == [(10, 6)]


def test_a_write_only_point_is_never_read() -> None:
    point_ = Point(address=1, type=PointType.U16, readable=False, persistence=Persistence.COMMAND)
    assert blocks({"order": point_}, {}, ReadRules()) == ()


def guarded(*slow: int) -> ReadSchedule:
    rules = ReadRules(max_gap=16, slow_s=5.0, guards=(GUARD,), guard_points={"status": point(100)})
    return ReadSchedule({**named(90, 113, 119), "status": point(100)}, named(*slow), rules)


def test_guarded_registers_are_read_after_what_guards_them() -> None:
    device = Device(status=1)
    assert spans(device.cycle(guarded(), 0.0)) == [(90, 11), (113, 7)]


def test_guarded_registers_are_never_read_while_the_guard_says_no() -> None:
    device = Device(status=0)
    schedule = guarded(150)
    for cycle in range(20):
        assert all(
            block.end <= 101 or block.address > 138 for block in device.cycle(schedule, cycle)
        )
    device.status = 1
    assert (113, 7) in spans(device.cycle(schedule, 20.0))


def test_a_guard_that_holds_is_read_with_its_registers_if_that_saves_a_request() -> None:
    rules = ReadRules(max_gap=16, guards=(GUARD,), guard_points={"status": point(100)})
    schedule = ReadSchedule(named(113, 119, 60), {}, rules)
    device = Device(status=1)
    assert spans(device.cycle(schedule, 0.0)) == [(60, 1), (100, 1), (113, 7)]
    assert spans(device.cycle(schedule, 1.0)) == [(60, 1), (100, 20)]
    device.status = 0
    device.cycle(schedule, 2.0)
    assert spans(device.cycle(schedule, 3.0)) == [(60, 1), (100, 1)]


def test_a_guard_that_is_too_old_is_read_alone_again() -> None:
    rules = ReadRules(max_gap=16, slow_s=5.0, guards=(GUARD,), guard_points={"status": point(100)})
    schedule = ReadSchedule(named(113), {}, rules)
    device = Device(status=1)
    device.read(schedule, 0.0)
    assert spans(device.cycle(schedule, 5.5)) == [(100, 1), (113, 1)]


def test_no_block_reaches_over_guarded_registers() -> None:
    schedule = ReadSchedule(
        named(99, 139), {}, ReadRules(max_gap=64, guards=(GUARD,), guard_points=named(100))
    )
    assert spans(schedule.due(0.0)) == [(99, 1), (139, 1)]


def test_an_absent_point_is_found_left_out_and_told() -> None:
    device = Device(lacks=frozenset({23}))
    schedule = ReadSchedule(named(*range(20, 28)), {}, ReadRules())
    first = device.cycle(schedule, 0.0)
    assert schedule.missing == ("p23",)
    assert {name for block in first if block.address != 23 for name in block.points} >= set(
        named(20, 21, 22, 24, 25, 26, 27)
    )
    assert spans(device.cycle(schedule, 1.0)) == [(20, 3), (24, 4)]
    schedule.reset()
    assert not schedule.missing


def test_a_gap_that_cannot_be_bridged_is_remembered() -> None:
    device = Device(lacks=frozenset({12}))
    schedule = ReadSchedule(named(10, 11, 13, 14), {}, ReadRules(max_gap=4))
    device.read(schedule, 0.0)
    assert schedule.missing == ()
    assert spans(device.cycle(schedule, 1.0)) == [(10, 2), (13, 2)]


def test_of_points_that_share_registers_the_longest_is_given_up_first() -> None:
    device = Device(lacks=frozenset({5}))
    schedule = ReadSchedule({"whole": point(4, 2), "high": point(4)}, {}, ReadRules())
    device.read(schedule, 0.0)
    assert schedule.missing == ("whole",)
    assert spans(device.cycle(schedule, 1.0)) == [(4, 1)]


def test_cover_leaves_out_what_is_missing_and_reads_the_rest_at_once() -> None:
    device = Device(lacks=frozenset({23}))
    schedule = ReadSchedule(named(22, 23), {}, ReadRules(max_gap=16))
    device.read(schedule, 0.0)
    assert spans(schedule.cover(named(20, 23, 26), 0.5)) == [(20, 1), (26, 1)]


@pytest.mark.parametrize("step_s", [0.5, 1.0, 2.0])
def test_slow_blocks_are_spread_over_the_cycles(step_s: float) -> None:
    schedule = ReadSchedule({}, named(*range(0, 1000, 100)), ReadRules(slow_s=5.0))
    device = Device()
    assert len(device.cycle(schedule, 0.0)) == 10
    counts = [len(device.cycle(schedule, step_s * n)) for n in range(1, 101)]
    per_cycle = 10 / (5.0 // step_s)
    assert max(counts[20:]) <= per_cycle + 1
    assert sum(counts[20:]) / 80 <= 1.05 * per_cycle


maps = st.dictionaries(
    st.sampled_from([f"n{i}" for i in range(12)]),
    st.builds(
        point,
        st.integers(0, 120),
        st.sampled_from([1, 1, 2, 3, 7]),
        table=st.sampled_from([Table.HOLDING, Table.HOLDING, Table.INPUT]),
    ),
    min_size=1,
)
limits = st.tuples(st.integers(7, 40), st.integers(0, 20), st.booleans())


def rules_of(limit: tuple[int, int, bool], slow_s: float = 5.0) -> ReadRules:
    max_block, max_gap, has_guard = limit
    guards = (Guard(first=40, last=60, requires="status", equals=1),) if has_guard else ()
    points = {"status": point(39)} if has_guard else {}
    return ReadRules(max_block, max_gap, slow_s, guards, points)


def check_block(block: Block, points: Mapping[str, Point], rules: ReadRules) -> None:
    covered = {
        register
        for name in block.points
        for register in range(points[name].address, points[name].end)
    }
    assert {points[name].space for name in block.points} == {block.space}
    assert min(covered) == block.address
    assert max(covered) == block.end - 1
    shared = len(covered) < sum(points[name].count for name in block.points)
    assert block.count <= rules.max_block or shared
    unused = sorted(set(range(block.address, block.end)) - covered)
    gap = longest = 0
    for i, register in enumerate(unused):
        gap = gap + 1 if i and unused[i - 1] == register - 1 else 1
        longest = max(longest, gap)
    assert longest <= rules.max_gap
    entered = {
        g.requires for g in rules.guards if g.touches(block.space, block.address, block.count)
    }
    assert entered <= {guard.requires for guard in block.guards}
    if block.guards:
        inside = [n for n in block.points if rules.guards[0].touches(*_place(points[n]))]
        assert set(block.points) - set(inside) <= {"status"} or shared


def _place(found: Point) -> tuple[Space, int, int]:
    return found.space, found.address, found.count


@given(fast=maps, slow=maps, limit=limits, status=st.sampled_from([None, 0, 1]))
def test_each_cycle_keeps_the_rules_and_no_value_gets_too_old(
    fast: dict[str, Point], slow: dict[str, Point], limit: tuple[int, int, bool], status: int | None
) -> None:
    rules = rules_of(limit)
    schedule = ReadSchedule(fast, slow, rules)
    points = {**rules.with_guards(slow), **rules.with_guards(fast)}
    open_now = status == 1 or not rules.guards
    wanted = {
        name for name, p in points.items() if open_now or not rules.guards[0].touches(*_place(p))
    }
    device, read_at = Device(status=status), dict[str, float]()
    for cycle in range(25):
        now_s = 1.0 * cycle
        found = device.cycle(schedule, now_s)
        seen = Counter(name for block in found for name in block.points)
        assert set(seen.values()) <= {1}
        for block in found:
            check_block(block, points, rules)
            assert not block.guards or status == 1
        read_at.update(dict.fromkeys(seen, now_s))
        reachable = {name for name in wanted if _alone(name, points, wanted)}
        for name in reachable:
            assert now_s - read_at[name] < rules.slow_s
            assert name not in fast or name in seen


def _alone(name: str, points: Mapping[str, Point], wanted: set[str]) -> bool:
    """Whether no point that may not be read shares its registers."""
    mine = points[name]
    others = [points[other] for other in points if other not in wanted]
    return all(
        o.space != mine.space or o.address >= mine.end or mine.address >= o.end for o in others
    )


@given(
    fast=maps,
    slow=maps,
    limit=limits,
    lacks=st.frozensets(st.integers(0, 130), max_size=6),
)
def test_what_the_device_has_is_read_and_what_it_lacks_is_missing(
    fast: dict[str, Point],
    slow: dict[str, Point],
    limit: tuple[int, int, bool],
    lacks: frozenset[int],
) -> None:
    rules = rules_of((limit[0], limit[1], False))
    schedule = ReadSchedule(fast, slow, rules)
    points = {**slow, **fast}
    device = Device(lacks=lacks)
    for cycle in range(12):
        device.read(schedule, 1.0 * cycle)
    absent = {n for n, p in points.items() if lacks & set(range(p.address, p.end))}
    assert set(schedule.missing) >= absent
    # A point may be given up in the place of one that shares its registers, never otherwise.
    for name in set(schedule.missing) - absent:
        assert any(_share(points[name], points[other]) for other in points if other != name)
    device.asked.clear()
    for cycle in range(12, 18):
        device.read(schedule, 1.0 * cycle)
    assert not any(lacks & set(range(b.address, b.end)) for b in device.asked)
    seen = {name for block in device.asked for name in block.points}
    assert seen == set(points) - set(schedule.missing)


def _share(one: Point, other: Point) -> bool:
    same = one.space == other.space
    return same and one.address < other.end and other.address < one.end
