"""Errors of the shells."""

from __future__ import annotations

from bessai.errors import BessaiError


class FleetUnavailable(BessaiError):
    """No fleet answers now; the same question may work in a few seconds."""


class AuthorityUnavailable(BessaiError):
    """Nobody grants or confirms an epoch now; the same question may work in a few seconds."""


class DeploymentSuperseded(BessaiError):
    """A later deployment of the same fleet hands out the epochs of its sites."""


class FleetStopped(BessaiError):
    """The fleet gives its inverters back and controls nothing any more."""
