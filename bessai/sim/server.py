"""Simulated inverters as real Modbus TCP servers, each with a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

from bessai.config.load import load_profile
from bessai.devices.logins import Credentials
from bessai.devices.mbap import ClientId, ModbusServer
from bessai.errors import BessaiError, ConfigError
from bessai.model import SiteId
from bessai.sim.faults import Fault, FaultKind, Faults
from bessai.sim.huawei import DEFAULT_CREDENTIALS, PROCEDURE, LoginDesk
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.observe import Answer, Question, observe
from bessai.sim.rogue import Rogue
from bessai.sim.spec import SimSpec
from bessai.sim.wire import Wire
from bessai.units import MonotonicS

LOOPBACK: Final = "127.0.0.1"
TICK_S: Final = 0.1
_ABSENT: Final = frozenset({FaultKind.DEAD, FaultKind.REBOOT})
"""Faults under which nobody can write to the device."""


def control_time() -> MonotonicS:
    """Real seconds of this host's monotonic clock."""
    return MonotonicS(time.monotonic())


class HostedInverter:
    """A Modbus TCP server in front of one simulated inverter.

    Like the real device it may serve one client only: then a new connection closes the old one
    (wlcrs/huawei_solar#13).

    Args:
        inverter: The device.
        port: 0 becomes a free one at the start, and stays it.
        host: Address to listen on.
        credentials: Refuse writes without this login; None asks for none.

    Raises:
        ConfigError: a login is asked for, but the family has none.
    """

    def __init__(
        self,
        inverter: SimulatedInverter,
        port: int = 0,
        *,
        host: str = LOOPBACK,
        credentials: Credentials | None = None,
    ) -> None:
        self.inverter = inverter
        self.host: Final = host
        self._wire = Wire(
            inverter,
            self._drop_clients,
            desk=_desk(inverter, credentials),
            login_required=credentials is not None,
        )
        self._server = ModbusServer(
            self._wire,
            host=host,
            port=port,
            max_clients=inverter.profile.connection.max_clients,
            frames=self._wire.frames,
        )
        self._reboot: asyncio.Task[None] | None = None
        self._rogue: Rogue | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 before a free port was found."""
        return self._server.port

    @property
    def unit_id(self) -> int:
        """Unit id of the inverter."""
        return self.inverter.unit_id

    @property
    def connected(self) -> frozenset[ClientId]:
        """Who is connected."""
        return self._server.connected

    @property
    def clients(self) -> frozenset[ClientId]:
        """Who is connected, or was and got an answer since the last :meth:`tick`."""
        return self._server.connected | self._wire.answered

    async def start(self) -> None:
        """Listen; a second call does nothing.

        Raises:
            ConfigError: the port is in use.
        """
        try:
            await self._server.start()
        except ConfigError as error:
            raise ConfigError(
                error.message,
                field=f"{self.inverter.spec.site_id}: port",
                value=error.value,
                fix=error.fix,
            ) from error

    async def stop(self) -> None:
        """Close the listener and every connection."""
        await self._end_reboot()
        await self._server.stop()

    async def set_fault(self, *faults: Fault) -> None:
        """Break the device in these ways and in no other; it keeps its port.

        Raises:
            ConfigError: the profile has no such alarm or meter, or somebody took the port while
                the device was dead.
            DeviceError: a rogue cannot command this device so.
        """
        wanted = Faults(faults)
        rogue = wanted.find(FaultKind.ROGUE)
        rogue_writer = None if rogue is None else Rogue(self.inverter, rogue)
        hung = FaultKind.HANG in self.inverter.faults
        self.inverter.set_faults(wanted)
        await self._end_reboot()
        self._wire.lose(self._server.connected if FaultKind.HALF_OPEN in wanted else ())
        away_s = wanted.amount(FaultKind.REBOOT)
        if FaultKind.DEAD in wanted or away_s is not None:
            await self._server.stop()
        elif hung and FaultKind.HANG not in wanted:
            self._server.drop_clients()
        if away_s is not None:
            self.inverter.reboot()
            self._reboot = asyncio.create_task(self._come_back(away_s))
        elif FaultKind.DEAD not in wanted:
            await self.start()
        self._rogue = rogue_writer
        self.tick()

    def tick(self) -> None:
        """Let time pass for the battery, and for who else writes to it."""
        device, connected = self.inverter, self._server.connected
        device.advance()
        self._wire.keep_only(connected)
        device.journal.connections.keep_only(connected, device.at)
        if self._rogue is not None and _ABSENT.isdisjoint(f.kind for f in device.faults):
            self._rogue.tick()

    def observe(self, question: Question, since_s: float | None = None) -> Answer:
        """What the device has seen and done, up to this moment."""
        self.tick()
        return observe(self.inverter, question, since_s)

    async def _come_back(self, away_s: float) -> None:
        await asyncio.sleep(away_s)
        await self.start()
        self.inverter.booted()

    async def _end_reboot(self) -> None:
        reboot, self._reboot = self._reboot, None
        if reboot is not None:
            reboot.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConfigError):
                await reboot

    def _drop_clients(self) -> None:
        self._server.drop_clients()


class SimulatorServer:
    """All inverters of a spec, and the clock tick that keeps their batteries moving.

    Args:
        spec: What to simulate.
        now: Control time.
        minute_s: Real length of one minute of the devices' own timers; None for each spec's.

    Raises:
        BessaiError: an unknown profile, or one that does not fit the simulation.
    """

    def __init__(
        self,
        spec: SimSpec,
        *,
        now: Callable[[], MonotonicS] = control_time,
        minute_s: float | None = None,
    ) -> None:
        speed = spec.clock.speed
        self._hosts = {
            one.id: HostedInverter(
                SimulatedInverter(
                    one, load_profile(one.profile), speed, now=now, minute_s=minute_s
                ),
                one.port,
            )
            for one in spec.inverters
        }
        self._ticker: asyncio.Task[None] | None = None

    async def start(self) -> dict[str, int]:
        """Open every port and return them by site id.

        Raises:
            ConfigError: a port is in use; none stays open.
        """
        try:
            for host in self._hosts.values():
                await host.start()
        except ConfigError:
            await self.stop()
            raise
        self._ticker = asyncio.create_task(self._tick())
        return {str(site_id): host.port for site_id, host in self._hosts.items()}

    async def stop(self) -> None:
        """Close every port."""
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticker
        for host in self._hosts.values():
            await host.stop()

    def inverter(self, site_id: SiteId) -> SimulatedInverter:
        """The simulated device of a site.

        Raises:
            BessaiError: no such site.
        """
        return self._host(site_id).inverter

    def port(self, site_id: SiteId) -> int:
        """Port of a site's device; 0 before a free one was found.

        Raises:
            BessaiError: no such site.
        """
        return self._host(site_id).port

    async def set_fault(self, site_id: SiteId, *faults: Fault) -> None:
        """Break one device in these ways and in no other.

        Raises:
            BessaiError: no such site, the profile has no such fault, or the port was taken.
        """
        await self._host(site_id).set_fault(*faults)

    def observe(self, site_id: SiteId, question: Question, since_s: float | None) -> Answer:
        """What one device has seen and done.

        Raises:
            BessaiError: no such site.
        """
        return self._host(site_id).observe(question, since_s)

    def _host(self, site_id: SiteId) -> HostedInverter:
        found = self._hosts.get(site_id)
        if found is None:
            known = ", ".join(sorted(self._hosts))
            raise BessaiError(
                "is not simulated here",
                field="site",
                value=repr(site_id),
                fix=f"use one of {known}",
            )
        return found

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for host in self._hosts.values():
                host.tick()


def _desk(inverter: SimulatedInverter, credentials: Credentials | None) -> LoginDesk | None:
    """Where clients of a family with a login log in, whether or not they must."""
    login = inverter.profile.connection.login
    if login == PROCEDURE:
        return LoginDesk(credentials or DEFAULT_CREDENTIALS, inverter.now)
    if credentials is not None:
        raise ConfigError(
            f"profile {inverter.profile.name} has no login that can be simulated",
            field="credentials",
            fix="leave them out",
        )
    return None
