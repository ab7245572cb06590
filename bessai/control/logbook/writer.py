"""Stores what the loop told: runs, segments of cycles without a gap, and their answers."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bessai import __version__
from bessai.control.logbook.codec import Codec, to_text
from bessai.control.logbook.entries import Decided, Entry, Settled
from bessai.control.logbook.file import STRIDE, LogFile, insert
from bessai.control.logbook.rows import Changes, codes, payload, squeezed
from bessai.control.step import ControlState, CycleInput, Decision, SiteRules
from bessai.model.outcome import Applied, PartiallyApplied, Rejected

SEGMENT_CYCLES: Final = 300
"""Each segment begins with a whole state, from which a replay can begin."""

RECORDED: Final = (CycleInput, Decision, ControlState, Settled, SiteRules)


@dataclass(slots=True)
class _Segment:
    """The segment that grows now.

    Attributes:
        dictionary: JSON of its first cycle.
        parts: References of the shared values that it has stored.
        newest: Its newest cycle.
    """

    id: int
    dictionary: bytes
    newest: Decided
    cycles: int = 0
    parts: set[str] = field(default_factory=set)


class Writer:
    """Adds entries to a file; for one thread.

    Attributes:
        stored: Cycles written.
        unfit: Cycles that could not be encoded.
        problem: Why one of the last entries could not, or None.
    """

    def __init__(self, file: LogFile, site: str) -> None:
        self._file = file
        self._site = site
        self._codec = Codec()
        self._changes = Changes()
        self._run: tuple[int, SiteRules] | None = None
        self._segment: _Segment | None = None
        self._newest: tuple[int, int] | None = None
        self._told_lost = 0
        self.stored = 0
        self.unfit = 0
        self.problem: str | None = None

    def write(self, entries: Sequence[Entry], lost: int = 0) -> None:
        """Store entries in one transaction.

        Args:
            entries: What the loop told.
            lost: What could not be stored since the process started; readers are told.

        Raises:
            StoreError: nothing was stored; the same entries may be given again.
        """
        before = self._newest, self.stored, self.unfit
        self.problem = None
        try:
            with self._file.transaction() as connection:
                newest = next((e for e in reversed(entries) if isinstance(e, Decided)), None)
                if newest is not None:
                    self._file.trim(connection, newest.wall)
                self._check_segment(connection)
                for entry in entries:
                    self._add(connection, entry)
                self._tell_lost(connection, lost + self.unfit)
        except BaseException:
            self._newest, self.stored, self.unfit = before
            self._segment, self._run, self._told_lost = None, None, 0
            raise

    def _add(self, connection: sqlite3.Connection, entry: Entry) -> None:
        match entry:
            case Settled():
                self._settle(connection, entry)
            case Decided():
                try:
                    self._decide(connection, entry)
                except (TypeError, ValueError) as error:
                    # A value that JSON cannot hold must not keep the rest from being stored.
                    self._segment = None
                    self.unfit += 1
                    self.problem = f"cycle {entry.number} cannot be encoded ({error})"

    def _decide(self, connection: sqlite3.Connection, entry: Decided) -> None:
        segment = self._segment
        follows = segment is not None and _follows(segment.newest, entry)
        if segment is None or not follows or segment.cycles >= SEGMENT_CYCLES:
            segment = self._begin(connection, entry, continues=follows)
            text = segment.dictionary
        else:
            text = payload(self._codec, entry, segment.newest)
        self._store_parts(connection, segment)
        sequence = segment.id * STRIDE + segment.cycles
        insert(connection, "cycle", self._row(sequence, entry, squeezed(text, segment.dictionary)))
        segment.newest, segment.cycles = entry, segment.cycles + 1
        self._newest = (entry.number, sequence)
        self.stored += 1

    def _begin(
        self, connection: sqlite3.Connection, entry: Decided, *, continues: bool
    ) -> _Segment:
        self._end_segment(connection)
        self._codec.forget()
        dictionary = payload(self._codec, entry, None)
        run, at = self._run_of(connection, entry), entry.wall.timestamp()
        row = (None, run, at, at, continues, zlib.compress(dictionary))
        self._segment = _Segment(insert(connection, "segment", row), dictionary, entry)
        return self._segment

    def _run_of(self, connection: sqlite3.Connection, entry: Decided) -> int:
        if self._run is None or self._run[1] is not entry.rules:
            kept, left_out = self._codec.encode_kept(entry.rules)
            row = (
                None,
                entry.wall.timestamp(),
                __version__,
                to_text(self._codec.layout(*RECORDED)),
                self._site,
                to_text({"kept": kept, "left_out": left_out}),
                0,
            )
            self._run, self._told_lost = (insert(connection, "run", row), entry.rules), 0
        return self._run[0]

    def _store_parts(self, connection: sqlite3.Connection, segment: _Segment) -> None:
        for reference, text in self._codec.parts.items():
            if reference not in segment.parts:
                insert(connection, "part", (segment.id, reference, zlib.compress(text.encode())))
                segment.parts.add(reference)

    def _row(self, sequence: int, entry: Decided, data: bytes) -> tuple[object, ...]:
        cycle, decision = entry.cycle, entry.decision
        setpoint, write = decision.setpoint, decision.write
        return (
            sequence,
            entry.wall.timestamp(),
            cycle.market_now.timestamp(),
            cycle.now,
            setpoint.power_kw,
            setpoint.source,
            setpoint.cause_id,
            decision.autonomy.value,
            codes(entry),
            None if write is None else write.kind.value,
            None if write is None else write.power_kw,
            None,
            None,
            self._changes.is_one(entry),
            data,
        )

    def _settle(self, connection: sqlite3.Connection, entry: Settled) -> None:
        if self._newest is None or self._newest[0] != entry.number:
            return  # its cycle was lost
        result = _result(entry)
        connection.execute(
            "UPDATE cycle SET result = ?, settled = ?, changed = max(changed, ?)"
            " WHERE sequence = ?",
            (
                result,
                to_text(self._codec.encode(entry)),
                self._changes.is_answer(result),
                self._newest[1],
            ),
        )

    def _check_segment(self, connection: sqlite3.Connection) -> None:
        """Another process of the same site may have removed it, or somebody the whole file."""
        segment = self._segment
        if segment is None:
            return
        statement = "SELECT 1 FROM segment WHERE id = ?"
        if connection.execute(statement, (segment.id,)).fetchone() is None:
            self._segment, self._run = None, None

    def _tell_lost(self, connection: sqlite3.Connection, lost: int) -> None:
        if self._run is not None and lost != self._told_lost:
            values = (lost, self._run[0])
            connection.execute("UPDATE run SET lost = ? WHERE id = ?", values)
            self._told_lost = lost

    def _end_segment(self, connection: sqlite3.Connection) -> None:
        """Only when the next one begins: one page less in each commit."""
        if self._segment is not None:
            connection.execute(
                "UPDATE segment SET ended = ? WHERE id = ?",
                (self._segment.newest.wall.timestamp(), self._segment.id),
            )


def _follows(before: Decided, entry: Decided) -> bool:
    return entry.number == before.number + 1 and entry.rules is before.rules


def _result(entry: Settled) -> str:
    match entry.outcome:
        case Applied():
            return "applied"
        case PartiallyApplied():
            return "partial"
        case Rejected():
            return "rejected"
