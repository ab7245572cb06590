"""What this site has been told, or told itself, to rest for; obeyed at once and remembered."""

from __future__ import annotations

from collections.abc import Callable
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
        self.stops = NO_STOPS
        self.known = False

    def recall(self) -> None:
        """Take up what was saved; a memory that cannot be read may have held a stop, so rest."""
        try:
            self.known = self._memory.exists
            self.stops = self._memory.load()
        except StoreError as error:
            self._journal.note("memory of stops", str(error))
            self.stops = Stops(freeze=Freeze("the site", str(error), self._wall(), 0))

    def hear(self, order: StopOrder | None, *, answered: bool) -> None:
        """The fleet's newest order; ``answered`` says whether it has answered at all."""
        self.known = self.known or answered
        heard = self.stops.heard(order)
        if heard != self.stops:
            self._take(heard)

    def freeze(self, by: str, reason: str) -> None:
        """Rest until a person releases the site; a second one changes nothing."""
        if self.stops.freeze is None:
            freeze = Freeze(by, reason, self._wall(), self.stops.revision)
            self._take(Stops(self.stops.order, freeze))

    def _take(self, stops: Stops) -> None:
        """A full disk must not keep a site from stopping."""
        self.stops = stops
        self._journal.change("stop", stops.text() or "none")
        try:
            self._memory.save(stops)
        except StoreError as error:
            self._tally.blocked("stop_not_saved")
            self._journal.note("stop not saved", str(error))
        else:
            self._journal.note("stop not saved", None)
