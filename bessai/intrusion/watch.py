"""Watches one site: what it may see and do, whether its numbers agree, how odd the whole is.

Three kinds of evidence, from sure to vague: an event that the allow-list forbids, or a command that
is not ours; a feature beyond what clean days showed; a score of the forest. The last two must last
for some cycles. What follows from an alarm is the caller's policy. No I/O.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bessai.intrusion.allowlist import AllowList, AllowListMonitor
from bessai.intrusion.events import Finding, ModbusEvent
from bessai.intrusion.features import FEATURES, FeatureWindow, Vector
from bessai.intrusion.model import IntrusionModel
from bessai.model import SiteLimits, Telemetry
from bessai.units import MonotonicS

CLEAR_S: Final = 60.0
"""An alarm ends when nothing was wrong for so long."""

FOREIGN_READS: Final = 2
FOREIGN_WITHIN_S: Final = 60.0
"""A command that is not ours counts when so many reads within so long show one: a single one may
be a write of ours that the device was just carrying out."""

FOREIGN_SHARE: Final = 0.01
"""Smallest part of the peak power by which a command is another one; a device may round."""

NAMED: Final = 3
"""Most features that explain a score."""


class Change(StrEnum):
    """What became of the alarm in this cycle."""

    BEGAN = "began"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is thought of the last cycle.

    Attributes:
        score: Oddness, 0 to 1; None without a model.
        alarm: Something is wrong, or was within the last :data:`CLEAR_S` seconds.
        findings: What is wrong now.
        change: Whether the alarm began or ended in this cycle.
        began_at: Control time at which the running alarm began.
    """

    score: float | None
    alarm: bool
    findings: tuple[Finding, ...]
    change: Change | None = None
    began_at: MonotonicS | None = None


class Persistence:
    """Whether at least ``needed`` of the last ``window`` cycles were odd."""

    __slots__ = ("_bits", "_mask", "_needed")

    def __init__(self, needed: int, window: int) -> None:
        self._bits = 0
        self._mask = (1 << window) - 1
        self._needed = needed

    def add(self, odd: bool) -> bool:
        """Take note of one cycle."""
        self._bits = (self._bits << 1 | odd) & self._mask
        return self._bits.bit_count() >= self._needed


class SiteWatch:
    """One site's watch; make a new one where the site's process begins anew.

    Args:
        limits: Sizes of the site.
        rules: What may happen on it, see :func:`bessai.intrusion.derive.derive`; None where
            no traffic is seen.
        model: Limits and forest; None leaves allow-list and foreign commands.
        effect_s: Real seconds in which the device's power follows a command.
        speed: Market seconds per real second. Models know real time only: at another speed than
            1 the model is not asked, and ``degraded`` says so.
    """

    def __init__(
        self,
        limits: SiteLimits,
        rules: AllowList | None = None,
        model: IntrusionModel | None = None,
        *,
        effect_s: float = 10.0,
        speed: float = 1.0,
    ) -> None:
        self.degraded: Final = _degraded(model, speed)
        self._monitor = None if rules is None else AllowListMonitor(rules)
        self._model = None if self.degraded is not None else model
        self._window = FeatureWindow(limits, effect_s=effect_s, speed=speed)
        self._foreign = ForeignCommand(limits)
        self._from_events: list[Finding] = []
        self._limits_odd = self._score_odd = Persistence(1, 1)
        if self._model is not None:
            needed, window = self._model.params.needed, self._model.params.window
            self._limits_odd = Persistence(needed, window)
            self._score_odd = Persistence(needed, window)
        self._began_at: MonotonicS | None = None
        self._wrong_at = MonotonicS(0.0)

    def note(self, event: ModbusEvent) -> tuple[Finding, ...]:
        """Check one event against the allow-list; findings join the next verdict, too."""
        if self._monitor is None:
            return ()
        found = self._monitor.check(event)
        self._from_events.extend(found)
        return found

    def observe(
        self,
        telemetry: Telemetry | None,
        setpoint_kw: float | None,
        now: MonotonicS,
        *,
        read_s: float | None = None,
        writes: int = 0,
    ) -> Verdict:
        """Judge one control cycle.

        Args:
            telemetry: The read of this cycle, or None where it failed.
            setpoint_kw: Command that the site believes in force before it decides anew, as the
                device confirmed it; None where it holds none.
            now: Control time.
            read_s: How long the read took.
            writes: Registers that this site wrote since the last call.
        """
        features = self._window.update(telemetry, setpoint_kw, now, read_s=read_s, writes=writes)
        findings, self._from_events = self._from_events, []
        foreign = self._foreign.check(telemetry, setpoint_kw, now)
        if foreign is not None:
            findings.append(foreign)
        score = self._judge(features, findings)
        return self._verdict(score, tuple(findings), now)

    def _judge(self, features: Vector, findings: list[Finding]) -> float | None:
        model = self._model
        if model is None:
            return None
        scaled = model.scaled(features)
        score = -model.forest.score(scaled)
        if self._limits_odd.add(bool(scaled.max() > model.params.limit)):
            findings.extend(_beyond(features, scaled, model))
        if self._score_odd.add(-score < model.params.threshold):
            findings.append(_odd(score, features, scaled, model))
        return score

    def _verdict(
        self, score: float | None, findings: tuple[Finding, ...], now: MonotonicS
    ) -> Verdict:
        change = None
        if findings:
            self._wrong_at = now
            if self._began_at is None:
                self._began_at, change = now, Change.BEGAN
        elif self._began_at is not None and now - self._wrong_at > CLEAR_S:
            self._began_at, change = None, Change.ENDED
        return Verdict(score, self._began_at is not None, findings, change, self._began_at)


class ForeignCommand:
    """Whether the device holds a command that this site did not write."""

    def __init__(self, limits: SiteLimits) -> None:
        peak_kw = max(limits.max_charge_kw, limits.max_discharge_kw)
        self._least_kw = FOREIGN_SHARE * peak_kw
        self._before_kw: float | None = None
        self._seen: deque[float] = deque()

    def check(
        self, telemetry: Telemetry | None, setpoint_kw: float | None, now: MonotonicS
    ) -> Finding | None:
        """The finding of this cycle; arguments as those of :meth:`SiteWatch.observe`."""
        before_kw, self._before_kw = self._before_kw, setpoint_kw
        if telemetry is None or setpoint_kw is None or telemetry.commanded_kw is None:
            return None
        held_kw = telemetry.commanded_kw
        ours = [kw for kw in (setpoint_kw, before_kw) if kw is not None]
        if min(abs(held_kw - kw) for kw in ours) <= self._least_kw:
            return None
        self._seen.append(now)
        while self._seen[0] < now - FOREIGN_WITHIN_S:
            self._seen.popleft()
        if len(self._seen) < FOREIGN_READS:
            return None
        text = f"the device holds a command of {held_kw:g} kW"
        return Finding("foreign_command", text, f"{setpoint_kw:g} kW, as this site wrote")


def _degraded(model: IntrusionModel | None, speed: float) -> str | None:
    if model is None:
        return "no intrusion model"
    if speed != 1.0:
        return f"the intrusion model knows real time only, this site runs {speed:g} times faster"
    return None


def _beyond(features: Vector, scaled: Vector, model: IntrusionModel) -> list[Finding]:
    limit, scale = model.params.limit, model.params.scale
    return [
        Finding(name, f"{name} {features[i]:.3g}", f"at most {limit * scale[i]:.3g}")
        for i, name in enumerate(FEATURES)
        if scaled[i] > limit
    ]


def _odd(score: float, features: Vector, scaled: Vector, model: IntrusionModel) -> Finding:
    largest = scaled.argsort()[::-1][:NAMED]
    names = ", ".join(f"{FEATURES[i]} {features[i]:.3g}" for i in largest if scaled[i] > 0)
    return Finding("score", f"{score:.3f}: {names}", f"at most {-model.params.threshold:.3f}")
