"""What the intrusion detection says of this site, and what follows from it by the site's policy."""

from __future__ import annotations

from typing import Final, Literal

from bessai.control.counters import Tally
from bessai.control.journal import Journal
from bessai.control.ledger import Ledger
from bessai.control.stops import StopKeeper
from bessai.intrusion.watch import Change, SiteWatch
from bessai.model import Telemetry
from bessai.units import MonotonicS

GUARD: Final = "intrusion detection"
IntrusionPolicy = Literal["alarm", "freeze"]


class IntrusionGuard:
    """Asks the watch once per cycle.

    Args:
        watch: The watch, or None where it is off.
        policy: ``alarm`` shows, ``freeze`` rests the battery until a person releases the site.
        degraded: Why the watch works with less than its model, or None.

    Attributes:
        score: Oddness of the last cycle, 0 to 1; None without a model.
        findings: What is wrong now; empty where nothing is.
    """

    def __init__(
        self,
        watch: SiteWatch | None = None,
        policy: IntrusionPolicy = "alarm",
        degraded: str | None = None,
    ) -> None:
        self._watch = watch
        self._policy = policy
        self.degraded: Final = degraded
        self._writes = 0
        self.score: float | None = None
        self.findings: tuple[str, ...] = ()

    def wrote(self, registers: int) -> None:
        """This site wrote so many registers."""
        self._writes += registers

    def look(  # noqa: PLR0913 - one call site
        self,
        telemetry: Telemetry | None,
        ledger: Ledger,
        now: MonotonicS,
        *,
        read_s: float,
        stops: StopKeeper,
        tally: Tally,
        journal: Journal,
    ) -> None:
        """Judge one cycle before it is decided."""
        if self._watch is None:
            return
        ours = ledger.written_kw if ledger.confirmed_kw is None else ledger.confirmed_kw
        writes, self._writes = self._writes, 0
        verdict = self._watch.observe(telemetry, ours, now, read_s=read_s, writes=writes)
        self.score = verdict.score
        self.findings = tuple(f"{f.what}; allowed: {f.allowed}" for f in verdict.findings)
        if verdict.change is Change.BEGAN:
            tally.blocked("intrusion")
            if self._policy == "freeze":
                stops.freeze(GUARD, "; ".join(self.findings))
        if verdict.change is not None:
            text = "; ".join(self.findings) if verdict.change is Change.BEGAN else None
            journal.note("intrusion alarm", text)
