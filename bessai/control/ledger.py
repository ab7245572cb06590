"""Whether to write: little, but at once where safety asks, and before the dead-man ends.

The ledger knows what this site wrote last, so it also knows when somebody else wrote.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bessai.control.clocks import NEVER
from bessai.model import Bounds, Stops, Telemetry
from bessai.model.stop import NO_STOPS
from bessai.units import MonotonicS

DEAD_BAND_SHARE: Final = 0.005
"""Changes below this share of the peak power are not worth a write."""

SPARING_SHARE: Final = 0.05
"""The same where each change of power wears memory out, and the room that is kept to bounds that
move: a limit of volts times amperes is another one in every cycle."""

CONTAINED_KW: Final = 1e-6
"""Rounding that still counts as inside the envelope."""

REWRITE_GAP_S: Final = 10.0
"""A device that keeps dropping our command (a full LUNA2000 leaves forced mode by itself,
evcc issue 17692) is asked again this often, not every cycle."""

RETRY_MAX_S: Final = 10.0
"""Longest wait between attempts of a write that the device refuses."""

MAX_ANSWERS: Final = 3
"""So often a foreign command is answered before this site yields: two masters that overwrite each
other for ever are worse than either."""

ANSWER_MEMORY_S: Final = 600.0
"""Foreign commands further apart than this are not one dispute."""

UNDISTURBED_S: Final = 60.0
"""Without a foreign command for this long, a site no longer yields. One that commands and releases
in turn must not make this site write between the two each time."""


class ForeignPolicy(StrEnum):
    """What to do about a command that is not ours. Safety is not affected by it.

    ``reassert`` answers it a few times and then yields; ``yield`` leaves it until the device is
    free again; ``alarm`` leaves it until a person releases the site.
    """

    REASSERT = "reassert"
    YIELD = "yield"
    ALARM = "alarm"


class WriteKind(StrEnum):
    """Why a command was written; the ``kind`` label of the metric."""

    CHANGE = "change"
    RENEW = "renew"
    SAFETY = "safety"
    EXTERNAL = "external"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Write:
    """A command to send in this cycle."""

    power_kw: float
    kind: WriteKind


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known about the command in force.

    Attributes:
        written_kw: Last power that was written and read back, or None where unknown.
        confirmed_kw: What the device made of it: rounded, or narrowed to its own limit.
        written_at: Control time of that write.
        external_at: Control time of the last write that answered an external change.
        failures: Failed writes in a row.
        retry_at: Control time before which a failed write is not repeated.
        answers: Answers to foreign commands in this dispute.
        quarrel: The last read showed another command than ours.
        yielding: Somebody else commands the device and is left alone.
        yielded_revision: Revision of the operator's orders when this site yielded.
        foreign_at: Control time of the last read that showed somebody else's command.
        held_kw: What the device holds where that is not the known command of this site; None
            where it is, or where there is no forced command.
    """

    written_kw: float | None = None
    written_at: MonotonicS = NEVER
    confirmed_kw: float | None = None
    external_at: MonotonicS = NEVER
    failures: int = 0
    retry_at: MonotonicS = NEVER
    quarrel: bool = False
    held_kw: float | None = None
    answers: int = 0
    yielding: bool = False
    yielded_revision: int = 0
    foreign_at: MonotonicS = NEVER

    @property
    def foreign(self) -> bool:
        """Whether somebody else's forced command is in force, and not merely ours gone."""
        return self.quarrel and self.held_kw is not None

    def after_loss(self) -> Ledger:
        """On a new connection a dispute goes on: two masters may take it from each other in turn.

        What was written last stays known, to tell our own command from one that is not.
        """
        return replace(self, failures=0, retry_at=NEVER, quarrel=False, held_kw=None)


@dataclass(frozen=True, slots=True)
class WriteRules:
    """Static part.

    Attributes:
        peak_kw: Peak power of the site.
        renew_s: How often a command is renewed, or None.
        spare_s: Where each change of power wears memory out, the least real seconds from one to
            the next; 0 where it does not. Rest and safety never wait for it.
        nameplate: The bounds that never move, where they are known.
        foreign: What to do about a command that is not ours.
    """

    peak_kw: float
    renew_s: float | None
    spare_s: float = 0.0
    nameplate: Bounds | None = None
    foreign: ForeignPolicy = ForeignPolicy.REASSERT

    @property
    def dead_band_kw(self) -> float:
        """Smallest difference that counts."""
        return DEAD_BAND_SHARE * self.peak_kw

    @property
    def change_kw(self) -> float:
        """Smallest change that is written."""
        return SPARING_SHARE * self.peak_kw if self.spare_s else self.dead_band_kw


def is_external(ledger: Ledger, telemetry: Telemetry | None, rules: WriteRules) -> bool:
    """Whether the device holds another command than the one written last.

    Only a read that began after the write can tell. None in ``commanded_kw`` is a change too:
    somebody released the device, or its dead-man ended.
    """
    if telemetry is None or ledger.written_kw is None:
        return False
    if telemetry.measured_at <= ledger.written_at:
        return False
    held = telemetry.commanded_kw
    ours = ledger.written_kw if ledger.confirmed_kw is None else ledger.confirmed_kw
    return held is None or not abs(held - ours) <= rules.dead_band_kw


def decide_write(
    ledger: Ledger,
    target_kw: float,
    allowed: Bounds,
    now: MonotonicS,
    rules: WriteRules,
) -> Write | None:
    """The write of this cycle, or None; the first reason that applies names its kind.

    Call :func:`observe` before, so that a foreign command counts.
    """
    power_kw = _with_room(target_kw, allowed, rules) if rules.spare_s else target_kw
    if ledger.yielding and allowed.lower_kw == allowed.upper_kw:
        # A stop, or another reason to rest: that is not left to somebody else, nor to a timer.
        kind = _kind(replace(ledger, yielding=False), power_kw, allowed, now, rules)
        return None if kind is None else Write(power_kw, WriteKind.SAFETY)
    kind = _kind(ledger, power_kw, allowed, now, rules)
    waits = ledger.yielding or now < ledger.retry_at
    if kind is None or (waits and kind is not WriteKind.SAFETY):
        return None
    if kind is WriteKind.CHANGE and power_kw != 0 and _is_spared(ledger, now, rules):
        return None
    return Write(power_kw, kind)


def observe(
    ledger: Ledger,
    telemetry: Telemetry | None,
    rules: WriteRules,
    stops: Stops = NO_STOPS,
) -> Ledger:
    """Take note of what the read said about the command in force."""
    external = is_external(ledger, telemetry, rules)
    unsure = external or ledger.written_kw is None
    held = telemetry.commanded_kw if unsure and telemetry is not None else None
    quarrel = external or (ledger.yielding and held is not None)
    seen = replace(ledger, quarrel=quarrel, held_kw=held)
    if telemetry is None:
        return seen
    return _disputed(seen, telemetry.measured_at, rules, stops)


def _disputed(ledger: Ledger, now: MonotonicS, rules: WriteRules, stops: Stops) -> Ledger:
    """Whether to yield to a foreign command, and until when."""
    if ledger.foreign:
        ledger = replace(ledger, foreign_at=now)
    if ledger.yielding and rules.foreign is ForeignPolicy.ALARM:
        released = stops.order is not None and not stops.order.stopped
        ended = released and stops.revision > ledger.yielded_revision
        return replace(ledger, yielding=not ended, answers=0 if ended else ledger.answers)
    if ledger.yielding:
        return replace(ledger, yielding=now - ledger.foreign_at < UNDISTURBED_S)
    if not ledger.foreign:
        over = now - ledger.external_at > ANSWER_MEMORY_S
        return replace(ledger, answers=0) if over else ledger
    tired = ledger.answers >= MAX_ANSWERS
    if rules.foreign is ForeignPolicy.REASSERT and not tired:
        return ledger
    return replace(ledger, yielding=True, yielded_revision=stops.revision)


def after_success(
    ledger: Ledger, write: Write, now: MonotonicS, confirmed_kw: float | None = None
) -> Ledger:
    """The ledger after a write that reads back as ``confirmed_kw``."""
    answered = write.kind is WriteKind.EXTERNAL
    return Ledger(
        written_kw=write.power_kw,
        written_at=now,
        confirmed_kw=confirmed_kw,
        external_at=now if answered or ledger.foreign else ledger.external_at,
        answers=ledger.answers + (1 if ledger.foreign else 0),
        yielding=ledger.yielding,
        yielded_revision=ledger.yielded_revision,
        foreign_at=ledger.foreign_at,
    )


def after_failure(ledger: Ledger, now: MonotonicS, *, partial: bool) -> Ledger:
    """The ledger after a refused write; a partial one leaves the command in force unknown."""
    wait_s = min(2.0 ** min(ledger.failures, 8), RETRY_MAX_S)
    return replace(
        ledger,
        written_kw=None if partial else ledger.written_kw,
        failures=ledger.failures + 1,
        retry_at=MonotonicS(now + wait_s),
    )


def _kind(
    ledger: Ledger, target_kw: float, allowed: Bounds, now: MonotonicS, rules: WriteRules
) -> WriteKind | None:
    written = ledger.written_kw
    ours = None if ledger.yielding and ledger.quarrel else written
    in_force = [power for power in (ours, ledger.held_kw) if power is not None]
    if not all(allowed.contains(power, tolerance_kw=CONTAINED_KW) for power in in_force):
        return WriteKind.SAFETY
    if written is None:
        return WriteKind.CHANGE
    if ledger.quarrel and now - ledger.external_at >= REWRITE_GAP_S:
        return WriteKind.EXTERNAL
    if _is_change(written, target_kw, rules):
        return None if ledger.foreign else WriteKind.CHANGE
    if rules.renew_s is not None and now - ledger.written_at >= rules.renew_s:
        return WriteKind.RENEW
    return None


def _with_room(target_kw: float, allowed: Bounds, rules: WriteRules) -> float:
    """The target, a little inside bounds that may move in the next cycle.

    Never more power than was wished, except where the bounds themselves ask for power.
    """
    room_kw, full = rules.change_kw, rules.nameplate
    upper, lower = allowed.upper_kw, allowed.lower_kw
    may_rest = allowed.contains(0.0)
    if target_kw > upper - room_kw and (full is None or upper < full.upper_kw):
        return max(upper - room_kw, min(0.0, target_kw) if may_rest else lower)
    if target_kw < lower + room_kw and (full is None or lower > full.lower_kw):
        return min(lower + room_kw, max(0.0, target_kw) if may_rest else upper)
    return target_kw


def _is_spared(ledger: Ledger, now: MonotonicS, rules: WriteRules) -> bool:
    return ledger.written_kw is not None and now - ledger.written_at < rules.spare_s


def _is_change(written_kw: float, target_kw: float, rules: WriteRules) -> bool:
    """Beyond the dead-band, or a stop or start of the battery: 0 kW is always exact."""
    to_or_from_rest = (written_kw == 0.0) != (target_kw == 0.0)
    return to_or_from_rest or abs(target_kw - written_kw) > rules.change_kw
