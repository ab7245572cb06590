"""What this site has been told, or told itself, to rest for; obeyed at once and remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from bessai.control.counters import Tally
from bessai.control.journal import Journal
from bessai.control.stop_file import StopFile
from bessai.errors import StoreError
from bessai.model import Freeze, StopOrder, Stops
from bessai.model.stop import NO_STOPS


class StopKeeper:
    """The stops of one site.

    Attributes:
        stops: What counts now.
        known: Whether that is all there is: a file was found, or the fleet has answered.
    """

    def __init__(
        self, memory: StopFile, wall: Callable[[], datetime], tally: Tally, journal: Journal
    ) -> None:
        self._memory = memory
        self._wall = wall
        self._tally = tally
        self._journal = journal
        self._saved = True
        self._untold = False
        self.stops = NO_STOPS
        self.known = False

    def recall(self) -> None:
        """Take up what was saved; a memory that cannot be read may have held a stop, so rest."""
        try:
            self.known = self._memory.exists
            self.stops = self._memory.load()
        except StoreError as error:
            self._journal.note("memory of stops", str(error))
            self.known = False
            self.stops = Stops(freeze=Freeze("the site", str(error), self._wall(), 0))
            self._untold = True

    def hear(self, order: StopOrder | None, told: Stops, *, answered: bool) -> None:
        """The fleet's newest order.

        Args:
            order: Of the fleet's newest answer.
            told: What this site said of stops in the report that was answered.
            answered: Whether the fleet has answered at all.
        """
        self.known = self.known or answered
        heard = self._outdated(order).heard(order) if self._untold else self.stops.heard(order)
        if self._untold and answered:
            self._untold = not _tells(told.freeze, heard.freeze)
        if heard != self.stops:
            self._take(heard)
        elif not self._saved:
            self._save()

    def freeze(self, by: str, reason: str) -> None:
        """Rest until a person releases the site; a second one changes nothing."""
        if self.stops.freeze is None:
            freeze = Freeze(by, reason, self._wall(), self.stops.revision)
            self._untold = True
            self._take(Stops(self.stops.order, freeze))

    def _outdated(self, order: StopOrder | None) -> Stops:
        """An order from before anybody knew of the freeze cannot have meant to end it."""
        freeze = self.stops.freeze
        if freeze is None or order is None or order.revision <= freeze.after_revision:
            return self.stops
        return Stops(self.stops.order, replace(freeze, after_revision=order.revision))

    def _take(self, stops: Stops) -> None:
        """A full disk must not keep a site from stopping."""
        self.stops = stops
        self._journal.change("stop", stops.text() or "none")
        self._save()

    def _save(self) -> None:
        """Tried in each cycle until it is saved: a restart would forget it."""
        try:
            self._memory.save(self.stops)
        except StoreError as error:
            self._tally.blocked("stop_not_saved")
            self._journal.note("stop not saved", str(error))
            self._saved = False
        else:
            self._journal.note("stop not saved", None)
            self._saved = True


def _tells(told: Freeze | None, freeze: Freeze | None) -> bool:
    return freeze is None or (told is not None and told.at == freeze.at)
