"""Composition root of a site: configuration in, a loop over a real device out."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bessai.config import DeviceProfile, SiteConfig, load_profile
from bessai.config.load import registry_root
from bessai.config.paths import state_folder
from bessai.config.secret import password_from
from bessai.config.site import LoginConfig, TlsConfig
from bessai.control import Clocks, SiteLoop
from bessai.control.guards import SiteGuards
from bessai.control.intruders import IntrusionGuard
from bessai.control.ledger import ForeignPolicy
from bessai.control.logbook import Logbook, LogLimits, decision_file
from bessai.control.owner_lock import OwnerLock
from bessai.control.ownership import QUIET_S, OwnershipRules
from bessai.control.permit import GAP_CYCLES, Permit
from bessai.control.stop_file import StopFile
from bessai.control.watchdog import Watchdog
from bessai.control.whoami import this_process
from bessai.devices import ModbusInverter
from bessai.devices.budget import Budget
from bessai.devices.logins import Credentials
from bessai.devices.tls import TlsSettings
from bessai.errors import ConfigError, ModelError
from bessai.intrusion import SiteWatch, load_model
from bessai.model import MarketClock
from bessai.modelstore.store import ModelStore
from bessai.plugins import load_plugin
from bessai.ports import Authority, LocalPolicy, Uplink

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """All a process needs to run a site.

    Attributes:
        simulated: Its inverter is a simulated one, whose memory does not wear out.
        memory: Folder on the site's machine for what must survive its process: stops, decisions.
            None takes the user's state folder.
    """

    site: SiteConfig
    clock: MarketClock
    simulated: bool = False
    memory: Path | None = None

    @property
    def address(self) -> str:
        """``host:port`` of the inverter."""
        return f"{self.site.host}:{self.site.port or self._default_port()}"

    def _default_port(self) -> int:
        return load_profile(self.site.profile).connection.default_port


def build_site(
    spec: SiteSpec,
    uplink: Uplink,
    authority: Authority,
    end: Callable[[str], None],
    *,
    profile: DeviceProfile | None = None,
) -> SiteLoop:
    """Wire a site's loop to its inverter; opens nothing yet.

    Args:
        spec: What to run.
        uplink: Its way to the fleet.
        authority: Who hands out epochs.
        end: Ends this process where the loop stands still; called from a thread, with the cause.
        profile: In place of the one that the site names.

    Raises:
        ConfigError: the profile is unknown or wrong, or a file or folder it needs cannot be used.
    """
    site, clocks = spec.site, Clocks()
    profile = profile or load_profile(site.profile)
    connection = profile.connection
    guards = _guards(spec, profile, authority, end, clocks)
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
        may_write=guards.permit.check,
    )
    return SiteLoop(
        site,
        device,
        uplink,
        spec.clock,
        renew_s=None if profile.dead_man is None else profile.dead_man.renewal_s,
        effect_s=profile.effect.within_s,
        spare_s=profile.write_budget.min_interval_s if profile.power_wears else 0.0,
        ownership=_ownership(profile),
        foreign=ForeignPolicy(site.foreign_writes),
        local=None if site.local_policy is None else _local(site.local_policy),
        guards=guards,
        limits=site.limits(profile),
        connection=connection,
        clocks=clocks,
    )


def _guards(
    spec: SiteSpec,
    profile: DeviceProfile,
    authority: Authority,
    end: Callable[[str], None],
    clocks: Clocks,
) -> SiteGuards:
    owner = this_process()
    return SiteGuards(
        owner=owner,
        authority=authority,
        lock=OwnerLock(_folder("owners") / f"{_file_name(spec)}.lock", owner),
        permit=Permit(clocks.now, GAP_CYCLES * spec.site.cycle_s),
        stops=StopFile(memory_of(spec) / f"{spec.site.id}.stops.json"),
        watchdog=Watchdog(end),
        log=_logbook(spec),
        intruders=_intruders(spec, profile),
    )


def _intruders(spec: SiteSpec, profile: DeviceProfile) -> IntrusionGuard:
    """The site's watch; without its model it still knows commands that are not ours."""
    policy = spec.site.intrusion
    if policy == "off":
        return IntrusionGuard()
    model, degraded = None, None
    try:
        model = load_model(ModelStore(registry_root() / "models"))
    except ModelError as error:
        degraded = f"no intrusion model: {error}"
        log.warning("%s", degraded, extra={"site_id": spec.site.id})
    watch = SiteWatch(
        spec.site.limits(profile),
        model=model,
        effect_s=profile.effect.within_s,
        speed=spec.clock.speed,
    )
    return IntrusionGuard(watch, policy, degraded)


def _logbook(spec: SiteSpec) -> Logbook:
    limits = LogLimits(max_bytes=spec.site.decisions_mb * 1024 * 1024)
    path = decision_file(memory_of(spec), spec.site.id)
    return Logbook(path, spec.site.model_dump_json(), limits=limits)


def memory_of(spec: SiteSpec) -> Path:
    """The folder of what must survive the site's process; made where it is missing.

    Raises:
        ConfigError: it cannot be made.
    """
    if spec.memory is None:
        return _folder("sites")
    return _made(spec.memory)


def _folder(name: str) -> Path:
    return _made(state_folder() / name)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the folder cannot be made ({error})",
            field=str(folder),
            fix="set BESSAI_STATE_DIR to a folder that this user may write",
        ) from None
    return folder


def _file_name(spec: SiteSpec) -> str:
    """One name per device, whatever fleet or site it is part of."""
    unit = "" if spec.site.unit_id is None else f"_{spec.site.unit_id}"
    return re.sub(r"[^A-Za-z0-9.-]", "_", spec.address) + unit


def _ownership(profile: DeviceProfile) -> OwnershipRules:
    dead_man = profile.dead_man
    return OwnershipRules(
        quiet_s=QUIET_S if dead_man is None else dead_man.period_s,
        ends_by_itself=dead_man is not None,
        tells_command=profile.command_readable,
    )


def _local(name: str) -> LocalPolicy:
    build = load_plugin("bessai.policies.local", name, "build", field="local_policy")
    return cast("LocalPolicy", build())


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
        path = _folder("write-budget") / f"{spec.site.id}.json"
    own = spec.site.write_budget_per_day
    limits = profile.write_budget
    if own is not None:
        limits = limits.model_copy(update={"per_day": own})
    return Budget(limits, now=clocks.now, path=path)
