"""Snapshots, sites and a whole orchestrator with hand-moved clocks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from bessai.config import BatteryConfig, FleetConfig, MarketConfig, SiteConfig
from bessai.fleet.orchestrator import Orchestrator
from bessai.model import (
    AutonomyLevel,
    Bounds,
    CauseId,
    Counters,
    DurationHistogram,
    FleetReply,
    Narrowing,
    Setpoint,
    SiteId,
    SiteReading,
    SiteSnapshot,
    SiteState,
)
from tests.support.fleet_fakes import (
    T0,
    FakeDispatch,
    FakeForecast,
    FakePrices,
    HandMarketClock,
    HandTime,
    MemoryOrders,
    MemoryStore,
    hand_market_clock,
)

WALL = datetime(2026, 1, 1, tzinfo=UTC)


def site_config(site_id: str = "a", capacity_kwh: float | None = 100.0) -> SiteConfig:
    battery = BatteryConfig(
        capacity_kwh=capacity_kwh,
        max_charge_kw=50.0,
        max_discharge_kw=50.0,
        soc_min_pct=10.0,
        soc_max_pct=90.0,
        round_trip_efficiency_pct=81.0,
    )
    return SiteConfig(id=site_id, host="127.0.0.1", port=1502, battery=battery)


def fleet_config(*site_ids: str, publication_delay_h: float = 1.0) -> FleetConfig:
    return FleetConfig(
        id="test-fleet",
        market=MarketConfig(publication_delay_h=publication_delay_h),
        sites=tuple(site_config(s) for s in site_ids or ("a",)),
    )


def reading(
    soc_pct: float | None = 50.0,
    power_kw: float | None = 10.0,
    exported_wh: int | None = None,
    imported_wh: int | None = 0,
) -> SiteReading:
    return SiteReading(
        age_s=0.1,
        soc_pct=soc_pct,
        capacity_kwh=80.0,
        active_power_kw=power_kw,
        grid_power_kw=power_kw,
        temperature_c=25.0,
        exported_wh=exported_wh,
        imported_wh=imported_wh,
        battery_status="running",
        alarms=("warm",),
    )


COUNTERS = Counters(
    cycles=7,
    overruns=1,
    read_failures=2,
    reconnects=1,
    writes={"renew": 3},
    write_failures=0,
    verify_failures=0,
    stored_writes=0,
    safety_blocks={"soc_low": 4},
    cycle_duration=DurationHistogram(upper_s=(0.1, 0.5), counts=(5, 6), total=7, sum_s=1.25),
)


def snapshot(
    site_id: str = "a",
    sequence: int = 1,
    market_at: datetime = T0,
    numbers: SiteReading | None = None,
    state: SiteState = SiteState.RUNNING,
) -> SiteSnapshot:
    return SiteSnapshot(
        site_id=SiteId(site_id),
        sequence=sequence,
        reported_at=WALL + timedelta(seconds=sequence),
        market_at=market_at,
        state=state,
        autonomy=AutonomyLevel.FLEET,
        reading=numbers,
        setpoint=Setpoint(
            power_kw=10.0, source="dispatch", reason="by plan", cause_id=CauseId("c")
        ),
        envelope=Bounds(-50.0, 40.0),
        narrowings=(Narrowing("soc_high", "SoC is high", Bounds(-50.0, 40.0)),),
        error=None,
        schedule_age_s=0.0,
        counters=COUNTERS,
        pid=11,
    )


@dataclass
class Rig:
    """An orchestrator with everything that the test can move."""

    site_ids: tuple[str, ...] = ("a",)
    prices: FakePrices = field(default_factory=lambda: FakePrices([40.0] * 24 * 30))
    store: MemoryStore = field(default_factory=MemoryStore)
    orders: MemoryOrders = field(default_factory=MemoryOrders)
    forecast: FakeForecast = field(default_factory=FakeForecast)
    dispatch: FakeDispatch = field(default_factory=FakeDispatch)
    time: HandTime = field(default_factory=HandTime)
    speed: float = 1.0
    publication_delay_h: float = 1.0
    sequence: int = 0

    def __post_init__(self) -> None:
        self.clock: HandMarketClock = hand_market_clock(T0, self.speed)
        self.fleet = Orchestrator(
            fleet_config(*self.site_ids, publication_delay_h=self.publication_delay_h),
            self.clock,
            self.prices,
            self.prices.past,
            self.forecast,
            self.dispatch,
            self.store,
            self.orders,
            now=self.time,
        )

    def pass_s(self, real_s: float, market: timedelta | None = None) -> None:
        self.time.at += real_s
        step = timedelta(seconds=real_s * self.speed) if market is None else market
        self.clock.hand[0] += step

    def report(self, numbers: SiteReading | None, site_id: str = "a") -> FleetReply:
        self.sequence += 1
        report = snapshot(site_id, self.sequence, self.clock.now(), numbers)
        return self.fleet.report([report])[0]


def with_pid(report: SiteSnapshot, pid: int) -> SiteSnapshot:
    return replace(report, pid=pid)
