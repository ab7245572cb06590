"""Free TCP ports on loopback."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from bessai.errors import ConfigError


def free_ports(count: int) -> list[int]:
    """Distinct ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [int(opened.getsockname()[1]) for opened in sockets]


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on ``host:port`` now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_free(host: str, port: int, field: str) -> None:
    """Refuse a port that is taken.

    Raises:
        ConfigError: names the port and the way out.
    """
    if not is_free(host, port):
        raise ConfigError(
            f"port is already in use on {host}",
            field=field,
            value=str(port),
            fix="stop what listens there, or choose another port",
        )
