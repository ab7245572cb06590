"""What reached a simulated device and what it did, in logs of bounded length.

The witness of a fault campaign: kept by the device, so that it holds even where the code under
test remembers something else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Generic, Protocol, TypeVar

from bessai.devices.mbap import ClientId
from bessai.units import MonotonicS

ROGUE: Final = ClientId(0, "rogue", 0)
"""Who writes where the fault of that name is active; servers number their clients from 1."""
MAX_CONNECTIONS: Final = 256
_POWER_STEP: Final = 0.01
"""Share of the nameplate; power that changes by less between two entries is not logged."""


class _Timed(Protocol):
    @property
    def at_s(self) -> float: ...


_Entry = TypeVar("_Entry", bound=_Timed)


class Log(Generic[_Entry]):
    """The newest entries, oldest first, and how many were lost."""

    __slots__ = ("_entries", "_total")

    def __init__(self, size: int) -> None:
        self._entries: deque[_Entry] = deque(maxlen=size)
        self._total = 0

    def __iter__(self) -> Iterator[_Entry]:
        return iter(self._entries)

    @property
    def total(self) -> int:
        """Entries ever made; the next one gets this number."""
        return self._total

    @property
    def lost(self) -> int:
        """Entries that were pushed out by newer ones."""
        return self._total - len(self._entries)

    @property
    def last(self) -> _Entry | None:
        """The newest entry."""
        return self._entries[-1] if self._entries else None

    def append(self, entry: _Entry) -> None:
        """Add an entry, pushing out the oldest where the log is full."""
        self._entries.append(entry)
        self._total += 1

    def since(self, at_s: float | None) -> tuple[_Entry, ...]:
        """Entries of this control time and later; None for all that are left."""
        return tuple(entry for entry in self._entries if at_s is None or entry.at_s >= at_s)


@dataclass(frozen=True, slots=True)
class WriteEntry:
    """One write request that reached the device.

    Attributes:
        number: Counts up from 0, also over entries that are lost.
        at_s: Control time.
        wall_at: Wall time, aware UTC.
        client: ``ip:port``, or ``rogue``.
        connection: Number of the connection, never used twice; 0 is the rogue.
        unit: Unit id that was asked.
        outcome: ``accepted``, ``exception N``, or ``not served`` where the device never looked.
        answered: Whether an answer went out.
    """

    number: int
    at_s: float
    wall_at: datetime
    client: str
    connection: int
    unit: int
    address: int
    words: tuple[int, ...]
    outcome: str
    answered: bool


class Cause(StrEnum):
    """Why the command in force changed."""

    WRITE = "write"
    DEAD_MAN = "dead_man"
    REBOOT = "reboot"


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """The forced command changed, or a write restarted the timer that guards it.

    Attributes:
        before_kw, after_kw: + discharge; None is the device's own mode.
        renewed: Whether the dead-man timer was started again.
        connection: Who wrote, as in :class:`WriteEntry`; None where the device did it itself.
    """

    number: int
    at_s: float
    wall_at: datetime
    before_kw: float | None
    after_kw: float | None
    renewed: bool
    cause: Cause
    connection: int | None


@dataclass(frozen=True, slots=True)
class FaultEntry:
    """The faults that are active from this moment on."""

    number: int
    at_s: float
    wall_at: datetime
    faults: str


@dataclass(frozen=True, slots=True)
class Drive:
    """What the battery is told to do.

    Attributes:
        commanded_kw: Forced command in the registers, + discharge; None in the device's own mode.
        wish_kw: Power that the battery follows, within what it can.
        follows: Whether that power is the command's.
    """

    commanded_kw: float | None
    wish_kw: float
    follows: bool


@dataclass(frozen=True, slots=True)
class PowerEntry:
    """What the battery does from this moment on.

    Attributes:
        power_kw: AC power, + discharge.
        soc_pct: True state of charge, 0-100.
        commanded_kw: Forced command in the registers; None in the device's own mode.
        follows: Whether the battery does what the registers say: false in its own mode, and
            under faults that make it deaf.
    """

    number: int
    at_s: float
    power_kw: float
    soc_pct: float
    commanded_kw: float | None
    follows: bool


@dataclass(slots=True)
class ConnectionEntry:
    """One connection of one client; counts up while it is open.

    Attributes:
        opened_at_s, closed_at_s: Seen at the first request or the next tick; None while open.
        requests: All that reached the device, answered or not.
        writes: Those of them that write.
    """

    number: int
    client: str
    opened_at_s: float
    last_at_s: float
    closed_at_s: float | None = None
    requests: int = 0
    writes: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """A write request and what came of it."""

    unit: int
    address: int
    words: tuple[int, ...]
    outcome: str
    answered: bool


class Connections:
    """Who came, what they sent, when they left; of those that left the oldest are forgotten."""

    def __init__(self, size: int = MAX_CONNECTIONS) -> None:
        self._open: dict[int, ConnectionEntry] = {}
        self._left: deque[ConnectionEntry] = deque(maxlen=size)
        self._total = 0

    @property
    def lost(self) -> int:
        """Connections that were forgotten."""
        return self._total - len(self._open) - len(self._left)

    def entries(self) -> tuple[ConnectionEntry, ...]:
        """Copies of those that are known, by number."""
        known = sorted((*self._left, *self._open.values()), key=lambda one: one.number)
        return tuple(replace(one) for one in known)

    def request(self, client: ClientId, at: MonotonicS, *, writes: bool) -> None:
        """Count a request."""
        known = self._open.get(client.number) or self._come(client, at)
        known.last_at_s = at
        known.requests += 1
        known.writes += writes

    def keep_only(self, connected: Collection[ClientId], at: MonotonicS) -> None:
        """Note who is there now and who is not any more; the rogue never leaves."""
        for client in connected:
            if client.number not in self._open:
                self._come(client, at)
        here = {client.number for client in connected} | {ROGUE.number}
        for number in [known for known in self._open if known not in here]:
            left = self._open.pop(number)
            left.closed_at_s = at
            self._left.append(left)

    def _come(self, client: ClientId, at: MonotonicS) -> ConnectionEntry:
        self._total += 1
        entry = ConnectionEntry(client.number, name_of(client), at, at)
        self._open[client.number] = entry
        return entry


class Journal:
    """All logs of one device.

    Args:
        now: Control time.
        size: Most entries of each log.
        nameplate_kw: Larger one of the battery's two.
        wall: Wall time, aware UTC.
    """

    def __init__(
        self,
        now: Callable[[], MonotonicS],
        size: int,
        nameplate_kw: float,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.writes: Final = Log[WriteEntry](size)
        self.commands: Final = Log[CommandEntry](size)
        self.faults: Final = Log[FaultEntry](size)
        self.timeline: Final = Log[PowerEntry](size)
        self.connections: Final = Connections()
        self.writer: int | None = None
        """Number of the connection whose write the device works on."""
        self._now = now
        self._wall = wall
        self._step_kw = _POWER_STEP * nameplate_kw

    def wall_at(self, at: float) -> datetime:
        """Wall time of a control time, by the wall clock as it is now."""
        return self._wall() - timedelta(seconds=self._now() - at)

    def write(self, client: ClientId, written: Written, at: MonotonicS) -> None:
        """A write request reached the device."""
        log, client_name = self.writes, name_of(client)
        log.append(
            WriteEntry(
                log.total,
                at,
                self.wall_at(at),
                client_name,
                client.number,
                written.unit,
                written.address,
                written.words,
                written.outcome,
                written.answered,
            )
        )

    def command(
        self,
        change: tuple[float | None, float | None],
        cause: Cause,
        at: MonotonicS,
        *,
        renewed: bool = False,
    ) -> None:
        """The command in force was ``change[0]`` and is ``change[1]``, in kW."""
        if change[0] == change[1] and not renewed:
            return
        log = self.commands
        writer = self.writer if cause is Cause.WRITE else None
        log.append(CommandEntry(log.total, at, self.wall_at(at), *change, renewed, cause, writer))

    def fault(self, faults: str, at: MonotonicS) -> None:
        """Faults were set or healed."""
        log = self.faults
        log.append(FaultEntry(log.total, at, self.wall_at(at), faults))

    def power(self, drive: Drive, power_kw: float, soc_pct: float, at: MonotonicS) -> None:
        """Note what the battery does, where that is news."""
        last = self.timeline.last
        if last is not None and not self._is_news(last, drive, power_kw):
            return
        number, commanded_kw = self.timeline.total, drive.commanded_kw
        self.timeline.append(PowerEntry(number, at, power_kw, soc_pct, commanded_kw, drive.follows))

    def _is_news(self, last: PowerEntry, drive: Drive, power_kw: float) -> bool:
        if last.commanded_kw != drive.commanded_kw or last.follows != drive.follows:
            return True
        if last.power_kw == power_kw:
            return False
        # The end of a ramp and the end of a flow are news, however small the last step was.
        settled = power_kw in (drive.wish_kw, 0.0)
        return settled or abs(power_kw - last.power_kw) >= self._step_kw


def name_of(client: ClientId) -> str:
    """``ip:port``, or the name of one that has no connection."""
    return str(client) if client.port else client.host
