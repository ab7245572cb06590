"""What can be made to go wrong with a simulated inverter, as values and as text.

Several faults may be active at once: ``busy_storm:0.3,delay:2``. The device's own faults live in
:mod:`bessai.sim.inverter`, those of the wire in :mod:`bessai.sim.wire` and
:mod:`bessai.sim.server`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from bessai.errors import BessaiError


class FaultKind(StrEnum):
    """What may be broken.

    The whole device: ``none`` heals, ``dead`` closes listener and connections, ``hang`` accepts
    and never answers, ``reboot[:seconds]`` is gone for a while and forgets what it does not store.

    The connection: ``half_open`` forgets the present connections without closing them,
    ``drop[:n]`` closes them at every n-th request, ``drop_share[:share]`` loses frames at random,
    half of them requests and half answers, ``delay:seconds`` answers late,
    ``stale_frame`` sends the previous answer again before the right one,
    ``wrong_transaction_id`` answers with another id.

    Answers: ``busy`` is exception 6 always, ``busy_storm[:share]`` at random,
    ``write_failure`` is exception 4 on every write, ``write_ignored`` accepts a write and keeps
    the old value, ``no_effect`` keeps the new value but the battery does not follow.

    Values: ``garbage`` reads "not available", ``frozen`` stands still, ``stuck:point`` lets one
    point stand still, ``soc_offset:percent`` and ``soc_drift:percent_per_hour`` report a wrong
    state of charge, ``meter_offline`` is the backup-box case, ``alarm:point:bit`` raises an alarm.

    Somebody else: ``rogue:kw[:every_s]`` writes a forced command of its own, once or again and
    again.
    """

    NONE = "none"
    DEAD = "dead"
    HANG = "hang"
    BUSY = "busy"
    GARBAGE = "garbage"
    METER_OFFLINE = "meter_offline"
    HALF_OPEN = "half_open"
    DROP = "drop"
    DELAY = "delay"
    BUSY_STORM = "busy_storm"
    STALE_FRAME = "stale_frame"
    WRONG_TRANSACTION_ID = "wrong_transaction_id"
    WRITE_FAILURE = "write_failure"
    WRITE_IGNORED = "write_ignored"
    FROZEN = "frozen"
    NO_EFFECT = "no_effect"
    REBOOT = "reboot"
    ALARM = "alarm"
    DROP_SHARE = "drop_share"
    STUCK = "stuck"
    SOC_OFFSET = "soc_offset"
    SOC_DRIFT = "soc_drift"
    ROGUE = "rogue"


@dataclass(frozen=True, slots=True)
class _Amount:
    """What may stand behind a kind; ``usual`` None means that it must."""

    form: str
    low: float
    high: float
    usual: float | None
    whole: bool = False


_AMOUNTS: Final = {
    FaultKind.DROP: _Amount("drop:REQUESTS", 1, 1e6, 1.0, whole=True),
    FaultKind.DROP_SHARE: _Amount("drop_share:SHARE", 0, 1, 0.3),
    FaultKind.DELAY: _Amount("delay:SECONDS", 0, 3600, None),
    FaultKind.BUSY_STORM: _Amount("busy_storm:SHARE", 0, 1, 0.5),
    FaultKind.REBOOT: _Amount("reboot:SECONDS", 0, 3600, 20.0),
    FaultKind.ALARM: _Amount("alarm:POINT:BIT", 0, 63, None, whole=True),
    FaultKind.SOC_OFFSET: _Amount("soc_offset:PERCENT", -100, 100, None),
    FaultKind.SOC_DRIFT: _Amount("soc_drift:PERCENT_PER_HOUR", -1e4, 1e4, None),
    FaultKind.ROGUE: _Amount("rogue:KW:EVERY_S", -1e4, 1e4, None),
}
_EVERY: Final = _Amount("rogue:KW:EVERY_S, EVERY_S in seconds", 0.1, 3600, None)
_STUCK_FORM: Final = "stuck:POINT"
_OF_A_POINT: Final = frozenset({FaultKind.ALARM, FaultKind.STUCK})


def _form(kind: FaultKind) -> str:
    if kind is FaultKind.STUCK:
        return _STUCK_FORM
    return _AMOUNTS[kind].form if kind in _AMOUNTS else kind.value


FAULT_FORMS: Final = ", ".join(map(_form, FaultKind))
"""All forms of the text, for help and error lines."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: What is broken.
        amount: Seconds, number of requests, share, bit, percent or kW, as the kind has it.
        point: Register of an alarm, or the one that stands still.
        every_s: Real seconds after which a rogue writes again; None for once.
    """

    kind: FaultKind
    amount: float = 0.0
    point: str = ""
    every_s: float | None = None

    NONE: ClassVar[Fault]
    DEAD: ClassVar[Fault]
    HANG: ClassVar[Fault]
    BUSY: ClassVar[Fault]
    GARBAGE: ClassVar[Fault]
    METER_OFFLINE: ClassVar[Fault]

    def __str__(self) -> str:
        amount = f":{self.amount:g}" if self.kind in _AMOUNTS else ""
        every = "" if self.every_s is None else f":{self.every_s:g}"
        return f"{self.kind}{f':{self.point}' if self.point else ''}{amount}{every}"

    @classmethod
    def parse(cls, text: str) -> Fault:
        """A fault from its text, e.g. ``busy``, ``delay:2.5`` or ``alarm:alarm_1:7``.

        Raises:
            BessaiError: no such fault, or an amount that it cannot have.
        """
        word, *parts = text.strip().split(":")
        if word not in set(FaultKind):
            raise BessaiError("unknown fault", field="fault", value=repr(text), fix=_USE)
        kind = FaultKind(word)
        point = parts.pop(0) if kind in _OF_A_POINT and parts else ""
        if kind in _OF_A_POINT and not point:
            raise BessaiError(
                "needs a point", field="fault", value=repr(text), fix=f"use {_form(kind)}"
            )
        every_s = None
        if kind is FaultKind.ROGUE and len(parts) == 2:
            every_s = _amount(_EVERY, [parts.pop()], text)
        if kind not in _AMOUNTS:
            if parts:
                raise BessaiError(f"{kind} takes no amount", field="fault", value=repr(text))
            return cls(kind, point=point)
        return cls(kind, _amount(_AMOUNTS[kind], parts, text), point, every_s)


_USE: Final = f"use {FAULT_FORMS}"
Fault.NONE = Fault(FaultKind.NONE)
Fault.DEAD = Fault(FaultKind.DEAD)
Fault.HANG = Fault(FaultKind.HANG)
Fault.BUSY = Fault(FaultKind.BUSY)
Fault.GARBAGE = Fault(FaultKind.GARBAGE)
Fault.METER_OFFLINE = Fault(FaultKind.METER_OFFLINE)


class Faults:
    """The faults that are active together; immutable."""

    __slots__ = ("_active", "_kinds")

    def __init__(self, active: Iterable[Fault] = ()) -> None:
        self._active = tuple(fault for fault in active if fault.kind is not FaultKind.NONE)
        self._kinds = frozenset(fault.kind for fault in self._active)

    def __contains__(self, kind: FaultKind) -> bool:
        return kind in self._kinds

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._active)

    def __str__(self) -> str:
        return ", ".join(map(str, self._active)) or FaultKind.NONE.value

    def amount(self, kind: FaultKind) -> float | None:
        """Amount of an active fault; None where it is not active."""
        found = self.find(kind)
        return None if found is None else found.amount

    def find(self, kind: FaultKind) -> Fault | None:
        """An active fault; None where it is not active."""
        if kind not in self._kinds:
            return None
        return next(fault for fault in self._active if fault.kind is kind)

    def points(self, kind: FaultKind) -> frozenset[str]:
        """Points of the active faults of a kind."""
        return frozenset(fault.point for fault in self._active if fault.kind is kind)

    def without(self, kind: FaultKind) -> Faults:
        """The others."""
        return Faults(fault for fault in self._active if fault.kind is not kind)


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Faults from a list with commas.

    Raises:
        BessaiError: names the first that is none.
    """
    return tuple(Fault.parse(part) for part in text.split(","))


def _amount(rule: _Amount, parts: list[str], text: str) -> float:
    if not parts and rule.usual is not None:
        return rule.usual
    try:
        amount = float(parts[0]) if len(parts) == 1 else math.nan
    except ValueError:
        amount = math.nan
    if not rule.low <= amount <= rule.high or (rule.whole and not amount.is_integer()):
        fix = f"use {rule.form}, {rule.low:g} to {rule.high:g}"
        raise BessaiError("has no such amount", field="fault", value=repr(text), fix=fix)
    return amount
