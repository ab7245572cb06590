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
    ``drop[:n]`` closes them at every n-th request, ``delay:seconds`` answers late,
    ``stale_frame`` sends the previous answer again before the right one,
    ``wrong_transaction_id`` answers with another id.

    Answers: ``busy`` is exception 6 always, ``busy_storm[:share]`` at random,
    ``write_failure`` is exception 4 on every write, ``write_ignored`` accepts a write and keeps
    the old value, ``no_effect`` keeps the new value but the battery does not follow.

    Values: ``garbage`` reads "not available", ``frozen`` stands still, ``meter_offline`` is the
    backup-box case, ``alarm:point:bit`` raises an alarm.
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
    FaultKind.DELAY: _Amount("delay:SECONDS", 0, 3600, None),
    FaultKind.BUSY_STORM: _Amount("busy_storm:SHARE", 0, 1, 0.5),
    FaultKind.REBOOT: _Amount("reboot:SECONDS", 0, 3600, 20.0),
    FaultKind.ALARM: _Amount("alarm:POINT:BIT", 0, 63, None, whole=True),
}
FAULT_FORMS: Final = ", ".join(
    _AMOUNTS[kind].form if kind in _AMOUNTS else kind.value for kind in FaultKind
)
"""All forms of the text, for help and error lines."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: What is broken.
        amount: Seconds, number of requests, share or bit, as the kind has it.
        point: Register of an alarm.
    """

    kind: FaultKind
    amount: float = 0.0
    point: str = ""

    NONE: ClassVar[Fault]
    DEAD: ClassVar[Fault]
    HANG: ClassVar[Fault]
    BUSY: ClassVar[Fault]
    GARBAGE: ClassVar[Fault]
    METER_OFFLINE: ClassVar[Fault]

    def __str__(self) -> str:
        amount = f":{self.amount:g}" if self.kind in _AMOUNTS else ""
        return f"{self.kind}{f':{self.point}' if self.point else ''}{amount}"

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
        point = parts.pop(0) if kind is FaultKind.ALARM and len(parts) == 2 else ""
        if kind not in _AMOUNTS:
            if parts:
                raise BessaiError(f"{kind} takes no amount", field="fault", value=repr(text))
            return cls(kind)
        if kind is FaultKind.ALARM and not point:
            raise _wrong_amount(kind, text)
        return cls(kind, _amount(kind, parts, text), point)


_USE: Final = f"use {FAULT_FORMS}"
Fault.NONE = Fault(FaultKind.NONE)
Fault.DEAD = Fault(FaultKind.DEAD)
Fault.HANG = Fault(FaultKind.HANG)
Fault.BUSY = Fault(FaultKind.BUSY)
Fault.GARBAGE = Fault(FaultKind.GARBAGE)
Fault.METER_OFFLINE = Fault(FaultKind.METER_OFFLINE)


class Faults:
    """The faults that are active together; immutable."""

    __slots__ = ("_active",)

    def __init__(self, active: Iterable[Fault] = ()) -> None:
        self._active = tuple(fault for fault in active if fault.kind is not FaultKind.NONE)

    def __contains__(self, kind: FaultKind) -> bool:
        return any(fault.kind is kind for fault in self._active)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._active)

    def __str__(self) -> str:
        return ", ".join(map(str, self._active)) or FaultKind.NONE.value

    def amount(self, kind: FaultKind) -> float | None:
        """Amount of an active fault; None where it is not active."""
        return next((fault.amount for fault in self._active if fault.kind is kind), None)

    def without(self, kind: FaultKind) -> Faults:
        """The others."""
        return Faults(fault for fault in self._active if fault.kind is not kind)


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Faults from a list with commas.

    Raises:
        BessaiError: names the first that is none.
    """
    return tuple(Fault.parse(part) for part in text.split(","))


def _amount(kind: FaultKind, parts: list[str], text: str) -> float:
    rule = _AMOUNTS[kind]
    if not parts and rule.usual is not None:
        return rule.usual
    try:
        amount = float(parts[0]) if len(parts) == 1 else math.nan
    except ValueError:
        amount = math.nan
    if not rule.low <= amount <= rule.high or (rule.whole and not amount.is_integer()):
        raise _wrong_amount(kind, text)
    return amount


def _wrong_amount(kind: FaultKind, text: str) -> BessaiError:
    rule = _AMOUNTS[kind]
    fix = f"use {rule.form}, {rule.low:g} to {rule.high:g}"
    return BessaiError("has no such amount", field="fault", value=repr(text), fix=fix)
