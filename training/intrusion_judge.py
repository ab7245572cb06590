"""Counting events, not points: was each attack noticed, when, and how often for nothing.

An attack counts as detected when an alarm begins while it runs, not when its points are covered.
An alarm that begins within an hour after an attack is its after-effect (values jump back, windows
still hold it): neither a hit nor false.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from training.intrusion_attacks import Episode
from training.intrusion_days import DAY_S
from training.intrusion_features import Day

AFTER_S: Final = 3700
Spans = list[tuple[int, int]]


@dataclass(slots=True)
class Tally:
    """Attacks of one kind.

    Attributes:
        delays_s: From the attack's start to the alarm, of those detected.
    """

    events: int = 0
    delays_s: list[int] = field(default_factory=list)

    @property
    def detected(self) -> int:
        """How many were noticed."""
        return len(self.delays_s)

    def quantile_s(self, share: float) -> float | None:
        """Delay that this share of the detected ones stayed below; None where none was."""
        return float(np.quantile(self.delays_s, share)) if self.delays_s else None


@dataclass(slots=True)
class Report:
    """What one detector did.

    Attributes:
        kinds: By kind of attack.
        details: By kind and field or manner.
        hits, after, false_attacked: Alarms on attacked days, by what they began in.
        false_clean: Alarms on clean days, of ``clean_days``.
    """

    name: str
    kinds: dict[str, Tally]
    details: dict[tuple[str, str], Tally]
    hits: int = 0
    after: int = 0
    false_attacked: int = 0
    false_clean: int = 0
    clean_days: float = 0.0

    @property
    def events(self) -> int:
        """All attacks."""
        return sum(tally.events for tally in self.kinds.values())

    @property
    def detected(self) -> int:
        """Attacks that were noticed."""
        return sum(tally.detected for tally in self.kinds.values())

    @property
    def precision(self) -> float | None:
        """Share of alarms on attacked days that began in an attack, after-effects left out."""
        counted = self.hits + self.false_attacked
        return self.hits / counted if counted else None


def judge(
    name: str,
    odd: Callable[[Day], Spans],
    clean: Sequence[Day],
    attacked: Sequence[Day],
) -> Report:
    """Run one detector over days.

    Args:
        name: Of the detector.
        odd: Alarms of a day: first and last second each.
        clean: Days without an attack, for the false alarms.
        attacked: Days with attacks.
    """
    report = Report(name, defaultdict(Tally), defaultdict(Tally))
    report.clean_days = sum(len(day.features) for day in clean) / DAY_S
    report.false_clean = sum(len(odd(day)) for day in clean)
    for day in attacked:
        starts = [first for first, _ in odd(day)]
        for episode in day.episodes:
            _count(report, episode, starts)
        for start in starts:
            _sort(report, day.episodes, start)
    return report


def merged(*alarms: Spans, clear_s: int = 60) -> Spans:
    """Alarms of several detectors as one: those that meet within ``clear_s`` are one alarm."""
    joined: Spans = []
    for first, last in sorted(span for group in alarms for span in group):
        if joined and first - joined[-1][1] <= clear_s:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _count(report: Report, episode: Episode, starts: Sequence[int]) -> None:
    inside = [at for at in starts if episode.start_s <= at < episode.end_s]
    for tally in (report.kinds[episode.kind], report.details[episode.kind, episode.what]):
        tally.events += 1
        if inside:
            tally.delays_s.append(inside[0] - episode.start_s)


def _sort(report: Report, episodes: Sequence[Episode], start: int) -> None:
    if any(e.start_s <= start < e.end_s for e in episodes):
        report.hits += 1
    elif any(e.end_s <= start < e.end_s + AFTER_S for e in episodes):
        report.after += 1
    else:
        report.false_attacked += 1
