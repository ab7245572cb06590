"""Durations and moments as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from bessai.errors import ConfigError

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration_s(text: str, field: str) -> float:
    """Seconds of ``90``, ``90s``, ``5m`` or ``1h``.

    Raises:
        ConfigError: anything else, or nothing at all.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    seconds = float(found[1]) * _UNITS_S[found[2] or "s"] if found else 0.0
    if seconds <= 0:
        raise ConfigError(
            "is not a duration", field=field, value=repr(text), fix="write 90s, 5m or 1h"
        )
    return seconds


def parse_moment(text: str, field: str) -> datetime:
    """A date or time in ISO 8601; without a zone it is UTC.

    Raises:
        ConfigError: not a date.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            "is not a date",
            field=field,
            value=repr(text),
            fix="write 2024-05-20 or 2024-05-20T12:00Z",
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
