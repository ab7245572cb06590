"""Attacks on simulated sites, with random start, size and field, for judging only.

The forest never sees one in training: it learns what is normal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bessai.model import Telemetry
from training.intrusion_days import DAY_S, Nobody, SiteTraits

QUIET_S: Final = 5400
"""Least time from one attack to the next, so that each is judged by itself."""

FIRST_S: Final = 7200
FIELDS: Final = ("soc_pct", "active_power_kw", "grid_power_kw", "temperature_c")


@dataclass(frozen=True, slots=True)
class Episode:
    """One attack over ``[start_s, end_s)`` of the day."""

    kind: str
    start_s: int
    end_s: int
    what: str


class Attack(Nobody):
    """One attack while it runs; ``second`` counts from its start.

    Attributes:
        duration_s: How long it takes.
        what: Field or manner, for the report.
    """

    duration_s = 600
    what = ""

    def __init__(self, traits: SiteTraits, rng: np.random.Generator) -> None:
        """Draw sizes and times for a site."""

    def begin(self, past: Sequence[Telemetry]) -> None:
        """Called once at its start with the last hours of true telemetry."""


class FalseData(Attack):
    """One measurement is wrong at once: an offset, or for powers a factor."""

    def __init__(self, traits: SiteTraits, rng: np.random.Generator) -> None:
        self.duration_s = int(rng.integers(120, 1800))
        self.what = str(rng.choice(FIELDS))
        sign = float(rng.choice([-1.0, 1.0]))
        self._factor, self._offset = 1.0, 0.0
        if self.what == "soc_pct":
            self._offset = sign * float(rng.uniform(3.0, 30.0))
        elif self.what == "temperature_c":
            self._offset = sign * float(rng.uniform(3.0, 20.0))
        elif self.what == "grid_power_kw":
            self._offset = sign * float(rng.uniform(0.1, 1.0)) * traits.peak_kw
        else:
            self._factor = 1.0 + sign * float(rng.uniform(0.1, 0.6))

    def told(self, second: int, telemetry: Telemetry) -> Telemetry:
        """The value, moved."""
        return _moved(telemetry, self.what, self._factor, self._offset)


class SlowDrift(Attack):
    """The same, growing by so little at a time that no step shows."""

    def __init__(self, traits: SiteTraits, rng: np.random.Generator) -> None:
        self.duration_s = int(rng.integers(3600, 7200))
        self.what = str(rng.choice(FIELDS))
        sign = float(rng.choice([-1.0, 1.0]))
        self._factor_per_s = self._offset_per_s = 0.0
        per_hour = {
            "soc_pct": float(rng.uniform(3.0, 12.0)),
            "temperature_c": float(rng.uniform(3.0, 12.0)),
            "grid_power_kw": float(rng.uniform(0.1, 0.5)) * traits.peak_kw,
        }
        if self.what in per_hour:
            self._offset_per_s = sign * per_hour[self.what] / 3600.0
        else:
            self._factor_per_s = sign * float(rng.uniform(0.1, 0.4)) / 3600.0

    def told(self, second: int, telemetry: Telemetry) -> Telemetry:
        """The value, moved a little more each second."""
        factor = 1.0 + self._factor_per_s * second
        return _moved(telemetry, self.what, factor, self._offset_per_s * second)


class StuckSensor(Attack):
    """One measurement keeps its value."""

    def __init__(self, traits: SiteTraits, rng: np.random.Generator) -> None:
        self.duration_s = int(rng.integers(900, 5400))
        self.what = str(rng.choice(FIELDS))
        self._value: float | None = None

    def told(self, second: int, telemetry: Telemetry) -> Telemetry:
        """The first value again."""
        if self._value is None:
            self._value = getattr(telemetry, self.what)
        return replace(telemetry, **{self.what: self._value})  # type: ignore[arg-type]


class Replay(Attack):
    """Old telemetry is played back while the battery does what the attacker wants.

    ``all`` plays every value back. ``fresh`` is the careful attacker: fresh noise, and counters,
    command in force and limits are left as they are.
    """

    def __init__(self, traits: SiteTraits, rng: np.random.Generator) -> None:
        self.duration_s = int(rng.integers(300, 1800))
        self.what = str(rng.choice(["all", "fresh"]))
        self._power_kw = float(rng.uniform(0.3, 1.0) * rng.choice([-1.0, 1.0])) * traits.peak_kw
        self._noise_kw = 2.0 * traits.power_noise_kw
        self._back_s = int(rng.integers(self.duration_s, 7200))
        self._rng = rng
        self._past: Sequence[Telemetry] = ()
        self._own_kw: float | None = None

    def begin(self, past: Sequence[Telemetry]) -> None:
        """Choose the piece to play."""
        first = max(len(past) - self._back_s, 0)
        self._past = list(past)[first : first + self.duration_s]

    def commanded(self, second: int, held_kw: float | None) -> float | None:
        """The attacker's power; what the site wrote is remembered for the answer."""
        if held_kw != self._power_kw:
            self._own_kw = held_kw
        return self._power_kw

    def told(self, second: int, telemetry: Telemetry) -> Telemetry:
        """The old values with the present time."""
        old = self._past[min(second, len(self._past) - 1)]
        if self.what == "all":
            return replace(old, measured_at=telemetry.measured_at)
        power_kw, grid_kw = old.active_power_kw, old.grid_power_kw
        noise = self._rng.normal(0.0, self._noise_kw, 2)
        return replace(
            telemetry,
            soc_pct=old.soc_pct,
            temperature_c=old.temperature_c,
            pv_power_kw=old.pv_power_kw,
            active_power_kw=None if power_kw is None else round(power_kw + noise[0], 3),
            grid_power_kw=None if grid_kw is None else round(grid_kw + noise[1], 3),
            commanded_kw=self._own_kw,
        )


class RogueWrite(Attack):
    """Somebody else commands the battery again and again; the device shows it."""

    def __init__(self, traits: SiteTraits, rng: np.random.Generator) -> None:
        self.duration_s = int(rng.integers(60, 900))
        self.what = "power"
        self._power_kw = float(rng.uniform(0.1, 1.0) * rng.choice([-1.0, 1.0])) * traits.peak_kw
        self._every_s = int(rng.integers(1, 31))

    def commanded(self, second: int, held_kw: float | None) -> float | None:
        """The attacker's power whenever it writes."""
        return self._power_kw if second % self._every_s == 0 else held_kw


class RogueSetting(Attack):
    """Somebody lowers the power limits in the device; the device shows them where it can."""

    def __init__(self, traits: SiteTraits, rng: np.random.Generator) -> None:
        self.duration_s = int(rng.integers(600, 3600))
        self.what = "limits shown" if traits.tells_limits else "limits not shown"
        self._share = float(rng.uniform(0.0, 0.6))

    def limit_share(self, second: int) -> float:
        """What is left."""
        return self._share


class Scan(Attack):
    """Somebody reads registers: answers are slower, and now and then the device is busy.

    Only what the site's own driver notices is simulated; the allow-list sees the requests
    themselves where a proxy or a capture shows them.
    """

    def __init__(self, traits: SiteTraits, rng: np.random.Generator) -> None:
        self.duration_s = int(rng.integers(30, 600))
        per_s = float(np.exp(rng.uniform(np.log(1.0), np.log(50.0))))
        self.what = "slow" if per_s < 5 else "fast"
        self._wait_s = 0.02 * min(per_s, 25.0)
        self._busy = min(0.004 * per_s, 0.15)

    def answer(self, second: int, read_s: float, random: float) -> float | None:
        """Later, or not at all."""
        if random < self._busy:
            return None
        return read_s + self._wait_s * random


KINDS: Final[dict[str, type[Attack]]] = {
    "false data": FalseData,
    "replay": Replay,
    "slow drift": SlowDrift,
    "scan": Scan,
    "rogue write": RogueWrite,
    "rogue setting": RogueSetting,
    "stuck sensor": StuckSensor,
}


class Attacks(Nobody):
    """Attacks one after the other.

    Args:
        planned: Kind, start in seconds of the day, and attack; in order and apart.

    Attributes:
        episodes: When each runs.
    """

    def __init__(self, planned: Sequence[tuple[str, int, Attack]]) -> None:
        self._attacks = [attack for _, _, attack in planned]
        self.episodes = tuple(
            Episode(kind, start, start + attack.duration_s, attack.what)
            for kind, start, attack in planned
        )
        self._past: deque[Telemetry] = deque(maxlen=7200)
        self._at = -1
        self._index = [-1] * DAY_S
        for k, episode in enumerate(self.episodes):
            for second in range(episode.start_s, min(episode.end_s, DAY_S)):
                self._index[second] = k

    def episode(self, second: int) -> int:
        """Index of the attack that runs, or -1."""
        return self._index[second]

    def commanded(self, second: int, held_kw: float | None) -> float | None:
        """Hand over to the attack that runs."""
        attack = self._now(second)
        return held_kw if attack is None else attack.commanded(self._since(second), held_kw)

    def limit_share(self, second: int) -> float:
        """Hand over to the attack that runs."""
        attack = self._now(second)
        return 1.0 if attack is None else attack.limit_share(self._since(second))

    def told(self, second: int, telemetry: Telemetry) -> Telemetry:
        """Hand over to the attack that runs."""
        attack = self._now(second)
        if attack is None:
            self._past.append(telemetry)
            return telemetry
        return attack.told(self._since(second), telemetry)

    def answer(self, second: int, read_s: float, random: float) -> float | None:
        """Hand over to the attack that runs."""
        attack = self._now(second)
        return read_s if attack is None else attack.answer(self._since(second), read_s, random)

    def _now(self, second: int) -> Attack | None:
        k = self._index[second]
        if k < 0:
            return None
        if k != self._at:
            self._at = k
            self._attacks[k].begin(self._past)
        return self._attacks[k]

    def _since(self, second: int) -> int:
        return second - self.episodes[self._index[second]].start_s


def draw_attacks(traits: SiteTraits, rng: np.random.Generator) -> Attacks:
    """One attack of each kind in a day, in random order."""
    names = [str(name) for name in rng.permutation(list(KINDS))]
    attacks = [KINDS[name](traits, rng) for name in names]
    starts = _starts([attack.duration_s for attack in attacks], rng)
    return Attacks(list(zip(names, starts, attacks, strict=True)))


def _starts(durations_s: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Random starts in order, ``QUIET_S`` apart; what is left of the day is shared at random."""
    needed = FIRST_S + sum(durations_s) + QUIET_S * len(durations_s)
    spare = np.sort(rng.integers(0, max(DAY_S - needed, 1), len(durations_s)))
    starts, at = [], FIRST_S
    for duration_s, more in zip(durations_s, spare, strict=True):
        starts.append(at + int(more))
        at += duration_s + QUIET_S
    return starts


def _moved(telemetry: Telemetry, field: str, factor: float, offset: float) -> Telemetry:
    value: float | None = getattr(telemetry, field)
    if value is None:
        return telemetry
    moved = round(value * factor + offset, 3)
    if field == "soc_pct":
        moved = min(max(moved, 0.0), 100.0)
    return replace(telemetry, **{field: moved})  # type: ignore[arg-type]
