"""Energy that has surely flowed since the state of charge last moved with the power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from bessai.model import SiteLimits
from bessai.safety.reading import Reading
from bessai.units import S_PER_HOUR

GAP_S: Final = 10.0
"""Longest time between reads, in real seconds, over which power is known: the most that a site
file may allow for ``max_age_s``."""

OFFSET_SHARE: Final = 0.02
"""Error of the battery power, as a share of the inverter's size, and what the inverter itself takes
at rest. Assumed: twice a measurement of class 1."""

MOVED_PCT: Final = 1.0
"""The state of charge has moved when it has changed so much; some devices show whole percents."""

FLOWED_PCT: Final = 4.0
"""So much of the capacity may flow before the state of charge must have moved. A display in whole
percents with hysteresis stands still for up to 2 %; an owner may state half the capacity."""

ENDS_PCT: Final = 3.0
FLOWED_AT_ENDS_PCT: Final = 10.0
"""Near 0 and 100 % management systems clamp: they keep a hidden reserve on the way out. Power that
goes on into the end is theirs to stop, may balance cells for hours, and is not counted at all."""

AGAINST_PCT: Final = 2.0
"""A state of charge that moved this far the wrong way is against the power, less is frozen."""

VAGUE_PCT: Final = 4.0
"""A window that does not even know the direction of its energy within this width starts anew."""


@dataclass(frozen=True, slots=True)
class Window:
    """Since the state of charge last moved with the power; in % of the capacity, + into the cells.

    Attributes:
        anchor_pct: State of charge at the begin.
        lowest_pct, highest_pct: Range of the state of charge since.
        steps: Number of steps.
        least_pct, most_pct: What has flowed is between these.
        gain_pct: Best guess of what has flowed.
    """

    anchor_pct: float
    lowest_pct: float
    highest_pct: float
    steps: float = 0.0
    least_pct: float = 0.0
    most_pct: float = 0.0
    gain_pct: float = 0.0

    @classmethod
    def of(cls, fields: tuple[float, ...]) -> Self | None:
        """The window of these fields; None where there are none."""
        return cls(*fields) if fields else None

    def fields(self) -> tuple[float, ...]:
        """All fields in order."""
        shown = (self.anchor_pct, self.lowest_pct, self.highest_pct)
        return (*shown, self.steps, self.least_pct, self.most_pct, self.gain_pct)

    @property
    def vague(self) -> bool:
        """Whether it is too wide to tell anything."""
        unknown = self.least_pct < 0.0 < self.most_pct
        return unknown and self.most_pct - self.least_pct > VAGUE_PCT

    def follows(self, soc_pct: float | None, unseen_pct: float) -> bool:
        """Whether the state of charge moves where the energy goes, or went unseen before."""
        if soc_pct is None:
            return False
        direction = self._direction() or unseen_pct
        rose = soc_pct >= self.lowest_pct + MOVED_PCT
        fell = soc_pct <= self.highest_pct - MOVED_PCT
        if direction == 0.0:
            return rose or fell
        return rose if direction > 0 else fell

    def _direction(self) -> float:
        if self.least_pct > 0:
            return self.least_pct
        return min(self.most_pct, 0.0)


def restarted(soc_pct: float | None) -> Window | None:
    """A window that begins now; None where the state of charge is unknown."""
    return None if soc_pct is None else Window(soc_pct, soc_pct, soc_pct)


def hidden_pct(window: Window | None, soc_pct: float | None) -> float:
    """What has flowed in the window and is not shown by the state of charge."""
    if window is None or soc_pct is None:
        return 0.0
    return window.gain_pct - (soc_pct - window.anchor_pct)


def stepped(
    window: Window,
    powers_kw: Sequence[float | None],
    market_s: float,
    reading: Reading,
    limits: SiteLimits,
) -> Window | None:
    """The window after one more read; None where a power or the capacity is unknown.

    Args:
        window: Until the read before.
        powers_kw: Battery power of the last three reads, + discharge; the first may be missing.
            Each was taken at some time of its read, so three enclose what flowed between two.
        market_s: Market seconds since the read before.
        reading: The read.
        limits: For the losses.
    """
    least_kwh, most_kwh = reading.least_kwh, reading.most_kwh
    *_, before_kw, now_kw = powers_kw
    if least_kwh is None or most_kwh is None or before_kw is None or now_kw is None:
        return None
    known_kw = [kw for kw in powers_kw if kw is not None]
    share = limits.round_trip_efficiency_pct / 100.0
    per_kw = 100.0 * market_s / S_PER_HOUR
    offset_kw = OFFSET_SHARE * reading.rated_kw
    out_kw, in_kw = max(known_kw) + offset_kw, offset_kw - min(known_kw)
    least = -out_kw / (share * least_kwh) if out_kw > 0 else -out_kw * share / most_kwh
    most = in_kw / least_kwh if in_kw > 0 else in_kw / most_kwh
    mean_kw, one_way = (before_kw + now_kw) / 2.0, math.sqrt(share)
    gain = -(mean_kw / one_way if mean_kw > 0 else mean_kw * one_way) / most_kwh
    soc = window.anchor_pct if reading.soc_pct is None else reading.soc_pct
    # The anchor was read at some time before the first step ended: perhaps all of it came before.
    first = window.steps == 0
    if first or soc >= 100.0 - ENDS_PCT:
        least, gain = min(least, 0.0), gain if first else min(gain, 0.0)
    if first or soc <= ENDS_PCT:
        most, gain = max(most, 0.0), gain if first else max(gain, 0.0)
    return replace(
        window,
        lowest_pct=min(window.lowest_pct, soc),
        highest_pct=max(window.highest_pct, soc),
        steps=window.steps + 1.0,
        least_pct=window.least_pct + least * per_kw,
        most_pct=window.most_pct + most * per_kw,
        gain_pct=window.gain_pct + gain * per_kw,
    )


def contradiction(window: Window, soc_pct: float | None) -> tuple[str, str] | None:
    """Code and text where energy has surely flowed and the state of charge has not followed."""
    if soc_pct is None:
        return None
    at_an_end = min(soc_pct, 100.0 - soc_pct) <= ENDS_PCT
    enough = FLOWED_AT_ENDS_PCT if at_an_end else FLOWED_PCT
    sure, verb = max((window.least_pct, "charged"), (-window.most_pct, "discharged"))
    if sure < enough:
        return None
    wrong_way = window.anchor_pct - soc_pct
    wrong_way = wrong_way if verb == "charged" else -wrong_way
    flow = f"at least {sure:.1f} % of the capacity was {verb}"
    if wrong_way >= AGAINST_PCT:
        went = f"SoC went from {window.anchor_pct:g} to {soc_pct:g} %"
        return "soc_against_power", f"{went} while {flow}"
    return "soc_frozen", f"SoC stands still at {soc_pct:g} % while {flow}"
