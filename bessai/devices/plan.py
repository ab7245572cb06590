"""What to read in each cycle: fast points always, slow ones in turn, nothing that is refused.

Watched points are slow ones that may not wait for their turn: they are read in every second cycle.

Pure but for its memory: no I/O and no clock; the driver says when something was read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from bessai.config.profile import Guard, Point
from bessai.devices.layout import (
    Block,
    Cut,
    Ground,
    Layout,
    ReadRules,
    Span,
    arrange,
    point_span,
    span_of,
)

__all__ = ["Block", "ReadRules", "ReadSchedule", "blocks"]

_STEP_MEMORY: Final = 0.9
"""How much of the longest recent cycle still counts one cycle later."""


def blocks(
    fast: Mapping[str, Point], slow: Mapping[str, Point], rules: ReadRules
) -> tuple[Block, ...]:
    """The fewest reads for these points where nothing is known yet, guarded ones last."""
    layout = arrange(rules.with_guards(fast), rules.with_guards(slow), Ground(rules))
    return tuple(sorted((*layout.fast, *layout.slow), key=lambda block: bool(block.guards)))


class ReadSchedule:
    """The reads of one device, and what was learned from its answers.

    Args:
        fast: Points read in every cycle, by name.
        slow: Points that may be up to ``rules.slow_s`` old.
        rules: Span, gap and guards of the family.
    """

    def __init__(
        self, fast: Mapping[str, Point], slow: Mapping[str, Point], rules: ReadRules
    ) -> None:
        self._rules = rules
        self._fast = rules.with_guards(fast)
        self._slow = {n: p for n, p in rules.with_guards(slow).items() if n not in self._fast}
        self._points = self._slow | self._fast
        self.reset()

    @property
    def missing(self) -> tuple[str, ...]:
        """Points that the device refuses, in the order they were found."""
        return tuple(self._missing)

    @property
    def guard_points(self) -> frozenset[str]:
        """Points whose raw value :meth:`note_guard` wants after each read."""
        return frozenset(guard.requires for guard in self._rules.guards)

    def point(self, name: str) -> Point:
        """A point that is or was to be read."""
        return self._points[name]

    def reset(self) -> None:
        """Forget everything learned: another device or firmware may answer now."""
        self._missing: dict[str, Span] = {}
        self._cuts: list[Cut] = []
        self._layouts: dict[tuple[Guard, ...], Layout] = {}
        self._read_at = dict.fromkeys(self._points, -math.inf)
        self._noted: dict[str, tuple[int | None, float]] = {}
        self._last_s: float | None = None
        self._step_s = 0.0
        self._credit = 0.0

    def due(self, now_s: float, watched: frozenset[str] = frozenset()) -> list[Block]:
        """Blocks to read in the cycle that begins at ``now_s``, in this order.

        Ask :meth:`allows` before each: whether guarded registers may be read is known once the
        blocks before them are. The first call returns all blocks; later ones spread the slow
        blocks so that none gets older than ``rules.slow_s`` if cycles stay as long as they are.

        Args:
            now_s: Monotonic seconds.
            watched: Names of slow points; their blocks are read in every second cycle at least.
        """
        layout = self._layout(self._holding(now_s))
        ready: list[Block] = []
        barred: list[Block] = []
        for block in layout.slow:
            (ready if self.allows(block, now_s) else barred).append(block)
        blocks = (*layout.fast, *self._in_turn(ready, now_s, watched), *barred)
        free = [block for block in blocks if not block.guards]
        return free + [block for block in blocks if block.guards]

    def unread(self, now_s: float, watched: frozenset[str]) -> list[Block]:
        """Slow blocks of watched points that were not read in the cycle that began at ``now_s``.

        Args:
            now_s: As given to :meth:`due`.
            watched: Names of slow points that the answers of this cycle made worth watching.
        """
        slow = self._layout(self._holding(now_s)).slow
        return [block for block in slow if self._is_older(block, watched, now_s)]

    def allows(self, block: Block, now_s: float) -> bool:
        """Whether all guards of ``block`` are known to hold, by values not older than slow_s."""
        return not block.guards or all(self._holds(guard, now_s) for guard in block.guards)

    def cover(self, points: Mapping[str, Point], now_s: float) -> tuple[Block, ...]:
        """The fewest blocks for these points now, with the points that guard them first.

        Points that the device refuses are left out.
        """
        wanted = self._known(self._rules.with_guards(points))
        self._points = wanted | self._points
        return arrange(wanted, {}, self._ground(self._holding(now_s))).fast

    def note_read(self, block: Block, now_s: float) -> None:
        """``block`` was read at ``now_s``."""
        self._read_at.update(dict.fromkeys(block.points, now_s))

    def note_guard(self, name: str, raw: int | None, now_s: float) -> None:
        """A guard's point was read; None where it told nothing."""
        self._noted[name] = (raw, now_s)

    def split(self, block: Block) -> tuple[Block, ...]:
        """After exception 2: what to read instead, at once and from now on.

        The block is cut in halves between points. One that holds a single point, or only points
        that overlap, loses the longest of them, which counts as missing from now on; cuts that
        only searched for it are forgotten.
        """
        lower, upper = self._halves(block)
        if upper:
            at = self._points[upper[0]].address
            self._cuts.append(Cut(span_of(block), at))
            self._layouts.clear()
            return (self._part(block, lower), self._part(block, upper))
        worst = max(lower, key=lambda name: self._points[name].count)
        lost = point_span(self._points[worst])
        self._missing[worst] = lost
        self._cuts = [cut for cut in self._cuts if not cut.refused.contains(lost)]
        self._layouts.clear()
        rest = tuple(name for name in lower if name != worst)
        return (self._part(block, rest),) if rest else ()

    def _known(self, points: Mapping[str, Point]) -> dict[str, Point]:
        return {name: point for name, point in points.items() if name not in self._missing}

    def _holds(self, guard: Guard, now_s: float) -> bool:
        raw, noted_s = self._noted.get(guard.requires, (None, -math.inf))
        return raw == guard.equals and now_s - noted_s <= self._rules.slow_s

    def _holding(self, now_s: float) -> tuple[Guard, ...]:
        return tuple(guard for guard in self._rules.guards if self._holds(guard, now_s))

    def _ground(self, holding: tuple[Guard, ...]) -> Ground:
        holes = [span for name, span in self._missing.items() if not self._shared(name)]
        return Ground(self._rules, self._cuts, holes, holding)

    def _shared(self, name: str) -> bool:
        """Whether a point that the device has lies in the registers of one that it refused."""
        lost = self._missing[name]
        known = self._known(self._points)
        return any(point_span(point).overlaps(lost) for point in known.values())

    def _layout(self, holding: tuple[Guard, ...]) -> Layout:
        found = self._layouts.get(holding)
        if found is None:
            fast, slow = self._known(self._fast), self._known(self._slow)
            found = arrange(fast, slow, self._ground(holding))
            self._layouts[holding] = found
        return found

    def _in_turn(self, ready: list[Block], now_s: float, watched: frozenset[str]) -> list[Block]:
        """The slow blocks of this cycle: those that cannot wait, then the oldest ones."""
        slow_s = self._rules.slow_s
        pressing: list[Block] = []
        patient = ready
        if watched:
            pressing = [block for block in ready if not watched.isdisjoint(block.points)]
            patient = [block for block in ready if watched.isdisjoint(block.points)]
        before_s = -math.inf if self._last_s is None else self._last_s
        if self._last_s is not None:
            elapsed_s = max(0.0, now_s - self._last_s)
            self._step_s = max(elapsed_s, _STEP_MEMORY * self._step_s)
            self._credit += len(patient) * elapsed_s / self._round_s()
        self._last_s = now_s
        # A float step of 0.1 s adds up to a little more than it should.
        latest = now_s + self._step_s - slow_s * (1 + 1e-9)
        chosen = [
            block
            for block in pressing
            if self._is_older(block, watched, before_s) or self._oldest(block) < latest
        ]
        read_at = [self._oldest(block) for block in patient]
        urgent = sum(at < latest for at in read_at)
        due = max(urgent, math.floor(self._credit + 1e-9))
        oldest_first = sorted(range(len(patient)), key=read_at.__getitem__)[:due]
        self._credit = max(0.0, self._credit - len(oldest_first))
        return [*chosen, *(patient[index] for index in oldest_first)]

    def _is_older(self, block: Block, watched: frozenset[str], since_s: float) -> bool:
        """Whether a watched point of the block was last read before ``since_s``."""
        return any(self._read_at[name] < since_s for name in block.points if name in watched)

    def _oldest(self, block: Block) -> float:
        """When the point of the block was read that was read longest ago."""
        return min(map(self._read_at.__getitem__, block.points))

    def _round_s(self) -> float:
        """Time for one round of all slow blocks: as many whole cycles as fit into slow_s."""
        if self._step_s == 0.0:
            return self._rules.slow_s
        return self._step_s * max(1, math.floor(self._rules.slow_s / self._step_s + 1e-9))

    def _halves(self, block: Block) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Points before and after the boundary nearest to the middle; all, where there is none."""
        names = block.points
        end, boundaries = 0, []
        for index, name in enumerate(names):
            point = self._points[name]
            if index and point.address >= end:
                boundaries.append(index)
            end = max(end, point.end)
        if not boundaries:
            return names, ()
        middle = min(boundaries, key=lambda index: abs(2 * index - len(names)))
        return names[:middle], names[middle:]

    def _part(self, block: Block, names: tuple[str, ...]) -> Block:
        points = [self._points[name] for name in names]
        first = min(point.address for point in points)
        end = max(point.end for point in points)
        return Block(block.space, first, end - first, names, block.guards)
