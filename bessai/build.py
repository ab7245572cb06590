"""Composition root of a site: configuration in, a loop over a real device out."""

from __future__ import annotations

from dataclasses import dataclass

from bessai.config import DeviceProfile, SiteConfig, load_profile
from bessai.config.paths import state_folder
from bessai.config.secret import password_from
from bessai.config.site import LoginConfig, TlsConfig
from bessai.control import Clocks, SiteLoop
from bessai.devices import ModbusInverter
from bessai.devices.budget import Budget
from bessai.devices.logins import Credentials
from bessai.devices.tls import TlsSettings
from bessai.model import MarketClock
from bessai.ports import Uplink


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """All a process needs to run a site.

    Attributes:
        simulated: Its inverter is a simulated one, whose memory does not wear out.
    """

    site: SiteConfig
    clock: MarketClock
    simulated: bool = False

    @property
    def address(self) -> str:
        """``host:port`` of the inverter."""
        return f"{self.site.host}:{self.site.port or self._default_port()}"

    def _default_port(self) -> int:
        return load_profile(self.site.profile).connection.default_port


def build_site(spec: SiteSpec, uplink: Uplink) -> SiteLoop:
    """Wire a site's loop to its inverter; opens nothing yet.

    Raises:
        ConfigError: the profile is unknown or wrong, or a file it needs cannot be used.
    """
    site, profile, clocks = spec.site, load_profile(spec.site.profile), Clocks()
    connection = profile.connection
    device = ModbusInverter(
        site.site_id,
        site.host,
        site.port or connection.default_port,
        connection.default_unit_id if site.unit_id is None else site.unit_id,
        profile,
        now=clocks.now,
        tls=None if site.tls is None else _tls(site.tls),
        credentials=None if site.login is None else _credentials(site.login),
        budget=_budget(spec, profile, clocks),
    )
    return SiteLoop(
        site,
        device,
        uplink,
        spec.clock,
        renew_s=None if profile.dead_man is None else profile.dead_man.renewal_s,
        effect_s=profile.effect.within_s,
        spare_s=profile.write_budget.min_interval_s if profile.power_wears else 0.0,
        limits=site.limits(profile),
        connection=connection,
        clocks=clocks,
    )


def _tls(config: TlsConfig) -> TlsSettings:
    return TlsSettings(config.ca_file, config.certificate_file, config.key_file, config.server_name)


def _credentials(config: LoginConfig) -> Credentials:
    return Credentials(config.user, password_from(config.password_file, "login.password_file"))


def _budget(spec: SiteSpec, profile: DeviceProfile, clocks: Clocks) -> Budget:
    """The count of writes that wear memory out, kept over restarts where there are any."""
    steps = (step for program in profile.programs.values() for step in program.steps)
    wears = any(profile.points[step.point].persistence.budgeted for step in steps)
    path = None
    if wears and not spec.simulated:
        folder = state_folder() / "write-budget"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{spec.site.id}.json"
    own = spec.site.write_budget_per_day
    limits = profile.write_budget
    if own is not None:
        limits = limits.model_copy(update={"per_day": own})
    return Budget(limits, now=clocks.now, path=path)
