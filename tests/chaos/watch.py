"""One fault on one site, before and after, from the simulator's control socket."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from bessai.control.clocks import monotonic_now
from bessai.errors import BessaiError
from bessai.sim.control import inject_fault, observe_commands, observe_summary
from bessai.sim.observe import Summary
from tests.chaos.bed import Bed
from tests.chaos.measure import Sample, control_s, gap_s, own_mode_s, safe_s

LOOK_BACK_S = 130.0
T = TypeVar("T")
ASKS = 5


@dataclass(frozen=True)
class Before:
    """How a site stood when a fault began."""

    at_s: float
    summary: Summary
    connections: frozenset[int]


class Watch:
    """Questions to the witness; the simulator may be slow on a busy machine, so it asks again."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed

    def before(self, site: str) -> Before:
        summary = again(lambda: observe_summary(self.bed.control, site, monotonic_now()))
        known = frozenset(c.number for c in summary.connections)
        return Before(monotonic_now(), summary, known)

    def fault(self, site: str, fault: str) -> None:
        again(lambda: inject_fault(self.bed.control, site, fault))

    def sample(
        self, fault: str, site: str, before: Before, ended_at_s: float, *, new_process: bool = False
    ) -> Sample:
        """What became of a site from ``before`` until now."""
        at_s, until_s = before.at_s, monotonic_now()
        since_s = at_s - LOOK_BACK_S
        commands = again(lambda: observe_commands(self.bed.control, site, since_s)).commands
        after = again(lambda: observe_summary(self.bed.control, site, until_s))
        known = before.connections if new_process else frozenset[int]()
        own_s = own_mode_s(commands, at_s, until_s)
        sample = Sample(
            fault,
            site,
            at_s,
            ended_at_s,
            until_s,
            safe_s=None if own_s is None else safe_s(commands, at_s, until_s),
            control_s=control_s(commands, ended_at_s, until_s, known=known),
            gap_s=gap_s(commands, at_s, until_s),
            forced_kwh=after.outside_forced_kwh - before.summary.outside_forced_kwh,
            own_mode_kwh=after.outside_own_mode_kwh - before.summary.outside_own_mode_kwh,
            ramps=ramps(after) - ramps(before.summary),
            writes=after.writes - before.summary.writes,
        )
        sample.details["kw"] = before.summary.power_kw
        sample.details["soc_pct"] = before.summary.soc_pct
        return sample


def ramps(summary: Summary) -> int:
    return sum(e.times for e in summary.excesses if e.limit == "max_ramp_kw_per_s")


def again(ask: Callable[[], T]) -> T:
    """Ask until there is an answer."""
    for _ in range(ASKS - 1):
        try:
            return ask()
        except BessaiError:
            time.sleep(0.5)
    return ask()
