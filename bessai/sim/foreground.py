"""One simulated inverter until a signal, saying what happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

from bessai.devices.mbap import ClientId
from bessai.errors import BessaiError
from bessai.model import SiteId
from bessai.sim.control import serve_control
from bessai.sim.faults import Fault
from bessai.sim.observe import Answer, Question
from bessai.sim.server import TICK_S, HostedInverter

Say = Callable[[str], None]


class Watch:
    """Turns what changed since the last look into lines."""

    def __init__(self, host: HostedInverter, say: Say) -> None:
        self._host = host
        self._say = say
        self._clients: frozenset[ClientId] = frozenset()
        self._command = _told(host.inverter.commanded_kw)
        self._faults = str(host.inverter.faults)

    def look(self) -> None:
        """Say who came and left, which command is in force, and which faults are active."""
        clients, connected = self._host.clients, self._host.connected
        for client in sorted(clients - self._clients, key=lambda c: c.number):
            self._say(f"client {client} came")
        for client in sorted((self._clients | clients) - connected, key=lambda c: c.number):
            self._say(f"client {client} left")
        self._clients = connected
        command, faults = _told(self._host.inverter.commanded_kw), str(self._host.inverter.faults)
        if command != self._command:
            self._say(f"command: {command}")
        if faults != self._faults:
            self._say(f"fault: {faults}")
        self._command, self._faults = command, faults


async def run_foreground(
    host: HostedInverter, faults: tuple[Fault, ...], socket_of: Callable[[int], Path], say: Say
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        host: Not started yet.
        faults: Active from the start.
        socket_of: Path of the Unix socket that takes faults, by port.
        say: Gets one line per event, the first one when clients may come.

    Raises:
        BessaiError: the port is in use, or the profile has no such fault.
    """
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await host.start()
    try:
        await host.set_fault(*faults)
        async with contextlib.AsyncExitStack() as control:
            await _take_requests(host, socket_of, say, control)
            say(_ready(host))
            await _until(stop, host, Watch(host, say))
    finally:
        await host.stop()


class _Only:
    """The one device of this process, by whatever name it is asked for."""

    def __init__(self, host: HostedInverter) -> None:
        self._host = host

    async def set_fault(self, _site_id: SiteId, /, *faults: Fault) -> None:
        await self._host.set_fault(*faults)

    def observe(self, _site_id: SiteId, question: Question, since_s: float | None, /) -> Answer:
        return self._host.observe(question, since_s)


async def _take_requests(
    host: HostedInverter,
    socket_of: Callable[[int], Path],
    say: Say,
    control: contextlib.AsyncExitStack,
) -> None:
    try:
        path = socket_of(host.port)
        served = await serve_control(path, _Only(host))
    except BessaiError as error:
        say(f"no faults while it runs: {error}")
        return
    control.callback(path.unlink, missing_ok=True)
    control.callback(served.close)


async def _until(stop: asyncio.Event, host: HostedInverter, watch: Watch) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), TICK_S)
        watch.look()
        host.tick()


def _ready(host: HostedInverter) -> str:
    device = host.inverter
    faults = f", faults {device.faults}" if list(device.faults) else ""
    return (
        f"listening on {host.host}:{host.port}, unit {host.unit_id}, profile "
        f"{device.profile.name}{faults}; end it with Ctrl-C"
    )


def _told(commanded_kw: float | None) -> str:
    if commanded_kw is None:
        return "none, the device follows its own mode"
    if commanded_kw == 0:
        return "hold at 0 kW"
    return f"{'discharge' if commanded_kw > 0 else 'charge'} {abs(commanded_kw):g} kW"
