"""Who may come in: a server that lets other machines write must know whom it lets in."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from bessai.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Door:
    """Where guests come in, and who may.

    Attributes:
        port: 0 for a free one.
        allow_from: Networks of guests, this host's own always among them; empty lets in only
            this host, so it must not be empty where ``host`` is no loopback address.
    """

    host: str = "127.0.0.1"
    port: int = 0
    allow_from: tuple[Network, ...] = ()

    def check(self) -> None:
        """Refuse to let in everybody.

        Raises:
            ConfigError: other machines could connect, and none is named.
        """
        if self.allow_from or _is_loopback(self.host):
            return
        raise ConfigError(
            "lets other machines in, and Modbus has no password",
            field="--listen",
            value=self.host,
            fix="use 127.0.0.1, or name the guests, e.g. --allow-from 192.168.1.0/24",
        )

    def admits(self, host: str) -> bool:
        """Whether a guest from this address may come in."""
        try:
            address = _plain_address(host)
        except ValueError:
            return False
        return address.is_loopback or any(address in network for network in self.allow_from)


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks of guests.

    Raises:
        ConfigError: one of them is none.
    """
    return tuple(_network(text) for text in texts)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(
            "is no network",
            field="--allow-from",
            value=repr(text),
            fix="write e.g. 192.168.1.0/24 or 192.168.1.7",
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or _plain_address(host).is_loopback
    except ValueError:
        return False


def _plain_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address, as IPv4 where IPv6 only carries one."""
    address = ipaddress.ip_address(host.split("%", 1)[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
