"""Composition root of a site: configuration in, a loop over a real device out."""

from __future__ import annotations

from dataclasses import dataclass

from bessai.config import SiteConfig, load_profile
from bessai.control import Clocks, SiteLoop
from bessai.devices import ModbusInverter
from bessai.model import MarketClock
from bessai.ports import Uplink


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """All a process needs to run a site."""

    site: SiteConfig
    clock: MarketClock

    @property
    def address(self) -> str:
        """``host:port`` of the inverter."""
        return f"{self.site.host}:{self.site.port or self._default_port()}"

    def _default_port(self) -> int:
        return load_profile(self.site.profile).connection.default_port


def build_site(spec: SiteSpec, uplink: Uplink) -> SiteLoop:
    """Wire a site's loop to its inverter; opens nothing yet.

    Raises:
        ConfigError: the profile is unknown or wrong.
    """
    site, profile, clocks = spec.site, load_profile(spec.site.profile), Clocks()
    device = ModbusInverter(
        site.site_id,
        site.host,
        site.port or profile.connection.default_port,
        profile.connection.default_unit_id if site.unit_id is None else site.unit_id,
        profile,
        now=clocks.now,
    )
    return SiteLoop(
        site,
        device,
        uplink,
        spec.clock,
        dead_man_s=None if profile.dead_man is None else float(profile.dead_man.period_s),
        effect_s=profile.effect.within_s,
        connection=profile.connection,
        clocks=clocks,
    )
