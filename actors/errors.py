"""Errors of the shells."""

from __future__ import annotations

from bessai.errors import BessaiError


class FleetUnavailable(BessaiError):
    """No fleet answers now; the same question may work in a few seconds."""
