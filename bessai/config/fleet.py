"""The fleet file: sites, market, API and, for demos, the simulation."""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address
from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from bessai.config.base import ConfigModel
from bessai.config.site import SITE_ID_PATTERN, SiteConfig


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class MarketConfig(ConfigModel):
    """Which market's prices the fleet trades on.

    ``node`` left out takes the source's own. ``path`` names a file for sources that read one,
    relative to the fleet file; the bundled Chilean data needs none.
    ``publication_delay_h`` is how long after the end of a step its price is known.
    """

    source: str = "chile_cen"
    node: str | None = None
    path: str | None = None
    publication_delay_h: float = Field(default=1.0, ge=0, le=72)


class ApiConfig(ConfigModel):
    """Where the HTTP API and the page listen; beyond loopback a key is required."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)


class SimulationConfig(ConfigModel):
    """Replay of a past period; without this section the fleet runs in real time."""

    start: AwareDatetime
    speed: float = Field(default=600.0, ge=1, le=3600)

    @property
    def start_at(self) -> datetime:
        """Market time at which the replay begins."""
        return self.start


class FleetConfig(ConfigModel):
    """A whole fleet."""

    id: str = Field(default="fleet", pattern=SITE_ID_PATTERN)
    market: MarketConfig = MarketConfig()
    api: ApiConfig = ApiConfig()
    simulation: SimulationConfig | None = None
    sites: tuple[SiteConfig, ...] = Field(min_length=1)

    @property
    def stop_deadline_s(self) -> float:
        """Real seconds all sites may take to give their inverters back; they do it at once."""
        return max(site.stop_deadline_s for site in self.sites)

    @model_validator(mode="after")
    def _check(self) -> Self:
        seen: dict[str, int] = {}
        for index, site in enumerate(self.sites):
            if site.id in seen:
                raise ValueError(
                    f"sites[{index}].id: {site.id!r} is already used by sites[{seen[site.id]}]; "
                    "give each site its own id"
                )
            seen[site.id] = index
            if self.simulation is not None and not is_loopback(site.host):
                raise ValueError(
                    f"sites[{index}].host: {site.host!r} is not this machine, and a simulation "
                    "never touches a real inverter; use 127.0.0.1, or remove simulation"
                )
        return self
