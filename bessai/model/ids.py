"""Identifier types, so that one kind of id cannot stand where another is meant."""

from __future__ import annotations

from typing import Final, NewType

SiteId = NewType("SiteId", str)
CauseId = NewType("CauseId", str)
ScheduleId = NewType("ScheduleId", str)

DISPATCH_SOURCE: Final = "dispatch"
"""Source name of schedules that the dispatch model made."""
