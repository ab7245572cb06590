"""Values that cannot be true over time: jumps, and a state of charge that ignores the power.

Every other rule trusts the state of charge, so a register that stands still or jumps is the one
fault that could carry a battery past its limits unseen. What is judged, and why so:

- *Jump.* A state of charge can change only by the energy that fits into the time between two
  reads, a temperature only as fast as its mass allows. Power is not judged: an inverter really
  goes from nothing to full within a second, a device in its own mode may exceed the owner's
  limits, and a wrong power shows in the energy.
- *Frozen, or against the power.* Judged by energy, never by time or by equal reads: a large battery
  that shows whole percents at constant power repeats a read bit for bit for minutes. The energy
  that has surely flowed is a lower bound: the smallest of neighbouring powers, less the error of
  the measurement, less all losses. Where the power changes much between reads nothing is sure.
- *At rest nothing is judged*, because nothing can be known.

A finding rests the battery for a limited time that doubles with repetition, then the new values
are believed and tried again. A rest without end would be worse than the fault: management systems
correct their count by several percent near full and empty, and a resting battery can never show
that its count works again. A try costs little: it ends after the same few percent of the capacity.
So that many tries do not add up, what flowed unseen is remembered until the state of charge follows
the power again; the limits count with it (:func:`unseen_pct`), which closes at most the direction
that went too far and leaves the way back open.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from bessai.model import Bounds, Narrowing, SiteLimits, Telemetry
from bessai.model.power import HOLD_BOUNDS
from bessai.safety.flow import GAP_S, Window, contradiction, hidden_pct, restarted, stepped
from bessai.safety.reading import Reading, read_of
from bessai.units import S_PER_HOUR

PLAUSIBLE_CODES: Final = frozenset(
    {"soc_jump", "temperature_jump", "soc_frozen", "soc_against_power"}
)
"""Reasons to hold that come from more than one read."""

OVER_CODE: Final = "implausible_over"
"""Tells for a while that a finding has ended; it limits nothing."""

HOLD_S: Final = 60.0
LONGEST_HOLD_S: Final = 900.0
OVER_S: Final = 60.0
"""Real seconds for which the end of a finding is told."""

FORGET_S: Final = 3600.0
"""Real seconds without a finding after which the next one counts as the first."""

JUMP_PCT: Final = 5.0
"""A correction of the count up to this size is not a finding: management systems make them."""

LEAST_CAPACITY_SHARE: Final = 0.6
"""Assumed share of the nominal capacity that a worn battery still has."""

PEAK_SHARE: Final = 1.5
"""Assumed: no inverter takes more than this multiple of its size for as long as a cycle."""

TEMPERATURE_JUMP_K: Final = 10.0
"""Sensors of one battery differ by less, and a device may change the one that it shows."""

TEMPERATURE_K_PER_MIN: Final = 5.0
"""Fastest change believed. 10 kWh of cells weigh about 80 kg and take 80 kJ/K: 5 K/min would need
7 kW of heat; a loss of 10 % of 5 kW makes 0.4 K/min. A fire is faster, and then rest is right."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What is remembered of earlier reads; the default knows nothing.

    Plain numbers, texts and tuples, so that it can be recorded and replayed.

    Attributes:
        at: Control time of the last read.
        soc_at, soc_pct: Last state of charge that could be, and when.
        temperature_at, temperature_c: The same for the temperature.
        power_kw, power_before_kw: Battery power of the last read and the one before.
        window: Energy since the state of charge last moved with the power, as the fields of
            :class:`~bessai.safety.flow.Window`; empty before the first.
        unseen_pct: What flowed into the cells, in % of the capacity, and was not shown by the state
            of charge before the window began.
        findings: Codes and texts of the last finding.
        holding: 1 while they hold the battery.
        since: Control time at which holding began or ended; None without a finding.
        hold_s: Real seconds for which the last finding holds.
        repeats: How many findings in a row.
    """

    at: float | None = None
    soc_at: float | None = None
    soc_pct: float | None = None
    temperature_at: float | None = None
    temperature_c: float | None = None
    power_kw: float | None = None
    power_before_kw: float | None = None
    window: tuple[float, ...] = ()
    unseen_pct: float = 0.0
    findings: tuple[tuple[str, str], ...] = ()
    holding: int = 0
    since: float | None = None
    hold_s: float = 0.0
    repeats: int = 0


def observe(trace: Trace, telemetry: Telemetry, limits: SiteLimits, speed: float) -> Trace:
    """The trace after a fresh read; never raises, whatever was read.

    Args:
        trace: What is remembered so far.
        telemetry: A read that is newer than those before.
        limits: What the site file allows.
        speed: Market seconds per real second.
    """
    now = float(telemetry.measured_at)
    if not math.isfinite(now) or now == trace.at:
        return trace
    if trace.at is not None and now < trace.at:
        trace = _after_clock_went_back(trace, now)
    trace = _relaxed(trace, now)
    reading = read_of(telemetry, limits)
    found = tuple(_jumps(trace, now, reading, limits, speed))
    window, unseen = _flowed(trace, now, reading, limits, speed)
    if any(code == "soc_jump" for code, _ in found):
        window, unseen = restarted(reading.soc_pct), 0.0
    elif window is not None and (flow := contradiction(window, reading.soc_pct)) is not None:
        found, unseen = (*found, flow), unseen + hidden_pct(window, reading.soc_pct)
        window = restarted(reading.soc_pct)
    seen = _remembered(trace, now, reading, window, unseen)
    return _found(seen, now, found) if found and not trace.holding else seen


def unseen_pct(trace: Trace, soc_pct: float | None) -> float:
    """How far the cells may be above (+) or below (-) the state of charge shown, in %.

    0 unless a finding said that the state of charge does not follow the power, and it has not
    followed since.
    """
    return _unseen(trace.unseen_pct, _window(trace), soc_pct)


def plausible_holds(trace: Trace) -> Iterator[Narrowing]:
    """The findings that hold the battery now."""
    if trace.holding:
        for code, text in trace.findings:
            rest = f"{text}; rests for {trace.hold_s:g} s, then its values are tried again"
            yield Narrowing(code, rest, HOLD_BOUNDS)


def over_note(trace: Trace, now: float, full: Bounds) -> Iterator[Narrowing]:
    """The end of a finding, told for :data:`OVER_S`; it allows the whole nameplate ``full``."""
    if trace.since is not None and not trace.holding and now - trace.since <= OVER_S:
        texts = " and ".join(text for _, text in trace.findings)
        yield Narrowing(OVER_CODE, f"rested for {trace.hold_s:g} s, tried again: {texts}", full)


def _after_clock_went_back(trace: Trace, now: float) -> Trace:
    """Times before are worth nothing; a hold starts anew, so that it still ends."""
    return replace(
        _without_window(trace),
        at=None,
        soc_at=None,
        temperature_at=None,
        power_kw=None,
        power_before_kw=None,
        since=None if trace.since is None else now,
    )


def _relaxed(trace: Trace, now: float) -> Trace:
    """End a hold that lasted long enough, and forget one that ended long ago."""
    if trace.since is None:
        return trace
    if trace.holding and now - trace.since >= trace.hold_s:
        return replace(_without_window(trace), holding=0, since=now)
    if not trace.holding and now - trace.since > FORGET_S:
        return replace(trace, findings=(), since=None, hold_s=0.0, repeats=0)
    return trace


def _without_window(trace: Trace) -> Trace:
    return replace(trace, unseen_pct=unseen_pct(trace, trace.soc_pct), window=())


def _unseen(before_pct: float, window: Window | None, soc_pct: float | None) -> float:
    """Unseen energy with that of a window, which counts only once a finding has doubted it."""
    return 0.0 if before_pct == 0.0 else before_pct + hidden_pct(window, soc_pct)


def _window(trace: Trace) -> Window | None:
    return Window.of(trace.window)


def _jumps(
    trace: Trace, now: float, reading: Reading, limits: SiteLimits, speed: float
) -> Iterator[tuple[str, str]]:
    """Changes that no battery makes in the time between the reads.

    A value may have been taken anywhere between the begin of a read and the longest time that a
    read may take, and slow values may be older by as much.
    """
    soc, before = reading.soc_pct, trace.soc_pct
    if soc is not None and before is not None and trace.soc_at is not None:
        market_s = (now - trace.soc_at + limits.max_age_s) * speed
        possible = _possible_pct(trace, reading, limits, market_s)
        if possible is not None and abs(soc - before) > possible + JUMP_PCT:
            text = f"SoC jumped from {before:g} to {soc:g} % within {now - trace.soc_at:.1f} s"
            yield "soc_jump", f"{text}, at most {possible:.1f} % can flow"
    celsius, before = reading.temperature_c, trace.temperature_c
    if celsius is not None and before is not None and trace.temperature_at is not None:
        market_s = (now - trace.temperature_at + GAP_S) * speed
        possible = TEMPERATURE_JUMP_K + TEMPERATURE_K_PER_MIN * market_s / 60.0
        if abs(celsius - before) > possible:
            text = f"battery temperature jumped from {before:g} to {celsius:g} °C"
            yield "temperature_jump", f"{text} within {now - trace.temperature_at:.1f} s"


def _possible_pct(
    trace: Trace, reading: Reading, limits: SiteLimits, market_s: float
) -> float | None:
    if reading.least_kwh is None:
        return None
    known = (abs(p) for p in (trace.power_kw, reading.power_kw) if p is not None)
    peak_kw = max(PEAK_SHARE * reading.rated_kw, *known, 0.0)
    share = limits.round_trip_efficiency_pct / 100.0
    capacity_kwh = LEAST_CAPACITY_SHARE * reading.least_kwh
    return 100.0 * peak_kw * market_s / S_PER_HOUR / share / capacity_kwh


def _flowed(
    trace: Trace, now: float, reading: Reading, limits: SiteLimits, speed: float
) -> tuple[Window | None, float]:
    """Window and unseen energy after one more step."""
    before, soc = _window(trace), reading.soc_pct
    after = None
    if before is not None and trace.at is not None and now - trace.at <= GAP_S:
        powers = (trace.power_before_kw, trace.power_kw, reading.power_kw)
        after = stepped(before, powers, (now - trace.at) * speed, reading, limits)
    if after is None:
        return restarted(soc), unseen_pct(trace, trace.soc_pct)
    if after.follows(soc, trace.unseen_pct):
        return restarted(soc), 0.0
    if after.vague:
        return restarted(soc), _unseen(trace.unseen_pct, after, soc)
    return after, trace.unseen_pct


def _remembered(
    trace: Trace, now: float, reading: Reading, window: Window | None, unseen: float
) -> Trace:
    soc, celsius = reading.soc_pct, reading.temperature_c
    fresh = trace.at is not None and now - trace.at <= GAP_S
    return replace(
        trace,
        at=now,
        soc_at=trace.soc_at if soc is None else now,
        soc_pct=trace.soc_pct if soc is None else soc,
        temperature_at=trace.temperature_at if celsius is None else now,
        temperature_c=trace.temperature_c if celsius is None else celsius,
        power_kw=reading.power_kw,
        power_before_kw=trace.power_kw if fresh else None,
        window=() if window is None else window.fields(),
        unseen_pct=min(max(unseen, -100.0), 100.0),
    )


def _found(trace: Trace, now: float, found: tuple[tuple[str, str], ...]) -> Trace:
    repeats = trace.repeats + 1
    hold_s = min(HOLD_S * 2.0 ** min(repeats - 1, 10), LONGEST_HOLD_S)
    return replace(trace, findings=found, holding=1, since=now, hold_s=hold_s, repeats=repeats)
