"""Simulated inverters as real Modbus TCP servers, each with a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final, cast

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from bessai.config.load import load_profile
from bessai.errors import BessaiError, ConfigError
from bessai.model import SiteId
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.spec import Fault, SimSpec
from bessai.units import MonotonicS

LOOPBACK: Final = "127.0.0.1"
_TICK_S: Final = 0.1


def control_time() -> MonotonicS:
    """Real seconds of this host's monotonic clock."""
    return MonotonicS(time.monotonic())


class HostedInverter:
    """A Modbus TCP server in front of one simulated inverter.

    Like the real device it serves one client: a new connection closes the old one
    (wlcrs/huawei_solar#13).
    """

    def __init__(self, inverter: SimulatedInverter, port: int = 0, *, host: str = LOOPBACK) -> None:
        self.inverter = inverter
        self.port = port
        self._host = host
        self._server: ModbusTcpServer | None = None
        self._hang_over = asyncio.Event()

    async def start(self) -> None:
        """Listen; a second call does nothing. Port 0 becomes a free one and stays it.

        Raises:
            ConfigError: the port is in use.
        """
        if self._server is not None:
            return
        server = ModbusTcpServer(
            self._device(),
            address=(self._host, self.port),
            trace_connect=self._keep_newest,
        )
        if not await server.listen():
            raise ConfigError(
                f"cannot listen on {self._host}",
                field=f"{self.inverter.spec.site_id}: port",
                value=str(self.port),
                fix="end the program that uses it, or set 0 for a free port",
            )
        self._server = server
        listener = cast("asyncio.Server", cast("object", server.transport))
        self.port = int(listener.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Close the listener and every connection."""
        self._hang_over.set()
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def set_fault(self, fault: Fault) -> None:
        """Break or heal the device; it keeps its port.

        Raises:
            ConfigError: somebody took the port while the device was dead.
        """
        hung = self.inverter.fault is Fault.HANG
        self.inverter.fault = fault
        if fault is Fault.DEAD or hung:
            self.stop()
        if fault is Fault.HANG:
            self._hang_over = asyncio.Event()
        if fault is not Fault.DEAD:
            await self.start()

    def _device(self) -> SimDevice:
        image = [
            SimData(address, count=count, values=0, datatype=DataType.REGISTERS)
            for address, count in self.inverter.bank.spans
        ]
        return SimDevice(self.inverter.spec.unit_id, image, action=self._action)

    def _keep_newest(self, opened: bool) -> None:
        if self._server is not None and opened:
            for old in list(self._server.active_connections.values())[:-1]:
                old.close()

    async def _action(
        self,
        _function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        if self.inverter.fault is Fault.HANG:
            await self._hang_over.wait()
            return ExcCodes.DEVICE_FAILURE
        if self.inverter.fault is Fault.BUSY:
            return ExcCodes.DEVICE_BUSY
        if values is not None:
            code = self.inverter.write(address, [int(value) for value in values])
            return None if code is None else ExcCodes(code)
        words = self.inverter.read(address, count)
        if words is None:
            return self._drop_clients()
        registers[address - start : address - start + count] = words
        return None

    def _drop_clients(self) -> ExcCodes:
        server = self._server
        for client in list(server.active_connections.values()) if server is not None else []:
            client.close()
        return ExcCodes.GATEWAY_NO_RESPONSE


class SimulatorServer:
    """All inverters of a spec, and the clock tick that keeps their batteries moving.

    Args:
        spec: What to simulate.
        now: Control time.
        minute_s: Real length of one minute of the devices' forced period.

    Raises:
        ConfigError: an unknown profile, or one that lacks what the simulator shows.
    """

    def __init__(
        self,
        spec: SimSpec,
        *,
        now: Callable[[], MonotonicS] = control_time,
        minute_s: float = 60.0,
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
            host.stop()

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

    async def set_fault(self, site_id: SiteId, fault: Fault) -> None:
        """Break or heal one device.

        Raises:
            BessaiError: no such site, or its port was taken meanwhile.
        """
        await self._host(site_id).set_fault(fault)

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
            await asyncio.sleep(_TICK_S)
            for host in self._hosts.values():
                host.inverter.advance()
