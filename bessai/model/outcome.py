"""What became of a command: expected outcomes are values, not exceptions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Applied:
    """Every register was written, or held the value already, and reads back."""

    power_kw: float
    writes: int


@dataclass(frozen=True, slots=True)
class PartiallyApplied:
    """Some registers were written; the command register may still hold the old command."""

    writes: int
    failed_point: str
    error: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing was changed on the device."""

    error: str


ApplyOutcome = Applied | PartiallyApplied | Rejected
