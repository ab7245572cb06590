"""From the simulator's logs and the site's record to what a fault did. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bessai.sim.journal import Cause, CommandEntry, WriteEntry

POWER_TOLERANCE_KW: Final = 0.02
"""The device's register has steps of 1 W; the driver rounds towards zero."""
ROGUE_CONNECTION: Final = 0
SUPERSEDED_WITHIN_S: Final = 130.0


@dataclass
class Sample:
    """One fault on one site, or one fault on the cluster.

    Attributes:
        fault: Its name.
        site: The site, or ``fleet`` where it hit everything above the sites.
        at_s, ended_at_s, until_s: Control times: when it began, when it was healed, when watching
            ended.
        safe_s: From its begin until the battery followed no command but 0 kW; None where the
            command was kept.
        control_s: From its begin, or from its end where it was healed by hand, until the first
            accepted command (of a new connection where the process was killed).
        back_s: Until a new process was there and the fleet answered; for the cluster.
        gap_s: Longest time in which the battery followed a command that nobody renewed.
        forced_kwh, own_mode_kwh: Beyond the witness's limits.
        ramps: Jumps beyond the witness's ramp.
        writes: Write requests that reached the device.
        cycle_gap_s: Longest time between two cycles of one process.
        lost, doubled, masters: Commands lost, doubled; second masters.
        note: What else is to be said.
    """

    fault: str
    site: str
    at_s: float
    ended_at_s: float
    until_s: float
    safe_s: float | None = None
    control_s: float | None = None
    back_s: float | None = None
    gap_s: float = 0.0
    forced_kwh: float = 0.0
    own_mode_kwh: float = 0.0
    ramps: int = 0
    writes: int = 0
    cycle_gap_s: float | None = None
    lost: int = 0
    doubled: int = 0
    masters: int = 0
    note: str = ""
    details: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decided:
    """A cycle of the record: when, by which process, and what it decided to write."""

    now_s: float
    run: int
    write_kw: float | None
    result: str | None


def safe_s(commands: Sequence[CommandEntry], at_s: float, until_s: float) -> float | None:
    """Seconds until the battery followed no command but 0 kW; None where it never came to that.

    ``commands`` reach back before ``at_s``: the one in force then is one of them.
    """
    before = [entry for entry in commands if entry.at_s <= at_s]
    if before and before[-1].after_kw in (None, 0.0):
        return 0.0
    for entry in commands:
        if at_s < entry.at_s <= until_s and entry.after_kw in (None, 0.0):
            return entry.at_s - at_s
    return None


def own_mode_s(commands: Sequence[CommandEntry], at_s: float, until_s: float) -> float | None:
    """Seconds until the device took control away from everybody: dead-man or reboot."""
    for entry in commands:
        if at_s < entry.at_s <= until_s and entry.after_kw is None:
            return entry.at_s - at_s
    return None


def control_s(
    commands: Sequence[CommandEntry],
    from_s: float,
    until_s: float,
    *,
    known: frozenset[int] = frozenset(),
) -> float | None:
    """Seconds until the first accepted command of a connection that is not ``known``."""
    for entry in commands:
        if entry.at_s < from_s or entry.at_s > until_s or entry.cause is not Cause.WRITE:
            continue
        if entry.connection not in known and entry.connection != ROGUE_CONNECTION:
            return entry.at_s - from_s
    return None


def gap_s(commands: Sequence[CommandEntry], at_s: float, until_s: float) -> float:
    """Longest time without a renewal while a command was in force, within the window."""
    longest, last = 0.0, None
    for entry in commands:
        if entry.at_s > until_s:
            break
        if last is not None and entry.at_s > at_s and last.after_kw is not None:
            longest = max(longest, entry.at_s - last.at_s)
        last = entry
    if last is not None and last.after_kw is not None:
        longest = max(longest, until_s - max(last.at_s, at_s))
    return longest


def second_masters(writes: Sequence[WriteEntry]) -> list[float]:
    """Control times at which a connection wrote again after another one had taken over."""
    left: set[int] = set()
    current, found = None, []
    for entry in writes:
        if entry.outcome != "accepted" or entry.connection == ROGUE_CONNECTION:
            continue
        if entry.connection in left:
            found.append(entry.at_s)
        if current is not None and current != entry.connection:
            left.add(current)
        current = entry.connection
    return found


def lost_and_doubled(
    decided: Sequence[Decided], commands: Sequence[CommandEntry]
) -> tuple[list[float], list[float]]:
    """Control times of decided commands that were lost, and of those that two connections wrote.

    Lost: the site says that the device took it, and the device never saw it; or it did not reach
    the device, and no later decision took its place.
    """
    written = [d for d in decided if d.write_kw is not None]
    accepted = [c for c in commands if c.cause is Cause.WRITE and c.connection != ROGUE_CONNECTION]
    lost, doubled, index = [], [], 0
    end_s = max((d.now_s for d in decided), default=0.0)
    for number, decision in enumerate(written):
        last = number + 1 == len(written)
        until_s = float("inf") if last else written[number + 1].now_s
        while index < len(accepted) and accepted[index].at_s < decision.now_s:
            index += 1
        mine = []
        for entry in accepted[index:]:
            if entry.at_s >= until_s:
                break
            mine.append(entry)
        if len({entry.connection for entry in mine}) > 1:
            doubled.append(decision.now_s)
        kw = decision.write_kw
        reached = any(
            e.after_kw is not None and kw is not None and abs(e.after_kw - kw) <= POWER_TOLERANCE_KW
            for e in mine
        )
        if reached:
            continue
        replaced = not last and until_s - decision.now_s <= SUPERSEDED_WITHIN_S
        still_open = last and end_s - decision.now_s <= SUPERSEDED_WITHIN_S
        if decision.result == "applied" or not (replaced or still_open):
            lost.append(decision.now_s)
    return lost, doubled


def cycle_gap_s(decided: Sequence[Decided], at_s: float, until_s: float) -> float | None:
    """Longest time between two cycles of one process within a window; None without cycles."""
    longest, last = None, None
    for one in decided:
        if at_s <= one.now_s <= until_s and last is not None and last.run == one.run:
            longest = max(longest or 0.0, one.now_s - last.now_s)
        last = one
    return longest


def missing_cycles(
    decided: Sequence[Decided], at_s: float, until_s: float, cycle_s: float = 1.0
) -> int:
    """How many cycles a window has too few, at a fixed rate; one at its edges does not count."""
    count = sum(at_s <= one.now_s < until_s for one in decided)
    return max(0, int((until_s - at_s) / cycle_s) - 1 - count)
