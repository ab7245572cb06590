"""Who runs a site: one process at a time, told apart by a growing epoch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Owner:
    """One process.

    Attributes:
        host: The machine or container since its last boot; another text is another place.
        pid: Process id there.
        token: Random; tells apart two processes that got the same pid.
    """

    host: str
    pid: int
    token: str


@dataclass(frozen=True, slots=True)
class Grant:
    """An epoch, and who had the site before.

    Attributes:
        epoch: Grows by one with each claim; the highest one is the only valid one.
        previous: The owner before, or None where there never was one.
    """

    epoch: int
    previous: Owner | None


class Tenure(StrEnum):
    """Whether this process may write to the device.

    Attributes:
        PENDING: No epoch yet, and no proof that nobody else writes.
        PROBATION: It has the epoch; an earlier owner may still live.
        OWNER: It may write.
        UNCONFIRMED: It stood still, or the connection was lost: it must ask again.
        SUPERSEDED: Another process has a newer epoch; this one ends.
    """

    PENDING = "pending"
    PROBATION = "probation"
    OWNER = "owner"
    UNCONFIRMED = "unconfirmed"
    SUPERSEDED = "superseded"
