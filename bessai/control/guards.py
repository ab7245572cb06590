"""What makes a process the one owner of a site, and what watches it while it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bessai.control.claims import NoRivals
from bessai.control.intruders import IntrusionGuard
from bessai.control.logbook.entries import DecisionLog, NoLog
from bessai.control.owner_lock import OwnerLock
from bessai.control.permit import GAP_CYCLES, Permit
from bessai.control.stop_file import StopFile
from bessai.control.watchdog import Watchdog
from bessai.model import Owner
from bessai.ports import Authority
from bessai.units import MonotonicS


@dataclass(frozen=True, slots=True)
class SiteGuards:
    """Everything around the control cycle that keeps it safe.

    Attributes:
        owner: This process.
        authority: Who hands out epochs.
        lock: This machine's lock for the device, or None where there is none.
        permit: Asked before each register write.
        stops: Where stops are remembered.
        watchdog: Ends the process when it stands still.
        log: The record of decisions.
        intruders: Whether what is read may be.
    """

    owner: Owner
    authority: Authority
    lock: OwnerLock | None
    permit: Permit
    stops: StopFile
    watchdog: Watchdog
    log: DecisionLog
    intruders: IntrusionGuard

    @classmethod
    def alone(cls, now: Callable[[], MonotonicS], cycle_s: float) -> SiteGuards:
        """For a site that runs in one process only, with nobody to ask."""
        return cls(
            owner=Owner("here", 0, ""),
            authority=NoRivals(),
            lock=None,
            permit=Permit(now, GAP_CYCLES * cycle_s),
            stops=StopFile(None),
            watchdog=Watchdog(_nobody_watches),
            log=NoLog(),
            intruders=IntrusionGuard(),
        )


def _nobody_watches(_cause: str) -> None:
    return
