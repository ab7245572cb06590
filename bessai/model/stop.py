"""A stop that a person, or a guard of the site, ordered; it holds until a person releases it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StopOrder:
    """The newest word of an operator about one site.

    Attributes:
        revision: Grows by one with each order for this site; the highest one counts.
        stopped: True for a stop, False for its release.
        by: Who ordered it.
        reason: One sentence.
        at: Aware UTC wall time.
    """

    revision: int
    stopped: bool
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Freeze:
    """A stop that the site ordered by itself, e.g. after an intrusion alarm.

    Attributes:
        by: Which guard.
        reason: One sentence.
        at: Aware UTC wall time.
        after_revision: Only a release with a higher revision ends it.
    """

    by: str
    reason: str
    at: datetime
    after_revision: int


@dataclass(frozen=True, slots=True)
class Stops:
    """What a site knows of stops; the part that survives restarts.

    Attributes:
        order: The operator's newest word, or None where there never was one.
        freeze: The site's own stop, or None.
    """

    order: StopOrder | None = None
    freeze: Freeze | None = None

    @property
    def active(self) -> bool:
        """Whether the battery must rest until a person releases it."""
        return self.freeze is not None or (self.order is not None and self.order.stopped)

    @property
    def revision(self) -> int:
        """Revision of the newest order, 0 before the first."""
        return 0 if self.order is None else self.order.revision

    def heard(self, order: StopOrder | None) -> Stops:
        """After the fleet told its newest order; an older one than known changes nothing."""
        if order is None or order.revision <= self.revision:
            return self
        freeze = self.freeze
        if freeze is not None and not order.stopped and order.revision > freeze.after_revision:
            freeze = None
        return Stops(order, freeze)

    def text(self) -> str:
        """Why the battery rests, in one sentence; empty where it does not."""
        if self.freeze is not None:
            return f"frozen by {self.freeze.by}: {self.freeze.reason}"
        if self.order is not None and self.order.stopped:
            return f"stopped by {self.order.by}: {self.order.reason}"
        return ""


NO_STOPS = Stops()
