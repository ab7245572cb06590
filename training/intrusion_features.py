"""Simulated days as columns: one vector a second, as the site computes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bessai.intrusion.features import FEATURES, FeatureWindow
from bessai.intrusion.watch import ForeignCommand, Persistence
from bessai.model import SiteLimits
from training.intrusion_attacks import Episode, draw_attacks
from training.intrusion_days import (
    DAY_S,
    Attacker,
    Cycle,
    Nobody,
    SiteTraits,
    Weather,
    draw_traits,
    draw_weather,
    run_day,
)

CLEAR_S: Final = 60
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Day:
    """One simulated day.

    Attributes:
        features: Shape ``(DAY_S, n_features)``, single precision as the forest takes it.
        baseline: Plain thresholds crossed, shape ``(DAY_S,)``.
        foreign: A command that is not ours, shape ``(DAY_S,)``.
        episodes: Attacks of the day; empty for a clean one.
    """

    seed: int
    features: NDArray[np.float32]
    baseline: Flags
    foreign: Flags
    episodes: tuple[Episode, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """Which day to simulate."""

    seed: int
    attacked: bool = False


def draw(job: Job) -> tuple[SiteTraits, Weather, Attacker, tuple[Episode, ...]]:
    """Site, weather and attacker of a day, by its seed."""
    rng = np.random.default_rng(job.seed)
    traits = draw_traits(rng)
    weather = draw_weather(traits, rng)
    if not job.attacked:
        return traits, weather, Nobody(), ()
    attacks = draw_attacks(traits, rng)
    return traits, weather, attacks, attacks.episodes


def day_of(job: Job, seconds: int = DAY_S) -> Day:
    """Simulate one day and compute its features."""
    traits, weather, attacker, episodes = draw(job)
    return _day(job, run_day(traits, weather, attacker, seconds=seconds), traits.limits, episodes)


def days_of(jobs: Sequence[Job], workers: int) -> list[Day]:
    """Many days on several cores, in the order of the jobs."""
    if workers <= 1:
        return [day_of(job) for job in jobs]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(day_of, jobs))


def alarm_spans(odd: Flags, needed: int, window: int) -> list[tuple[int, int]]:
    """First and last second of each alarm: as :class:`bessai.intrusion.SiteWatch` counts them."""
    spans: list[tuple[int, int]] = []
    persistence, last = Persistence(needed, window), -CLEAR_S - 1
    for second in _near(odd, window):
        if not persistence.add(bool(odd[second])):
            continue
        if spans and second - last <= CLEAR_S:
            spans[-1] = (spans[-1][0], second)
        else:
            spans.append((second, second))
        last = second
    return spans


def _near(odd: Flags, window: int) -> list[int]:
    """Seconds at which an alarm could be: those that are odd, and those soon after."""
    near = np.zeros_like(odd)
    for at in np.flatnonzero(odd):
        near[at : at + window] = True
    return [int(at) for at in np.flatnonzero(near)]


def _day(
    job: Job, cycles: Iterable[Cycle], limits: SiteLimits, episodes: tuple[Episode, ...]
) -> Day:
    features = np.zeros((DAY_S, len(FEATURES)), dtype=np.float32)
    baseline, foreign = np.zeros(DAY_S, dtype=bool), np.zeros(DAY_S, dtype=bool)
    window, command, last = FeatureWindow(limits), ForeignCommand(limits), 0
    for last, cycle in enumerate(cycles):
        if cycle.restarted:
            window, command = FeatureWindow(limits), ForeignCommand(limits)
        told, now = cycle.telemetry, cycle.now
        features[last] = window.update(
            told, cycle.command_kw, now, read_s=cycle.read_s, writes=cycle.writes
        )
        baseline[last] = cycle.baseline
        foreign[last] = command.check(told, cycle.command_kw, now) is not None
    end = last + 1
    return Day(job.seed, features[:end], baseline[:end], foreign[:end], episodes)
