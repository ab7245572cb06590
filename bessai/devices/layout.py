"""Which registers go into one read: pure, so that the rules can be tested on any map.

Points that overlap are read as one cell. A block is a run of cells that keeps within the
profile's span and gap, and neither enters nor leaves guarded registers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bessai.config.profile import DeviceProfile, Guard, Point, Space

PROTOCOL_LIMIT: Final = 125
"""Registers that one answer can carry (MODBUS Application Protocol V1.1b3, section 6.3)."""


@dataclass(frozen=True, slots=True)
class Block:
    """One read.

    Attributes:
        space: Unit and table.
        address: First register.
        count: Number of registers.
        points: Names of the points it covers, ascending by address.
        guards: Conditions that must hold when it is sent.
    """

    space: Space
    address: int
    count: int
    points: tuple[str, ...]
    guards: tuple[Guard, ...] = ()

    @property
    def end(self) -> int:
        """First address after the block."""
        return self.address + self.count


@dataclass(frozen=True, slots=True)
class ReadRules:
    """How a family may be read.

    Attributes:
        max_block: Most registers in one read; a longer single point is read all the same.
        max_gap: Widest run of unused registers that a read may bridge.
        slow_s: Age up to which a slow value, or a guard, is trusted; real seconds.
        guards: Registers that may be read under a condition only.
        guard_points: The points that those conditions ask for, by name.
    """

    max_block: int = 64
    max_gap: int = 0
    slow_s: float = 5.0
    guards: tuple[Guard, ...] = ()
    guard_points: Mapping[str, Point] = field(default_factory=dict)

    @classmethod
    def of(cls, profile: DeviceProfile) -> ReadRules:
        """The rules of a profile."""
        link = profile.connection
        points = {guard.requires: profile.points[guard.requires] for guard in profile.guards}
        return cls(link.max_block, link.max_gap, link.slow_s, profile.guards, points)

    def with_guards(self, points: Mapping[str, Point]) -> dict[str, Point]:
        """What can be read of ``points``, and before it what their guards ask for."""
        readable = {name: point for name, point in points.items() if point.readable}
        asked = {
            guard.requires: self.guard_points[guard.requires]
            for guard in self.guards
            if any(guard.touches(p.space, p.address, p.count) for p in readable.values())
        }
        return asked | readable


@dataclass(frozen=True, slots=True)
class Span:
    """Registers ``first`` up to but without ``end``."""

    space: Space
    first: int
    end: int

    def overlaps(self, other: Span) -> bool:
        """Whether a register is in both."""
        return self.space == other.space and self.first < other.end and other.first < self.end

    def contains(self, other: Span) -> bool:
        """Whether all of ``other`` is inside."""
        return self.space == other.space and self.first <= other.first and other.end <= self.end


@dataclass(frozen=True, slots=True)
class Cut:
    """No block may reach over the boundary before register ``at``; why: ``refused`` as a whole."""

    refused: Span
    at: int

    def divides(self, span: Span) -> bool:
        """Whether the boundary lies inside ``span``."""
        return span.space == self.refused.space and span.first < self.at < span.end


@dataclass(frozen=True, slots=True)
class Ground:
    """What was learned about the device besides its rules.

    Attributes:
        rules: Of the profile.
        cuts: Boundaries found after refusals.
        holes: Registers that the device does not have.
        holding: Guards whose condition is known to hold now.
    """

    rules: ReadRules
    cuts: Collection[Cut] = ()
    holes: Collection[Span] = ()
    holding: Collection[Guard] = ()

    def touched(self, span: Span) -> tuple[Guard, ...]:
        """Guards whose registers lie in ``span``."""
        count = span.end - span.first
        return tuple(g for g in self.rules.guards if g.touches(span.space, span.first, count))

    def allows(self, run: _Cell, cell: _Cell, between: int) -> bool:
        """Whether ``cell`` may be read together with ``run``, bridging ``between`` registers."""
        both = _union(run.span, cell.span)
        return (
            run.guards == cell.guards
            and between <= self.rules.max_gap
            and both.end - both.first <= min(self.rules.max_block, PROTOCOL_LIMIT)
            and set(self.touched(both)) <= set(run.guards)
            and not any(cut.divides(both) for cut in self.cuts)
            and not any(hole.overlaps(both) for hole in self.holes)
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """Blocks that carry a fast point, with the slow ones that ride along, and the others."""

    fast: tuple[Block, ...]
    slow: tuple[Block, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Blocks per cycle, and blocks in all."""
        return len(self.fast), len(self.fast) + len(self.slow)


@dataclass(frozen=True, slots=True)
class _Cell:
    span: Span
    names: tuple[str, ...]
    fast: bool
    guards: tuple[Guard, ...] = ()


def arrange(fast: Mapping[str, Point], slow: Mapping[str, Point], ground: Ground) -> Layout:
    """The fewest blocks for the fast points, then for the slow ones that fit into none of them.

    A slow point rides along where a fast block reaches it within span and gap, for that costs no
    request. The point that a guard asks for is read together with the guarded registers where
    the guard holds and this saves a block; otherwise before them.
    """
    plain = _arrange(fast, slow, ground, join=False)
    if not ground.holding:
        return plain
    joined = _arrange(fast, slow, ground, join=True)
    return joined if joined.size < plain.size else plain


def span_of(block: Block) -> Span:
    """The registers of a block."""
    return Span(block.space, block.address, block.end)


def point_span(point: Point) -> Span:
    """The registers of a point."""
    return Span(point.space, point.address, point.end)


def _arrange(
    fast: Mapping[str, Point], slow: Mapping[str, Point], ground: Ground, *, join: bool
) -> Layout:
    by_space: defaultdict[Space, dict[str, Point]] = defaultdict(dict)
    for name, point in {**slow, **fast}.items():
        by_space[point.space][name] = point
    urgent: list[Block] = []
    patient: list[Block] = []
    for points in by_space.values():
        cells = [_joined(cell, ground, join=join) for cell in _cells(points, fast, ground)]
        for run in _runs(cells, ground):
            (urgent if run.fast else patient).append(_block(run))
    return Layout(_unguarded_first(urgent), _unguarded_first(patient))


def _cells(points: Mapping[str, Point], fast: Collection[str], ground: Ground) -> list[_Cell]:
    """Points of one space, ascending; those that overlap under the same guards share a cell."""
    cells: list[_Cell] = []
    for name, point in sorted(points.items(), key=lambda item: (item[1].address, item[1].end)):
        span = point_span(point)
        cell = _Cell(span, (name,), name in fast, ground.touched(span))
        if cells and cells[-1].span.overlaps(span) and cells[-1].guards == cell.guards:
            both = _merged(cells[-1], cell)
            if both.span.end - both.span.first <= PROTOCOL_LIMIT:
                cells[-1] = both
                continue
        cells.append(cell)
    return cells


def _joined(cell: _Cell, ground: Ground, *, join: bool) -> _Cell:
    """The cell of a guard's own point goes with the guarded registers while the guard holds."""
    held = [guard for guard in ground.holding if guard.requires in cell.names]
    if not join or not held:
        return cell
    guards = tuple(g for g in ground.rules.guards if g in cell.guards or g in held)
    return replace(cell, guards=guards)


def _runs(cells: Sequence[_Cell], ground: Ground) -> list[_Cell]:
    """Merge cells into blocks.

    Growing from the lowest fast cell as far up as possible needs the fewest fast blocks; slow
    cells on the way serve as stepping stones over a gap.
    """
    runs: list[_Cell] = []
    free = dict.fromkeys(range(len(cells)))
    for fast in (True, False):
        for seed in [i for i in free if cells[i].fast is fast]:
            if seed not in free:
                continue
            run = cells[seed]
            del free[seed]
            for step in (1, -1):
                at = seed + step
                while at in free and ground.allows(run, cells[at], _gap(run, cells[at])):
                    run = _merged(run, cells[at])
                    del free[at]
                    at += step
            runs.append(run)
    return runs


def _merged(run: _Cell, cell: _Cell) -> _Cell:
    lower, upper = (run, cell) if run.span.first <= cell.span.first else (cell, run)
    names = (*lower.names, *upper.names)
    return _Cell(_union(run.span, cell.span), names, run.fast or cell.fast, run.guards)


def _gap(run: _Cell, cell: _Cell) -> int:
    return max(cell.span.first - run.span.end, run.span.first - cell.span.end)


def _union(one: Span, other: Span) -> Span:
    return Span(one.space, min(one.first, other.first), max(one.end, other.end))


def _block(run: _Cell) -> Block:
    span = run.span
    return Block(span.space, span.first, span.end - span.first, run.names, run.guards)


def _unguarded_first(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """In the order to read: what a guard asks for is known before its registers are due."""
    return tuple(sorted(blocks, key=lambda b: (bool(b.guards), b.space, b.address)))
