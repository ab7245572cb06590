"""A fleet that moves like a real one, for tests of the API and the page."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from actors.errors import FleetUnavailable
from bessai.errors import StoreError
from bessai.fleet.views import (
    BoundsView,
    ClockView,
    CountersView,
    EarningsView,
    FleetView,
    FlexibilityView,
    HealthCheckView,
    HealthView,
    HistoryPointView,
    HistoryView,
    LiveView,
    NarrowingView,
    PriceView,
    SchedulesView,
    ScheduleView,
    SitesView,
    SiteView,
    StatusView,
    StopOrdersView,
    StopOrderView,
    StopRequest,
    StopView,
    VersionView,
)
from bessai.model import AutonomyLevel, SiteState, Tenure
from tests.support.web_fake_market import (
    HOUR,
    chile_price,
    plan_kw,
    price_view,
    schedule_view,
    soc_pct,
)

MARKET_START = datetime(2023, 11, 20, 14, 20, tzinfo=UTC)
UNREACHABLE = "site-4"
HOLDING = "site-5"
SITE_IDS = tuple(f"site-{n}" for n in range(1, 7))


@dataclass
class FakeFleet:
    """A :class:`FleetGateway` over formulas; ``available`` and ``crash`` make it fail.

    Attributes:
        live_calls: How often the whole fleet was asked for.
        orders: Every stop and release that was taken.
        obey_s: Seconds until a site obeys.
        store_broken: Whether orders cannot be stored.
        reads_only: Sites whose process may not write.
        levels: Autonomy level of a site with its cause, where it is not the usual one.
    """

    speed: float = 600.0
    available: bool = True
    crash: bool = False
    health_status: str = "ok"
    live_calls: int = 0
    plan_error: str | None = None
    clock_s: Callable[[], float] = time.monotonic
    site_text: str | None = None
    orders: list[StopOrderView] = field(default_factory=list)
    obey_s: float = 0.0
    store_broken: bool = False
    reads_only: set[str] = field(default_factory=set)
    levels: dict[str, tuple[AutonomyLevel, str]] = field(default_factory=dict)
    started_s: float = field(default_factory=time.monotonic)

    @property
    def market_now(self) -> datetime:
        """Market time of the replay."""
        return MARKET_START + timedelta(seconds=(self.clock_s() - self.started_s) * self.speed)

    def _answer(self) -> None:
        if self.crash:
            raise RuntimeError("a defect, not a fleet error")
        if not self.available:
            raise FleetUnavailable("no fleet answers", fix="start one: bessai up fleet.yaml")

    def recover(self) -> None:
        """Undo what a test made this fleet do."""
        self.available, self.crash, self.health_status = True, False, "ok"
        self.plan_error, self.site_text = None, None
        self.orders.clear()
        self.obey_s, self.store_broken = 0.0, False
        self.reads_only.clear()
        self.levels.clear()

    def _clock(self) -> ClockView:
        return ClockView(market_now=self.market_now, speed=self.speed, simulated=self.speed != 1)

    def _site(self, index: int) -> SiteView:
        site_id, now = SITE_IDS[index], self.market_now
        state = {UNREACHABLE: SiteState.UNREACHABLE, HOLDING: SiteState.HOLDING}.get(
            site_id, SiteState.RUNNING
        )
        stop, reads_only = self._stop(site_id), site_id in self.reads_only
        level, cause = self._level(site_id, state, stop)
        if level is AutonomyLevel.SAFE_STOP:
            state = SiteState.HOLDING
        fresh = state is not SiteState.UNREACHABLE
        max_kw = 50.0 + 25.0 * (index % 3)
        wanted = plan_kw(now, max_kw) if state is SiteState.RUNNING else 0.0
        noise = 0.4 * math.sin(now.timestamp() / 700 + index)
        power = round(wanted + (noise if wanted else 0.0), 2)
        return SiteView(
            site_id=site_id,
            profile="huawei_sun2000",
            address=f"127.0.0.1:{15020 + index}",
            state=state,
            autonomy=level,
            autonomy_cause=cause,
            autonomy_since=datetime.now(UTC) - timedelta(minutes=7),
            stop=stop,
            epoch=3,
            tenure=Tenure.PROBATION if reads_only else Tenure.OWNER,
            tenure_reason="the process before may still write, for 80 s" if reads_only else None,
            intrusion_score=0.12 if fresh else None,
            intrusion=[],
            error=None if fresh else "127.0.0.1:15023: no answer within 2.0 s; retrying",
            soc_pct=soc_pct(now, index) if fresh else None,
            capacity_kwh=4 * max_kw if fresh else None,
            active_power_kw=power if fresh else None,
            grid_power_kw=round(power - 3.2, 2) if fresh else None,
            temperature_c=round(24.5 + index / 2 + noise, 1) if fresh else None,
            battery_status="running" if fresh else None,
            alarms=[],
            setpoint_kw=wanted if fresh else None,
            setpoint_source=self._source(state),
            setpoint_reason=cause
            if level is AutonomyLevel.SAFE_STOP
            else self._reason(state, wanted),
            cause_id=f"plan-{self.plan_version}" if state is SiteState.RUNNING else None,
            bounds=BoundsView(lower_kw=-max_kw, upper_kw=0.6 * max_kw) if fresh else None,
            narrowings=self._narrowings(max_kw) if fresh and index == 0 else [],
            reading_age_s=0.4 if fresh else None,
            reported_age_s=0.6,
            schedule_age_s=now.minute * 60.0 if fresh else None,
            earnings=self._earnings(0.0 if not fresh else 1.0 + index),
            counters=_counters(self.live_calls),
            pid=4000 + index,
        )

    def _level(
        self, site_id: str, state: SiteState, stop: StopView | None
    ) -> tuple[AutonomyLevel, str]:
        if stop is not None and stop.active and stop.obeyed:
            return AutonomyLevel.SAFE_STOP, f"stopped by {stop.by}: {stop.reason}"
        if site_id in self.levels:
            return self.levels[site_id]
        if state is SiteState.RUNNING:
            return AutonomyLevel.FLEET, "the fleet plans"
        return AutonomyLevel.HOLD, "no schedule covers this hour"

    def _stop(self, site_id: str) -> StopView | None:
        order = next((o for o in reversed(self.orders) if o.site_id == site_id), None)
        if order is None:
            return None
        obeyed = site_id != UNREACHABLE and datetime.now(UTC) >= order.at + timedelta(
            seconds=self.obey_s
        )
        return StopView(
            active=order.stopped,
            kind="operator",
            by=order.by,
            reason=order.reason,
            at=order.at,
            revision=order.revision,
            obeyed=obeyed,
        )

    def _order(self, site_ids: Sequence[str], said: StopRequest, *, stopped: bool) -> None:
        self._answer()
        if self.store_broken:
            raise StoreError("stop orders: cannot be written (disk full)", fix="make room")
        for site_id in site_ids:
            revision = 1 + sum(o.site_id == site_id for o in self.orders)
            self.orders.append(
                StopOrderView(
                    site_id=site_id,
                    revision=revision,
                    stopped=stopped,
                    by=said.by,
                    reason=said.reason,
                    at=datetime.now(UTC),
                )
            )

    async def stop_site(self, site_id: str, said: StopRequest) -> StopOrderView | None:
        """See FleetGateway."""
        if site_id not in SITE_IDS:
            return None
        self._order([site_id], said, stopped=True)
        return self.orders[-1]

    async def release_site(self, site_id: str, said: StopRequest) -> StopOrderView | None:
        """See FleetGateway."""
        if site_id not in SITE_IDS:
            return None
        self._order([site_id], said, stopped=False)
        return self.orders[-1]

    async def stop_fleet(self, said: StopRequest) -> StopOrdersView:
        """See FleetGateway."""
        self._order(SITE_IDS, said, stopped=True)
        return StopOrdersView(orders=self.orders[-len(SITE_IDS) :])

    async def release_fleet(self, said: StopRequest) -> StopOrdersView:
        """See FleetGateway."""
        self._order(SITE_IDS, said, stopped=False)
        return StopOrdersView(orders=self.orders[-len(SITE_IDS) :])

    def _source(self, state: SiteState) -> str | None:
        if state is SiteState.UNREACHABLE:
            return None
        return "dispatch" if state is SiteState.RUNNING else "hold"

    def _reason(self, state: SiteState, wanted_kw: float) -> str | None:
        if state is SiteState.UNREACHABLE:
            return None
        if state is SiteState.HOLDING:
            return "holding at 0 kW: no schedule covers this hour"
        plan = f"plan {self.plan_version}"
        told = f"{plan}: charge while the price is low" if wanted_kw < 0 else f"{plan}: wait"
        if wanted_kw > 0:
            told = f"{plan}: sell into the evening peak"
        return self.site_text or told

    def _narrowings(self, max_kw: float) -> list[NarrowingView]:
        return [
            NarrowingView(
                code="export_limit",
                text=f"export limit of the grid connection is {0.6 * max_kw:.0f} kW",
                lower_kw=-max_kw,
                upper_kw=0.6 * max_kw,
            )
        ]

    def _earnings(self, share: float) -> EarningsView:
        hours = (self.market_now - MARKET_START) / HOUR
        return EarningsView(
            currency="USD",
            amount=round(share * (3.75 + 0.81 * hours), 2),
            exported_kwh=round(share * 21.5 * hours, 1),
            imported_kwh=round(share * 24.1 * hours, 1),
            unpriced_kwh=0.0,
        )

    @property
    def plan_version(self) -> int:
        """One plan per market hour."""
        return 3 + int((self.market_now - MARKET_START) / HOUR)

    def _fleet(self, sites: list[SiteView]) -> FleetView:
        known = [(s.capacity_kwh, s.soc_pct) for s in sites]
        capacity = sum(c for c, _ in known if c is not None)
        energy = sum(c * soc / 100 for c, soc in known if c is not None and soc is not None)
        power = sum(s.active_power_kw for s in sites if s.active_power_kw is not None)
        states = [s.state.value for s in sites]
        return FleetView(
            fleet_id="atacama",
            as_of=datetime.now(UTC),
            clock=self._clock(),
            sites_total=len(sites),
            sites_reporting=sum(s.soc_pct is not None for s in sites),
            sites_by_state={state: states.count(state) for state in dict.fromkeys(states)},
            capacity_kwh=capacity,
            energy_kwh=round(energy, 1),
            soc_pct=round(100 * energy / capacity, 1),
            active_power_kw=round(power, 2),
            grid_power_kw=round(power - 16, 2),
            flexibility=FlexibilityView(
                up_kw=275 - power, down_kw=325 + power, energy_up_kwh=energy, energy_down_kwh=90.0
            ),
            price_now=chile_price(self.market_now.replace(minute=0)),
            price_unit="USD/MWh",
            earnings=self._earnings(17.0),
            plan_version=self.plan_version,
            plan_error=self.plan_error,
        )

    async def live(self) -> LiveView:
        """See FleetGateway."""
        self.live_calls += 1
        self._answer()
        sites = [self._site(n) for n in range(len(SITE_IDS))]
        return LiveView(fleet=self._fleet(sites), sites=sites)

    async def status(self) -> StatusView:
        """See FleetGateway."""
        self._answer()
        fleet = self._fleet([self._site(n) for n in range(len(SITE_IDS))])
        return StatusView(
            fleet_id=fleet.fleet_id,
            version="0.1.0",
            started_at=datetime.now(UTC),
            clock=fleet.clock,
            market="chile_cen",
            node="crucero_220",
            currency="USD",
            sites_total=fleet.sites_total,
            sites_by_state=fleet.sites_by_state,
            price_source="seasonal 1",
            dispatch_source="dynamic program",
            fallbacks=[],
            dashboard_url=None,
        )

    async def fleet(self) -> FleetView:
        """See FleetGateway."""
        self._answer()
        return self._fleet([self._site(n) for n in range(len(SITE_IDS))])

    async def sites(self) -> SitesView:
        """See FleetGateway."""
        self._answer()
        sites = [self._site(n) for n in range(len(SITE_IDS))]
        return SitesView(as_of=datetime.now(UTC), clock=self._clock(), sites=sites)

    async def site(self, site_id: str) -> SiteView | None:
        """See FleetGateway."""
        self._answer()
        return self._site(SITE_IDS.index(site_id)) if site_id in SITE_IDS else None

    async def history(self, site_id: str) -> HistoryView | None:
        """See FleetGateway."""
        self._answer()
        if site_id not in SITE_IDS:
            return None
        index, now = SITE_IDS.index(site_id), self.market_now
        max_kw = 50.0 + 25.0 * (index % 3)
        times = [now - timedelta(minutes=10 * n) for n in range(144, -1, -1)]
        silent = site_id == UNREACHABLE
        points = [
            HistoryPointView(
                market_at=at,
                soc_pct=None if silent and at > now - 5 * HOUR else soc_pct(at, index),
                active_power_kw=None if silent and at > now - 5 * HOUR else plan_kw(at, max_kw),
                setpoint_kw=plan_kw(at, max_kw),
            )
            for at in times
        ]
        return HistoryView(site_id=site_id, points=points)

    async def schedules(self) -> SchedulesView:
        """See FleetGateway."""
        self._answer()
        found = [await self.schedule(site_id) for site_id in SITE_IDS]
        plans = [plan for plan in found if plan is not None]
        return SchedulesView(plan_version=self.plan_version, schedules=plans)

    async def schedule(self, site_id: str) -> ScheduleView | None:
        """See FleetGateway."""
        self._answer()
        if site_id not in SITE_IDS or site_id == UNREACHABLE:
            return None
        return schedule_view(site_id, SITE_IDS.index(site_id), self.market_now)

    async def price(self) -> PriceView:
        """See FleetGateway."""
        self._answer()
        return price_view(self.market_now)

    async def health(self) -> HealthView:
        """See FleetGateway."""
        status = self.health_status if self.available else "down"
        check = HealthCheckView(name="fleet", ok=status != "down", detail=f"fleet is {status}")
        return HealthView(status=status, checks=[check])

    async def version(self) -> VersionView:
        """See FleetGateway."""
        return VersionView(bessai="0.1.0", ray="2.60.0", python="3.11.7")

    async def metrics(self) -> str:
        """See FleetGateway."""
        self._answer()
        return "# TYPE bessai_sites gauge\nbessai_sites 6\n"


def _counters(cycles: int) -> CountersView:
    return CountersView(
        cycles=cycles,
        overruns=0,
        read_failures=0,
        reconnects=0,
        writes={"change": 12, "renew": 40},
        write_failures=0,
        verify_failures=0,
        stored_writes=0,
        safety_blocks={},
    )
