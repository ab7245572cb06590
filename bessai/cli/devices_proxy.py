"""``bessai devices proxy``: other programs share the one connection that a device allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.text import Text

from bessai.cli.devices_target import Target, end_of_command, wait_for_end
from bessai.devices.door import Door
from bessai.devices.mbap import ClientId
from bessai.devices.proxy import Counts, Proxy
from bessai.errors import ConfigError

_LOOK_S: Final = 0.2
Say = Callable[[str], None]


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IPV6]:PORT``; port 0 takes a free one.

    Raises:
        ConfigError: it is neither.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(
            "is no address to listen on",
            field="--listen",
            value=repr(text),
            fix="write e.g. 127.0.0.1:5020",
        )
    return host, int(port)


def run_proxy(target: Target, door: Door, console: Console, *, allow_writes: bool) -> None:
    """Serve guests until a signal.

    Raises:
        ConfigError: the door lets in everybody, or its port is taken.
    """

    def say(line: str) -> None:
        now = f"{datetime.now().astimezone():%H:%M:%S}"
        console.print(Text(f"{now} {line}"), soft_wrap=True)

    proxy = Proxy(
        target.connection(),
        target.profile.connection,
        door,
        allow_writes=allow_writes,
        tell=say,
    )
    mode = "guests may write" if allow_writes else "read-only"
    asyncio.run(_serve(proxy, f"{target.address}, {mode}", door, say))


async def _serve(proxy: Proxy, what: str, door: Door, say: Say) -> None:
    with end_of_command() as stop:
        port = await proxy.start()
        try:
            host = f"[{door.host}]" if ":" in door.host else door.host
            say(f"listening on {host}:{port} for {what}; end it with Ctrl-C")
            guests: frozenset[ClientId] = frozenset()
            while not await wait_for_end(stop, _LOOK_S):
                guests = _look(proxy, guests, say)
        finally:
            await proxy.stop()
    say("ended")


def _look(proxy: Proxy, known: frozenset[ClientId], say: Say) -> frozenset[ClientId]:
    """Say who came and left since the last look."""
    present = proxy.guests
    for guest in sorted(present - known, key=lambda g: g.number):
        say(f"guest {guest} came, {len(present)} now")
    for guest in sorted((known | proxy.seen) - present, key=lambda g: g.number):
        say(f"guest {guest} left after {_told(proxy.counts(guest))}, {len(present)} now")
        proxy.forget(guest)
    return present


def _told(counts: Counts) -> str:
    parts = [f"{counts.requests} requests"]
    if counts.refused:
        parts.append(f"{counts.refused} refused")
    if counts.unanswered:
        parts.append(f"{counts.unanswered} unanswered")
    return ", ".join(parts)
