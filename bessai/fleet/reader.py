"""The read side of the fleet: every answer of the API, from the parts that hold the truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from bessai import __version__
from bessai.config import FleetConfig, SiteConfig
from bessai.errors import MarketError
from bessai.fleet.aggregate import aggregate
from bessai.fleet.books import Books
from bessai.fleet.health import Condition, fallbacks, health_view
from bessai.fleet.history import History
from bessai.fleet.metrics import MetricsInput, render_metrics
from bessai.fleet.planner import Planner
from bessai.fleet.render import (
    earnings_view,
    flexibility_view,
    forecast_view,
    history_point_view,
    last_day,
    schedule_view,
    site_view,
)
from bessai.fleet.state import FleetState, finite
from bessai.fleet.stops import StopDesk
from bessai.fleet.views import (
    ClockView,
    FleetView,
    HealthView,
    HistoryView,
    LiveView,
    PriceView,
    SchedulesView,
    ScheduleView,
    SitesView,
    SiteView,
    StatusView,
)
from bessai.model import MarketClock, PastPrices, Schedule, SiteId
from bessai.ports import PriceSource
from bessai.units import MonotonicS


@dataclass(frozen=True, slots=True)
class FleetParts:
    """What the fleet consists of.

    Attributes:
        now: Control time.
        past_prices: Prices that are published at a market time.
    """

    config: FleetConfig
    clock: MarketClock
    prices: PriceSource
    past_prices: Callable[[datetime], PastPrices]
    now: Callable[[], MonotonicS]
    state: FleetState
    history: History
    books: Books
    planner: Planner
    stops: StopDesk
    dashboard_url: str | None


@dataclass(frozen=True, slots=True)
class _Published:
    """Published prices now, or why there are none."""

    past: PastPrices | None
    error: str | None


class FleetReader(ABC):
    """Answers questions; changes nothing but to drop numbers that became too old."""

    def __init__(self, parts: FleetParts) -> None:
        self._config, self._clock, self._prices = parts.config, parts.clock, parts.prices
        self._past_prices, self._now = parts.past_prices, parts.now
        self._state, self._history = parts.state, parts.history
        self._books, self._planner, self._stops = parts.books, parts.planner, parts.stops
        self._sites = {site.site_id: site for site in parts.config.sites}
        self._started_at = datetime.now(UTC)
        self._dashboard_url = parts.dashboard_url

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether the planning loop runs."""

    def live(self) -> LiveView:
        """Fleet and sites of the same moment."""
        return LiveView(fleet=self.fleet(), sites=self._site_views())

    def fleet(self) -> FleetView:
        """Totals over the sites that report now."""
        self._state.expire(self._now())
        totals, price_now = aggregate(self._state), self._prices.price_at(self._clock.now())
        earnings = self._books.earnings(self._state.site_ids)
        return FleetView(
            fleet_id=self._config.id,
            as_of=datetime.now(UTC),
            clock=self._clock_view(),
            sites_total=totals.sites_total,
            sites_reporting=totals.sites_reporting,
            sites_by_state=totals.sites_by_state,
            capacity_kwh=totals.capacity_kwh,
            energy_kwh=totals.energy_kwh,
            soc_pct=totals.soc_pct,
            active_power_kw=totals.active_power_kw,
            grid_power_kw=totals.grid_power_kw,
            flexibility=flexibility_view(totals.flexibility),
            price_now=finite(price_now),
            price_unit=self._prices.unit,
            earnings=earnings_view(earnings, self._prices.currency),
            plan_version=self._planner.version,
            plan_error=self._planner.error,
        )

    def sites(self) -> SitesView:
        """All sites."""
        views = self._site_views()
        return SitesView(as_of=datetime.now(UTC), clock=self._clock_view(), sites=views)

    def site(self, site_id: str) -> SiteView:
        """One site.

        Raises:
            ConfigError: no such site.
        """
        site = self._sites[self._known(site_id)]
        self._state.expire(self._now())
        return self._site_view(site)

    def history(self, site_id: str) -> HistoryView:
        """Samples of a site over the last market day.

        Raises:
            ConfigError: no such site.
        """
        points = self._history.points(self._state.row(SiteId(site_id)))
        return HistoryView(site_id=site_id, points=[history_point_view(p) for p in points])

    def schedules(self) -> SchedulesView:
        """The plans of all sites that have one, in the order of the fleet file."""
        plans = map(self._plan_of, self._state.site_ids)
        views = [schedule_view(plan) for plan in plans if plan is not None]
        return SchedulesView(plan_version=self._planner.version, schedules=views)

    def schedule(self, site_id: str) -> ScheduleView | None:
        """The plan of one site, or None while it has none; a stopped one has none.

        Raises:
            ConfigError: no such site.
        """
        found = self._plan_of(self._known(site_id))
        return None if found is None else schedule_view(found)

    def price(self) -> PriceView:
        """Published prices of the last 24 h and the forecast of the next."""
        market_now = self._clock.now()
        return PriceView(
            market=self._prices.market,
            node=self._prices.node,
            unit=self._prices.unit,
            currency=self._prices.currency,
            step_s=self._prices.step.total_seconds(),
            market_now=market_now,
            history=last_day(self._published(market_now).past, market_now),
            forecast=forecast_view(self._planner.forecast),
        )

    def status(self) -> StatusView:
        """Versions, sources and fallbacks on one page."""
        condition = self._condition()
        forecast = self._planner.forecast
        return StatusView(
            fleet_id=self._config.id,
            version=__version__,
            started_at=self._started_at,
            clock=self._clock_view(),
            market=self._prices.market,
            node=self._prices.node,
            currency=self._prices.currency,
            sites_total=len(self._sites),
            sites_by_state=aggregate(self._state).sites_by_state,
            price_source=None if forecast is None else forecast.source,
            dispatch_source=self._planner.dispatch_source,
            fallbacks=fallbacks(condition),
            dashboard_url=self._dashboard_url,
        )

    def health(self) -> HealthView:
        """Sites, planning, store and prices; each with its reason."""
        return health_view(self._condition())

    def metrics_text(self) -> str:
        """All metrics of the fleet in the Prometheus text format."""
        live = self.live()
        snapshots = map(self._state.snapshot, range(len(self._sites)))
        accounts = map(self._books.account, self._state.site_ids)
        return render_metrics(
            MetricsInput(
                live=live,
                market=self._prices.market,
                node=self._prices.node,
                currency=self._prices.currency,
                cycle_durations={
                    s.site_id: s.counters.cycle_duration for s in snapshots if s is not None
                },
                accounts=[account for account in accounts if account is not None],
                plans=self._planner.plans,
                plan_failures=self._planner.failures,
                store_ok=self._store_error is None,
            )
        )

    def _site_views(self) -> list[SiteView]:
        self._state.expire(self._now())
        return [self._site_view(site) for site in self._config.sites]

    def _site_view(self, site: SiteConfig) -> SiteView:
        earnings = earnings_view(self._books.earnings([site.site_id]), self._prices.currency)
        standing = self._stops.standing(site.site_id)
        return site_view(self._state, site, earnings, standing, self._now())

    def _plan_of(self, site_id: SiteId) -> Schedule | None:
        stopped = self._state.stopped[self._state.row(site_id)]
        return None if stopped else self._planner.schedules.get(site_id)

    def _known(self, site_id: str) -> SiteId:
        return self._state.site_ids[self._state.row(SiteId(site_id))]

    @property
    def _store_error(self) -> str | None:
        return self._books.error or self._stops.error

    def _clock_view(self) -> ClockView:
        return ClockView(
            market_now=self._clock.now(),
            speed=self._clock.speed,
            simulated=self._config.simulation is not None,
        )

    def _published(self, market_now: datetime) -> _Published:
        try:
            return _Published(self._past_prices(market_now), None)
        except MarketError as error:
            return _Published(None, str(error))

    def _condition(self) -> Condition:
        self._state.expire(self._now())
        market_now = self._clock.now()
        published = self._published(market_now)
        return Condition(
            state=self._state,
            market_now=market_now,
            loop_running=self.is_running,
            plan_error=self._planner.error,
            forecast=self._planner.forecast,
            dispatch_degraded=self._planner.dispatch_degraded,
            store_error=self._store_error,
            past=published.past,
            price_error=published.error,
            not_obeyed=self._stops.not_obeyed(),
        )
