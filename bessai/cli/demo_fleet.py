"""The fleet of ``bessai demo``: home and farm batteries around Crucero, in the Atacama."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bessai.config import ApiConfig, BatteryConfig, FleetConfig, SimulationConfig, SiteConfig

DEFAULT_START: Final = datetime(2024, 5, 21, 17, tzinfo=UTC)
"""13:00 at Crucero: hours at 0 USD/MWh to charge in, then an evening peak of 209 USD/MWh."""

MAX_SITES: Final = 40

_TOWNS: Final = (
    "calama",
    "tocopilla",
    "maria-elena",
    "antofagasta",
    "mejillones",
    "san-pedro",
    "iquique",
    "pozo-almonte",
    "taltal",
    "arica",
)


@dataclass(frozen=True, slots=True)
class _Size:
    capacity_kwh: float
    power_kw: float
    soc_pct: float


_SIZES: Final = (
    _Size(15.0, 5.0, 50.0),
    _Size(30.0, 10.0, 35.0),
    _Size(10.0, 5.0, 60.0),
    _Size(20.0, 5.0, 45.0),
    _Size(30.0, 7.5, 25.0),
    _Size(15.0, 7.5, 70.0),
)


@dataclass(frozen=True, slots=True)
class DemoFleet:
    """The fleet and the charge its batteries start with."""

    config: FleetConfig
    initial_soc_pct: dict[str, float]


def demo_fleet(n_sites: int, start: datetime, speed: float, port: int) -> DemoFleet:
    """Simulated sites of a few sizes; the same arguments give the same fleet."""
    sizes = [_SIZES[i % len(_SIZES)] for i in range(n_sites)]
    sites = tuple(_site(i, size) for i, size in enumerate(sizes))
    config = FleetConfig(
        id="demo",
        api=ApiConfig(port=port),
        simulation=SimulationConfig(start=start, speed=speed),
        sites=sites,
    )
    soc = {site.id: size.soc_pct for site, size in zip(sites, sizes, strict=True)}
    return DemoFleet(config, soc)


def _site(index: int, size: _Size) -> SiteConfig:
    round_no, town = divmod(index, len(_TOWNS))
    battery = BatteryConfig(
        capacity_kwh=size.capacity_kwh,
        max_charge_kw=size.power_kw,
        max_discharge_kw=size.power_kw,
    )
    suffix = f"-{round_no + 1}" if round_no else ""
    return SiteConfig(id=f"{_TOWNS[town]}{suffix}", host="127.0.0.1", battery=battery)
