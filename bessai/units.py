"""Conversions and clock types, so that a unit or a clock is never mixed by accident."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NewType

MonotonicS = NewType("MonotonicS", float)
"""Control time: real seconds of the monotonic clock of one host."""

W_PER_KW = 1000.0
WH_PER_KWH = 1000.0
KWH_PER_MWH = 1000.0
S_PER_HOUR = 3600.0


def ensure_utc(moment: datetime) -> datetime:
    """Return ``moment`` in UTC.

    Raises:
        ValueError: ``moment`` is naive, so its zone would have to be guessed.
    """
    if moment.tzinfo is None:
        raise ValueError(f"timestamp {moment.isoformat()} has no time zone")
    return moment.astimezone(UTC)
