"""What a site's process counted; monotonic, so that a metric can be derived from it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import Final

from bessai.control.ledger import WriteKind
from bessai.model import Counters, DurationHistogram

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the cycle duration buckets, in real seconds."""


class Tally:
    """Collects counts; :meth:`counters` is a frozen copy."""

    def __init__(self) -> None:
        self.cycles = 0
        self.overruns = 0
        self.read_failures = 0
        self.reconnects = 0
        self.write_failures = 0
        self.verify_failures = 0
        self.stored_writes = 0
        self._writes: Counter[str] = Counter()
        self._blocks: Counter[str] = Counter()
        self._buckets = [0] * (len(BUCKETS_S) + 1)
        self._total_s = 0.0

    def wrote(self, kind: WriteKind, registers: int, stored: int = 0) -> None:
        """Count register writes; a command that needed none still creates its kind.

        ``stored`` of them went to registers that may wear out.
        """
        self._writes[kind.value] += registers
        self.stored_writes += stored

    def blocked(self, *codes: str) -> None:
        """Count a cycle in which these reasons did not allow what was wished."""
        self._blocks.update(codes)

    def cycle(self, duration_s: float, cycle_s: float) -> None:
        """Count a cycle that took ``duration_s`` real seconds."""
        self.cycles += 1
        self.overruns += duration_s > cycle_s
        self._buckets[bisect_left(BUCKETS_S, duration_s)] += 1
        self._total_s += duration_s

    def counters(self) -> Counters:
        """All counts now."""
        return Counters(
            cycles=self.cycles,
            overruns=self.overruns,
            read_failures=self.read_failures,
            reconnects=self.reconnects,
            writes=dict(self._writes),
            write_failures=self.write_failures,
            verify_failures=self.verify_failures,
            stored_writes=self.stored_writes,
            safety_blocks=dict(self._blocks),
            cycle_duration=self._histogram(),
        )

    def _histogram(self) -> DurationHistogram:
        counts = tuple(accumulate(self._buckets))
        return DurationHistogram(BUCKETS_S, counts[:-1], counts[-1], self._total_s)
