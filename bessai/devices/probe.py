"""Commissioning: find a device, read all of it, and say what cannot be right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bessai.config.profile import MAIN, DeviceProfile
from bessai.devices.checks import CheckResult, Implausible, check_laws, implausible_values
from bessai.devices.connection import ModbusConnection
from bessai.devices.discovery import discover
from bessai.devices.search import Attempt, Match, Search, Where, find_device
from bessai.devices.survey import Survey, read_everything
from bessai.errors import DeviceError
from bessai.model import DeviceIdentity

__all__ = ["Attempt", "Device", "Match", "ProbeReport", "Where", "examine", "probe"]


@dataclass(frozen=True, slots=True)
class Device:
    """All that one device tells, and what is doubtful in it.

    Attributes:
        profile: As this device has it: SunSpec models located, without what it lacks.
    """

    profile: DeviceProfile
    identity: DeviceIdentity
    survey: Survey
    laws: tuple[CheckResult, ...]
    implausible: tuple[Implausible, ...]

    @property
    def broken(self) -> tuple[CheckResult, ...]:
        """Laws that do not hold."""
        return tuple(law for law in self.laws if law.ok is False)


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe found.

    Attributes:
        device: None where nothing was found, or what was found could not be read.
        problem: Why it could not be read.
    """

    search: Search
    device: Device | None = None
    problem: str | None = None


async def probe(
    where: Where,
    profiles: Sequence[DeviceProfile],
    *,
    tell: Callable[[Attempt], None] = lambda _: None,
) -> ProbeReport:
    """Find a device of one of the families and read it; nothing is written.

    Args:
        where: Host, and the ports and unit ids to try.
        profiles: Families, as loaded.
        tell: Hears of every attempt at once.
    """
    search = await find_device(where, profiles, tell=tell)
    if search.match is None:
        return ProbeReport(search)
    try:
        return ProbeReport(search, await examine(where.host, search.match))
    except DeviceError as error:
        return ProbeReport(search, problem=str(error))


async def examine(host: str, match: Match) -> Device:
    """Read all of a device that was found, with the habits of its own family.

    Raises:
        DeviceError: it cannot be read.
    """
    family = match.profile
    link = ModbusConnection(host, match.port, {MAIN: match.unit_id}, family.connection)
    await link.connect()
    try:
        profile, identity = await discover(link, family)
        survey = await read_everything(link, profile)
    finally:
        link.close()
    laws = check_laws(profile, survey.reading)
    return Device(profile, identity, survey, laws, implausible_values(profile, survey.reading))
