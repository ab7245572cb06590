"""Which device answers at an address: finds port, unit id and family without writing anything.

A wrong unit id may be answered by silence, and a device that has one connection only may need a
moment after it, so the likely addresses come first: the default unit id of each family, then the
others. A family that cannot be told by its answers counts only where no other one fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bessai.config.profile import MAIN, Connection, DeviceProfile, Space, Table
from bessai.devices.careful import CarefulLine
from bessai.devices.discovery import identify
from bessai.devices.sunspec import find_models, located
from bessai.errors import DeviceError
from bessai.model import DeviceIdentity

PROBE_DEADLINE_S: Final = 1.5
"""Real seconds for each answer; a device that is there answers within one."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One thing that was tried, and what came of it.

    Attributes:
        unit_id: None where the port itself is meant.
        family: Profile that was tried; None where it was none in particular.
    """

    port: int
    unit_id: int | None
    family: str | None
    result: str


@dataclass(frozen=True, slots=True)
class Match:
    """A device that fits a family.

    Attributes:
        certain: False where the family's answers prove nothing but that they exist.
    """

    port: int
    unit_id: int
    profile: DeviceProfile
    identity: DeviceIdentity
    certain: bool


@dataclass(frozen=True, slots=True)
class Search:
    """What was found, and all that was tried on the way."""

    match: Match | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Where:
    """What to try; nothing given means what the families say.

    Attributes:
        deadline_s: Real seconds for each answer.
    """

    host: str
    ports: tuple[int, ...] = ()
    unit_ids: tuple[int, ...] = ()
    deadline_s: float = PROBE_DEADLINE_S


async def find_device(
    where: Where,
    profiles: Sequence[DeviceProfile],
    *,
    tell: Callable[[Attempt], None] = lambda _: None,
) -> Search:
    """Look for a device of one of the families.

    Args:
        where: Host, and the ports and unit ids to try.
        profiles: Families, as loaded.
        tell: Hears of every attempt at once.
    """
    search = _Probe(where, profiles, tell)
    match = await search.run()
    return Search(match, tuple(search.attempts))


class _Probe:
    """One search."""

    def __init__(
        self, where: Where, profiles: Sequence[DeviceProfile], tell: Callable[[Attempt], None]
    ) -> None:
        self._where = where
        # The sort keeps the order of the rest, and puts families that fit anything last.
        self._profiles = sorted(profiles, key=lambda p: not p.identification.expect)
        self._tell = tell
        self.attempts: list[Attempt] = []

    async def run(self) -> Match | None:
        lines = [line for port in self._ports() if (line := await self._open(port)) is not None]
        try:
            for usual in (True, False):
                match = await self._pass(lines, usual=usual)
                if match is not None:
                    return match
        finally:
            for line in lines:
                line.close()
        return None

    async def _pass(self, lines: Sequence[CarefulLine], *, usual: bool) -> Match | None:
        """Try the default unit ids, or all others."""
        maybe: Match | None = None
        for line in lines:
            families = self._families(line.port)
            for unit_id in self._unit_ids(families, usual=usual):
                match = await self._try_unit(line, unit_id, families)
                if match is not None and match.certain:
                    return match
                maybe = maybe or match
            line.close()
        return maybe

    async def _open(self, port: int) -> CarefulLine | None:
        line = CarefulLine(
            self._where.host, port, _habits(self._families(port), self._where.deadline_s)
        )
        try:
            await line.connect()
        except DeviceError as error:
            self._note(port, None, None, str(error))
            return None
        line.close()  # a device with one connection may serve several ports
        return line

    async def _try_unit(
        self, line: CarefulLine, unit_id: int, families: Sequence[DeviceProfile]
    ) -> Match | None:
        line.use_unit(MAIN, unit_id)
        maybe: Match | None = None
        usual = [profile for profile in families if self._is_usual(unit_id, profile)]
        others = [p for p in families if p not in usual and unit_id in p.connection.unit_ids]
        for count, profile in enumerate((*usual, *others)):
            if count and not line.answers and profile in others:
                break  # nobody is there, so the other families need not be asked
            match = await self._try_family(line, unit_id, profile)
            if match is not None and match.certain:
                return match
            maybe = maybe or match
        if line.answers:
            await self._ask_who(line, unit_id)
        return maybe

    async def _try_family(
        self, line: CarefulLine, unit_id: int, profile: DeviceProfile
    ) -> Match | None:
        try:
            identity = await _identify(line, profile)
        except DeviceError as error:
            self._note(line.port, unit_id, profile.name, str(error))
            return None
        certain = bool(profile.identification.expect)
        if not identity.model:
            self._note(line.port, unit_id, profile.name, "answers, but names no model")
            return None
        result = f"{'is' if certain else 'may be'} {identity.model!r}"
        self._note(line.port, unit_id, profile.name, result)
        return Match(line.port, unit_id, profile, identity, certain)

    async def _ask_who(self, line: CarefulLine, unit_id: int) -> None:
        name = await line.who()
        if name:
            self._note(line.port, unit_id, None, f"calls itself {name!r}")

    def _note(self, port: int, unit_id: int | None, family: str | None, result: str) -> None:
        attempt = Attempt(port, unit_id, family, result)
        self.attempts.append(attempt)
        self._tell(attempt)

    def _is_usual(self, unit_id: int, profile: DeviceProfile) -> bool:
        return bool(self._where.unit_ids) or unit_id == profile.connection.default_unit_id

    def _ports(self) -> Iterable[int]:
        every = [port for profile in self._profiles for port in profile.connection.ports]
        return dict.fromkeys(self._where.ports or every)

    def _families(self, port: int) -> list[DeviceProfile]:
        if self._where.ports:
            return self._profiles
        return [profile for profile in self._profiles if port in profile.connection.ports]

    def _unit_ids(self, families: Sequence[DeviceProfile], *, usual: bool) -> list[int]:
        if self._where.unit_ids:
            return list(self._where.unit_ids) if usual else []
        first = dict.fromkeys(p.connection.default_unit_id for p in families)
        if usual:
            return list(first)
        every = dict.fromkeys(unit_id for p in families for unit_id in p.connection.unit_ids)
        return [unit_id for unit_id in every if unit_id not in first]


async def _identify(line: CarefulLine, profile: DeviceProfile) -> DeviceIdentity:
    if profile.sunspec is not None:
        models = await find_models(
            lambda address, count: line.read(Space(MAIN, Table.HOLDING), address, count),
            profile.sunspec,
        )
        profile = located(profile, models)
    return await identify(line, profile)


def _habits(families: Sequence[DeviceProfile], deadline_s: float) -> Connection:
    """The most careful habits of all families: which one answers is not known yet."""
    links = [profile.connection for profile in families]
    return Connection(
        wait_after_connect_s=max(link.wait_after_connect_s for link in links),
        request_gap_s=max(link.request_gap_s for link in links),
        request_deadline_s=deadline_s,
        busy_exceptions=tuple({code for link in links for code in link.busy_exceptions}),
    )
