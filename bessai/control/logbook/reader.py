"""Reads a decision record, also while it is being written, and also on another machine."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast
from urllib.parse import quote

from bessai.control.logbook.codec import Codec
from bessai.control.logbook.entries import Settled
from bessai.control.logbook.file import APPLICATION_ID, LAYOUT, STRIDE, layout_of
from bessai.control.logbook.rows import LONGEST_TEXT, Tree, state_tree, unsqueezed
from bessai.control.step import CycleInput, Decision
from bessai.errors import ProtocolError, StoreError
from bessai.model import Schedule

MOST: Final = 1000
COLUMNS: Final = "sequence, wall, changed, settled, payload"


@dataclass(frozen=True, slots=True)
class DecisionQuery:
    """Which cycles to show; all conditions together, the newest ones first to stay.

    Attributes:
        last: At most so many, 1 to 1000.
        since, until: Aware UTC wall time, both inclusive.
        cause_id: Only those of one cause.
        changes: Only those in which something changed.
    """

    last: int = 20
    since: datetime | None = None
    until: datetime | None = None
    cause_id: str | None = None
    changes: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One process of the site.

    Attributes:
        layout: Names and types of the recorded fields.
        site: JSON of the site's configuration.
        rules: Tree of the rules, less what cannot be recorded.
        left_out: Names of rules that were there and are not recorded.
        lost: Entries that could not be recorded, as far as known when it last wrote.
    """

    id: int
    began: datetime
    version: str
    layout: Mapping[str, Mapping[str, str]]
    site: str
    rules: Tree
    left_out: tuple[str, ...]
    lost: int


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """A run of cycles without a gap; ``continues`` the segment before it."""

    id: int
    run: int
    began: datetime
    ended: datetime
    continues: bool


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded cycle.

    Attributes:
        lost: The connection was lost before it.
        before: Tree of the state that it began with, only in the first one of a segment.
        after: Tree of the state that was decided.
        settled: What the device answered, or None where nothing was written or answered.
        changed: Something changed that a person would ask about.
    """

    sequence: int
    wall: datetime
    lost: bool
    before: Tree | None
    cycle: CycleInput
    decision: Decision
    after: Tree
    settled: Settled | None
    changed: bool


class LogReader:
    """Use as a context manager; never keeps the file busy for longer than a segment takes.

    Raises:
        StoreError: no such file, or not a decision record of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.codec = Codec()
        self._connection = _opened(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def runs(self) -> dict[int, Run]:
        """All processes, by number."""
        found = {}
        for number, began, version, layout, site, rules, lost in self._rows(
            "SELECT id, began, version, layout, site, rules, lost FROM run ORDER BY id"
        ):
            tree = cast("Tree", json.loads(cast("str", rules)))
            found[cast("int", number)] = Run(
                id=cast("int", number),
                began=_utc(began),
                version=cast("str", version),
                layout=cast("dict[str, dict[str, str]]", json.loads(cast("str", layout))),
                site=cast("str", site),
                rules=cast("Tree", tree["kept"]),
                left_out=tuple(cast("list[str]", tree["left_out"])),
                lost=cast("int", lost),
            )
        return found

    def segments(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> list[SegmentInfo]:
        """The segments that touch a range of wall time, oldest first."""
        low = float("-inf") if since is None else since.timestamp()
        high = float("inf") if until is None else until.timestamp()
        rows = self._rows(
            "SELECT id, run, began, ended, continues FROM segment"
            " WHERE (ended >= ? OR ended = began) AND began <= ? ORDER BY id",
            (low, high),
        )
        return [
            SegmentInfo(cast("int", n), cast("int", run), _utc(began), _utc(ended), bool(continues))
            for n, run, began, ended, continues in rows
        ]

    def cycles(self, segment: int) -> Iterator[Recorded]:
        """The cycles of one segment in order.

        Raises:
            ProtocolError: one is damaged, or of another version.
        """
        first = segment * STRIDE
        rows = self._rows(
            f"SELECT {COLUMNS} FROM cycle WHERE sequence BETWEEN ? AND ? ORDER BY sequence",  # noqa: S608
            (first, first + STRIDE - 1),
        )
        dictionary = self._dictionary(segment)
        state: Tree | None = None
        for row in rows if dictionary is not None else []:
            tree = unsqueezed(cast("bytes", row[-1]), dictionary or b"")
            state = state_tree(tree, state)
            yield self._recorded(row, tree, state)

    def find(self, query: DecisionQuery) -> list[Recorded]:
        """The newest cycles that answer a query, oldest of them first.

        Raises:
            ProtocolError: one is damaged, or of another version.
        """
        where, values = _conditions(query)
        rows = self._rows(
            f"SELECT {COLUMNS} FROM cycle WHERE {where} ORDER BY sequence DESC LIMIT ?",  # noqa: S608
            (*values, max(1, min(query.last, MOST))),
        )
        wanted: dict[int, list[tuple[object, ...]]] = {}
        for row in reversed(rows):
            wanted.setdefault(cast("int", row[0]) // STRIDE, []).append(row)
        return [found for segment, kept in wanted.items() for found in self._picked(segment, kept)]

    def _picked(self, segment: int, kept: list[tuple[object, ...]]) -> Iterator[Recorded]:
        """Some cycles of a segment; those before them are read too, for the state refers back."""
        numbers = {cast("int", row[0]) for row in kept}
        for found in self.cycles(segment):
            if found.sequence in numbers:
                yield found
            if found.sequence >= max(numbers):
                return

    def _dictionary(self, segment: int) -> bytes | None:
        """What its cycles are compressed against; None where it was removed meanwhile."""
        rows = self._rows("SELECT dictionary FROM segment WHERE id = ?", (segment,))
        parts = self._rows("SELECT reference, payload FROM part WHERE segment = ?", (segment,))
        for reference, data in parts:
            self.codec.learn(cast("str", reference), Schedule, _inflated(data).decode())
        return _inflated(rows[0][0]) if rows else None

    def _recorded(self, row: tuple[object, ...], tree: Tree, after: Tree) -> Recorded:
        sequence, wall, changed, settled, _ = row
        decode = self.codec.decode
        answer = None if settled is None else json.loads(cast("str", settled))
        return Recorded(
            sequence=cast("int", sequence),
            wall=_utc(wall),
            lost=bool(tree["lost"]),
            before=cast("Tree | None", tree.get("before")),
            cycle=decode(CycleInput, tree["cycle"]),
            decision=decode(Decision, tree["decision"]),
            after=after,
            settled=None if answer is None else decode(Settled, answer),
            changed=bool(changed),
        )

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(
                f"the decision record cannot be read ({error})", field=str(self.path)
            ) from error


def _conditions(query: DecisionQuery) -> tuple[str, list[object]]:
    """The segments narrow the time first, so that little of a large file is read."""
    terms, values = ["1 = 1"], list[object]()
    if query.since is not None:
        low = query.since.timestamp()
        # A segment that still grows, or whose process died, has no end yet.
        from_segment = "SELECT min(id) * ? FROM segment WHERE ended >= ? OR ended = began"
        terms.append(f"sequence >= ({from_segment})")
        terms.append("wall >= ?")
        values += [STRIDE, low, low]
    if query.until is not None:
        high = query.until.timestamp()
        terms.append("sequence < (SELECT (max(id) + 1) * ? FROM segment WHERE began <= ?)")
        terms.append("wall <= ?")
        values += [STRIDE, high, high]
    if query.cause_id is not None:
        terms.append("cause_id = ?")
        values.append(query.cause_id)
    if query.changes:
        terms.append("changed = 1")
    return " AND ".join(terms), values


def _opened(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise StoreError(
            "there is no such decision record", field=str(path), fix="check the path, or the site"
        )
    try:
        return _checked(f"file:{quote(str(path.absolute()))}?mode=ro")
    except sqlite3.OperationalError as error:
        if path.with_name(path.name + "-wal").exists():
            raise StoreError(f"cannot be opened ({error})", field=str(path)) from None
        # A copy in a folder that may not be written; nobody writes it, for it has no log.
        with contextlib.suppress(sqlite3.Error):
            return _checked(f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1")
        raise StoreError(f"cannot be opened ({error})", field=str(path)) from None
    except sqlite3.DatabaseError as error:
        raise StoreError(f"is not a decision record ({error})", field=str(path)) from None


def _checked(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=2.0, isolation_level=None)
    try:
        application, layout = layout_of(connection)
    except sqlite3.Error:
        connection.close()
        raise
    if (application, layout) == (APPLICATION_ID, LAYOUT):
        return connection
    connection.close()
    what = "of another version" if application == APPLICATION_ID else "something else"
    raise sqlite3.DatabaseError(f"it is {what}")


def _inflated(data: object) -> bytes:
    try:
        opener = zlib.decompressobj()
        return opener.decompress(cast("bytes", data), LONGEST_TEXT)
    except zlib.error as error:
        raise ProtocolError(f"a recorded value is damaged ({error})") from error


def _utc(seconds: object) -> datetime:
    return datetime.fromtimestamp(cast("float", seconds), UTC)
