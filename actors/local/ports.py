"""Free TCP ports on loopback."""

from __future__ import annotations

import errno
import random
import socket

from actors.local import rundir
from bessai.errors import BessaiError, ConfigError

# Above Ray's own worker ports, below those of Serve (30000) and those that Linux hands out by
# itself (32768): the dozens of processes that start meanwhile must not take a chosen port.
QUIET_PORTS = range(20_000, 30_000)


def free_ports(count: int) -> list[int]:
    """Distinct ports that nobody listens on now.

    Raises:
        BessaiError: there are not so many.
    """
    found: list[int] = []
    for port in random.sample(QUIET_PORTS, len(QUIET_PORTS)):
        if len(found) == count:
            break
        if why_not_free("127.0.0.1", port) is None:
            found.append(port)
    if len(found) < count:
        raise BessaiError("not enough free ports", field="127.0.0.1", value=str(len(found)))
    return found


def why_not_free(host: str, port: int) -> OSError | None:
    """Why a server could not listen on ``host:port`` now; None where it could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def claim_port(host: str, port: int, field: str) -> tuple[int, list[int]]:
    """Take a port for a fleet's API; returns it and the locks that hold it.

    Locks, because Serve opens its port half a minute later and then shares it silently with
    another fleet of the same user (``SO_REUSEPORT``): each page would show both.

    Args:
        host: Address or name of an interface of this machine.
        port: The TCP port; 0 takes a free one, which nobody else would choose.
        field: What the user wrote the port in, e.g. ``api.port``; ``api.host`` is its neighbour.

    Raises:
        ConfigError: no server can listen there; names the host or the port, and the way out.
    """
    chosen = port or free_ports(1)[0]
    if error := why_not_free(host, chosen):
        raise _refusal(error, host, chosen, field)
    if port == 0:
        return chosen, []
    lock = rundir.lock_file(rundir.port_lock(port))
    if lock is None:
        raise _refusal(OSError(errno.EADDRINUSE, ""), host, port, field)
    return port, [lock]


def _refusal(error: OSError, host: str, port: int, field: str) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        problem, fix = "port is already in use", "stop what listens there, or choose another port"
    elif error.errno == errno.EACCES:
        problem, fix = "port needs rights that this user lacks", "choose a port above 1023"
    else:
        return ConfigError(
            f"is not an address of this machine ({error.strerror})",
            field=field.replace("port", "host"),
            value=host,
            fix="use 127.0.0.1, or an address that this machine has",
        )
    return ConfigError(f"{problem} on {host}", field=field, value=str(port), fix=fix)
