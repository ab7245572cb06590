"""What became of a command: expected outcomes are values, not exceptions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Applied:
    """Every register was written, or held the value already, and reads back.

    Attributes:
        power_kw: What the device holds now, + discharge; the wish rounded towards zero, or
            narrowed to the device's own limit.
        writes: Registers written, ``stored_writes`` of them in memory that may wear out.
    """

    power_kw: float
    writes: int
    stored_writes: int = 0


@dataclass(frozen=True, slots=True)
class PartiallyApplied:
    """Some registers were written; the command register may still hold the old command."""

    writes: int
    failed_point: str
    error: str
    stored_writes: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing was changed on the device."""

    error: str


ApplyOutcome = Applied | PartiallyApplied | Rejected
