"""What one local run consists of, written once and read by the keeper and the deployer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict

from actors.local.ports import free_ports
from actors.local.rundir import RunDir
from bessai.config import FleetConfig, SiteConfig
from bessai.model import MarketClock
from bessai.sim.spec import ClockSpec, InverterSpec, SimSpec

START_UP_S = 17.0
START_UP_PER_SITE_S = 0.7


class RayPorts(BaseModel):
    """Every port that a head node would otherwise choose by itself or share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gcs: int
    client: int
    dashboard: int
    agent_http: int
    agent_grpc: int
    runtime_env: int
    metrics_export: int
    metrics_autoscaler: int
    metrics_dashboard: int

    @classmethod
    def choose(cls) -> RayPorts:
        """Free ports for a new head node."""
        names = list(cls.model_fields)
        return cls(**dict(zip(names, free_ports(len(names)), strict=True)))


class RunPlan(BaseModel):
    """A run of one fleet on a Ray of its own.

    Attributes:
        tied: The run ends with the command that started it.
        api_port: Where the page listens; differs from the fleet file when that says 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fleet: FleetConfig
    tied: bool
    market_start: AwareDatetime
    wall_start: AwareDatetime
    speed: float
    store_url: str
    api_port: int
    ports: RayPorts
    initial_soc_pct: dict[str, float] = {}

    @property
    def clock(self) -> MarketClock:
        """Market time of the run."""
        return MarketClock(self.market_start, self.wall_start, self.speed)

    @property
    def ray_address(self) -> str:
        """Where the head node's GCS listens."""
        return f"127.0.0.1:{self.ports.gcs}"

    @property
    def dashboard_url(self) -> str:
        """The Ray dashboard."""
        return f"http://127.0.0.1:{self.ports.dashboard}"

    @property
    def page_url(self) -> str:
        """The page and the API."""
        host = self.fleet.api.host
        shown = "127.0.0.1" if host in ("0.0.0.0", "::", "localhost") else host  # noqa: S104
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.api_port}"

    def with_simulated_ports(self, run: RunDir) -> FleetConfig:
        """The fleet as it is reached: where the simulated inverters listen, and the API's port."""
        api = self.fleet.api.model_copy(update={"port": self.api_port})
        fleet = self.fleet.model_copy(update={"api": api})
        if fleet.simulation is None:
            return fleet
        ports: dict[str, int] = json.loads(run.sim_ready.read_text(encoding="utf-8"))
        sites = tuple(s.model_copy(update={"port": ports[s.id]}) for s in fleet.sites)
        return fleet.model_copy(update={"sites": sites})

    def sim_spec(self, ports: Mapping[str, int] | None = None) -> SimSpec:
        """The inverters that the simulator hosts for this fleet, on these ports where given."""
        known = ports or {}
        inverters = tuple(
            _simulated(
                site, known.get(site.id, site.port or 0), self.initial_soc_pct.get(site.id, 50.0)
            )
            for site in self.fleet.sites
        )
        return SimSpec(clock=ClockSpec.from_clock(self.clock), inverters=inverters)

    def save(self, path: Path) -> None:
        """Write the plan, readable by its owner only."""
        path.touch(mode=0o600)
        path.write_text(self.model_dump_json(indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> RunPlan:
        """Read a plan."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))


def clock_of(fleet: FleetConfig, wall_now: datetime) -> MarketClock:
    """Market time: wall time, or a replay that reaches its start about when the sites run."""
    if fleet.simulation is None:
        return MarketClock(wall_now, wall_now, 1.0)
    starting = timedelta(seconds=START_UP_S + START_UP_PER_SITE_S * len(fleet.sites))
    return MarketClock(fleet.simulation.start_at, wall_now + starting, fleet.simulation.speed)


def _simulated(site: SiteConfig, port: int, soc_pct: float) -> InverterSpec:
    battery = site.battery
    return InverterSpec(
        site_id=site.id,
        port=port,
        unit_id=site.unit_id,
        profile=site.profile,
        capacity_kwh=battery.capacity_kwh or 2.0 * battery.max_discharge_kw,
        max_charge_kw=battery.max_charge_kw,
        max_discharge_kw=battery.max_discharge_kw,
        soc_pct=soc_pct,
        round_trip_efficiency_pct=battery.round_trip_efficiency_pct,
    )
