"""One attack of each kind on a simulated site: the watch that ships notices it, and only it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from bessai.config.load import registry_root
from bessai.intrusion import Change, IntrusionModel, SiteWatch, Verdict, load_model
from bessai.modelstore import ModelStore
from training.intrusion_attacks import KINDS, Attack, Attacks
from training.intrusion_days import (
    Attacker,
    Nobody,
    SiteTraits,
    Weather,
    draw_traits,
    draw_weather,
    run_day,
)
from training.intrusion_features import Job, day_of
from training.intrusion_judge import judge, merged

START_S = 1200
SEED = 12


@cache
def champion() -> IntrusionModel:
    return load_model(ModelStore(registry_root() / "models"))


@cache
def site() -> SiteTraits:
    traits = draw_traits(np.random.default_rng(SEED))
    return replace(traits, style="steps", tells_limits=True, tells_counters=True, soc_step_pct=0.1)


@cache
def weather_of_the_day() -> Weather:
    """A busy plan and no honest faults."""
    traits = site()
    weather = draw_weather(traits, np.random.default_rng(SEED + 1))
    swing = [traits.peak_kw * (0.6 if s // 300 % 2 else -0.6) for s in range(len(weather.plan_kw))]
    return replace(weather, plan_kw=swing, fault=[0] * len(swing), restart=frozenset())


def watched(attacker: Attacker, seconds: int) -> list[Verdict]:
    """Run the site under the shipped watch."""
    traits = site()
    watch = SiteWatch(traits.limits, None, champion())
    return [
        watch.observe(c.telemetry, c.command_kw, c.now, read_s=c.read_s, writes=c.writes)
        for c in run_day(traits, weather_of_the_day(), attacker, seconds=seconds)
    ]


def drawn(kind: str, what: str) -> Attack:
    """An attack of a kind on one field, of random size."""
    found = (KINDS[kind](site(), np.random.default_rng(seed)) for seed in range(200))
    return next(attack for attack in found if attack.what.startswith(what))


ATTACKS = [
    ("false data", "soc_pct", 60),
    ("false data", "active_power_kw", 60),
    ("replay", "all", 300),
    ("replay", "fresh", 600),
    ("slow drift", "soc_pct", 2400),
    ("scan", "fast", 120),
    ("rogue write", "power", 90),
    ("rogue setting", "limits shown", 60),
    ("stuck sensor", "active_power_kw", 900),
]


@pytest.mark.parametrize(("kind", "what", "within_s"), ATTACKS)
def test_an_attack_is_noticed(kind: str, what: str, within_s: int) -> None:
    attack = drawn(kind, what)
    attacks = Attacks([(kind, START_S, attack)])
    end_s = min(START_S + attack.duration_s, START_S + within_s)
    verdicts = watched(attacks, end_s)
    began = [s for s, verdict in enumerate(verdicts) if verdict.change is Change.BEGAN]
    assert len(began) == 1
    assert began[0] >= START_S


def test_without_an_attack_there_is_no_alarm() -> None:
    assert not any(verdict.alarm for verdict in watched(Nobody(), START_S + 600))


def test_every_kind_has_a_smoke_test() -> None:
    assert {kind for kind, _, _ in ATTACKS} == set(KINDS)


def test_a_day_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    one, same, other = (day_of(Job(seed, attacked=True), 300) for seed in (1, 1, 2))
    assert np.array_equal(one.features, same.features)
    assert not np.array_equal(one.features, other.features)
    assert one.episodes == same.episodes != other.episodes


def test_attacks_of_a_day_are_apart_and_inside_the_day() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        from training.intrusion_attacks import draw_attacks

        episodes = draw_attacks(draw_traits(rng), rng).episodes
        assert {e.kind for e in episodes} == set(KINDS)
        ends = [e.end_s for e in episodes]
        assert all(b.start_s - end >= 5400 for b, end in zip(episodes[1:], ends, strict=False))
        assert ends[-1] <= 86_400


def test_events_are_counted_not_points() -> None:
    day = day_of(Job(1, attacked=True), 10)
    first, second = day.episodes[:2]
    spans = [
        (first.start_s - 500, first.start_s + 50),  # began before: false, and no hit
        (second.start_s + 30, second.start_s + 40),
        (second.start_s + 100, second.end_s + 10),  # the second alarm of the same attack
        (second.end_s + 600, second.end_s + 700),  # its after-effect
    ]
    report = judge("test", lambda d: spans if d is day else [(5, 6)], [day_of(Job(2), 10)], [day])
    assert report.kinds[first.kind].detected == 0
    assert report.kinds[second.kind].delays_s == [30]
    assert (report.hits, report.after, report.false_attacked) == (2, 1, 1)
    assert (report.false_clean, report.detected, report.events) == (1, 1, 7)
    assert report.precision == pytest.approx(2 / 3)


def test_alarms_that_meet_are_one() -> None:
    assert merged([(0, 5), (100, 110)], [(40, 60), (300, 301)]) == [(0, 110), (300, 301)]
