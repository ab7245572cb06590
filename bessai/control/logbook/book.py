"""The decision record of one site: taken in the control cycle, written by a thread of its own.

The control cycle hands over values that never change and goes on: about a microsecond. All else,
the encoding too, happens in the thread. When the disk is full, slow or gone, entries wait in a
bounded queue; what does not fit is counted as lost, and the record goes on by itself when there
is room again.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from bessai.control.clocks import wall_now
from bessai.control.ledger import Write
from bessai.control.logbook.entries import Decided, Entry, Settled
from bessai.control.logbook.file import LogFile, LogLimits
from bessai.control.logbook.writer import Writer
from bessai.control.step import ControlState, CycleInput, Decision, SiteRules
from bessai.errors import StoreError
from bessai.model.outcome import ApplyOutcome
from bessai.units import MonotonicS

log = logging.getLogger("bessai.control")

COMMIT_S: Final = 2.0
"""Real seconds between commits: what a killed process loses at most."""

MAX_WAITING: Final = 600
"""Entries that wait for the disk, about 5 KB each: ten minutes of one cycle a second."""

AT_ONCE: Final = 100
"""Entries of one transaction."""


@dataclass(frozen=True, slots=True)
class LogStatus:
    """How the record is doing.

    Attributes:
        stored: Cycles written since the process started.
        lost: Entries dropped since then; each leaves a gap that a replay begins anew after.
        waiting: Entries that wait for the disk.
        error: Why nothing can be written now, or None.
    """

    path: Path
    stored: int
    lost: int
    waiting: int
    error: str | None


class Logbook:
    """Implements :class:`~bessai.control.logbook.entries.DecisionLog`; never raises, never waits.

    The thread starts with the first entry. Call the methods of the protocol from one thread;
    :meth:`flush` and :meth:`close` wait for the disk, so call them beside the event loop
    (``asyncio.to_thread``).

    Args:
        path: The site's file; its folder is made. One file per site and fleet.
        site: JSON of the site's configuration, from which a replay builds the rules.
        limits: How much is kept.
        wall: Aware UTC.
        commit_s: Real seconds between commits.
        max_waiting: Entries that may wait for the disk.
    """

    def __init__(
        self,
        path: Path,
        site: str,
        *,
        limits: LogLimits | None = None,
        wall: Callable[[], datetime] = wall_now,
        commit_s: float = COMMIT_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.path = path
        self._file = LogFile(path, limits or LogLimits())
        self._writer = Writer(self._file, site)
        self._wall = wall
        self._commit_s = commit_s
        self._max_waiting = max_waiting
        self._queue: deque[Entry] = deque()
        self._batch: list[Entry] = []
        self._number = 0
        self._lost_link = False
        self._dropped = 0
        self._failed = 0
        self._error: str | None = None
        self._said: str | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._ends = False
        self._rounds = threading.Condition()
        self._asked, self._answered = 0, 0

    @property
    def status(self) -> LogStatus:
        """How the record is doing now."""
        return LogStatus(
            path=self.path,
            stored=self._writer.stored,
            lost=self._dropped + self._failed + self._writer.unfit,
            waiting=len(self._queue) + len(self._batch),
            error=self._error,
        )

    def lost(self) -> None:
        """See :meth:`DecisionLog.lost`."""
        self._lost_link = True

    def decided(
        self,
        before: ControlState,
        rules: SiteRules,
        cycle: CycleInput,
        after: ControlState,
        decision: Decision,
    ) -> None:
        """See :meth:`DecisionLog.decided`."""
        self._number += 1
        lost, self._lost_link = self._lost_link, False
        self._put(Decided(self._number, self._wall(), lost, before, rules, cycle, after, decision))

    def settled(self, write: Write, outcome: ApplyOutcome, now: MonotonicS) -> None:
        """See :meth:`DecisionLog.settled`."""
        self._put(Settled(self._number, write, outcome, now))

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until all that was handed over is stored; False where it is not in time."""
        with self._rounds:
            self._asked += 1
            mine = self._asked
            if self._thread is not None:
                self._wake.set()
                self._rounds.wait_for(lambda: self._answered >= mine, timeout_s)
        return self.status.waiting == 0

    def close(self, timeout_s: float = 2.0) -> None:
        """Store what waits and end the thread; one that the disk holds up is left behind."""
        self._ends = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _put(self, entry: Entry) -> None:
        if len(self._queue) + len(self._batch) >= self._max_waiting or self._ends:
            self._dropped += 1
            return
        self._queue.append(entry)
        if self._thread is None:
            name = f"decisions of {self.path.stem}"
            self._thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            self._wake.wait(self._commit_s)
            self._wake.clear()
            ends, asked = self._ends, self._asked
            self._drain()
            with self._rounds:
                self._answered = asked
                self._rounds.notify_all()
            if ends:
                break
        self._file.close()

    def _drain(self) -> None:
        """Write batch after batch until nothing waits, or until one fails."""
        while True:
            while self._queue and len(self._batch) < AT_ONCE:
                self._batch.append(self._queue.popleft())
            if not self._batch:
                return
            try:
                self._writer.write(self._batch, self._dropped + self._failed)
            except StoreError as error:
                self._say(str(error))
                return
            except Exception as error:
                # A bug here must end neither the record nor the site.
                log.exception("decision record: entries cannot be stored")
                self._failed += len(self._batch)
                self._say(f"{type(error).__name__}: {error}")
                self._batch.clear()
                return
            self._batch.clear()
            self._say(self._writer.problem)

    def _say(self, problem: str | None) -> None:
        """Log on change and on recovery."""
        self._error, said, self._said = problem, self._said, problem
        if problem is not None and problem != said:
            log.warning("decision record: %s", problem, extra={"path": str(self.path)})
        elif problem is None and said is not None:
            lost = self.status.lost
            log.info("decision record goes on", extra={"path": str(self.path), "lost": lost})
