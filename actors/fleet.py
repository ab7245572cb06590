"""The fleet orchestrator in a process of its own; Ray Serve answers its questions about prices."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from actors.names import DISPATCH_APP, PRICE_APP, fleet_epoch
from bessai.config import FleetConfig
from bessai.control.clocks import monotonic_now
from bessai.control.whoami import this_process
from bessai.errors import ModelError
from bessai.fleet.orchestrator import Orchestrator
from bessai.fleet.views import (
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
    StopOrdersView,
    StopOrderView,
)
from bessai.markets import open_market, past_prices
from bessai.model import (
    DispatchPlan,
    DispatchRequest,
    FleetReply,
    MarketClock,
    PastPrices,
    QuantileForecast,
    SiteSnapshot,
)
from bessai.store.epochs import EpochStore
from bessai.store.settlement import SettlementStore
from bessai.store.stops import StopStore

MODEL_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """All a process needs to run the orchestrator."""

    fleet: FleetConfig
    clock: MarketClock
    store_url: str
    dashboard_url: str | None


class ServeApp:
    """One application on Ray Serve, looked up anew after each failure."""

    def __init__(
        self, name: str, find: Callable[[str], DeploymentHandle[object]] = serve.get_app_handle
    ) -> None:
        self._name, self._find = name, find
        self._handle: DeploymentHandle[object] | None = None

    async def call(self, method: str, *args: object) -> object:
        """Call a method of the application's ingress.

        Raises:
            ModelError: what the application refuses with, or that it is away or too slow.
        """
        try:
            async with asyncio.timeout(MODEL_TIMEOUT_S):
                if self._handle is None:
                    self._handle = await asyncio.to_thread(self._find, self._name)
                return await getattr(self._handle, method).remote(*args)
        except (RayError, RayServeException, TimeoutError) as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, ModelError):
                raise cause from error
            self._handle = None
            text = type(error).__name__
            raise ModelError(f"{self._name} model on Ray Serve does not answer: {text}") from error


class ServedForecast:
    """The price model on Ray Serve; implements :class:`bessai.ports.ForecastModel`."""

    def __init__(self) -> None:
        self._app = ServeApp(PRICE_APP)

    async def forecast(self, past: PastPrices, horizon_steps: int) -> QuantileForecast:
        """Quantiles of the next prices."""
        return cast("QuantileForecast", await self._app.call("forecast", past, horizon_steps))


class ServedDispatch:
    """The dispatch model on Ray Serve; implements :class:`bessai.ports.DispatchModel`."""

    def __init__(self) -> None:
        self._app = ServeApp(DISPATCH_APP)

    async def plan(self, request: DispatchRequest) -> DispatchPlan:
        """Schedules of all sites of the request."""
        return cast("DispatchPlan", await self._app.call("plan", request))


class FleetActor:
    """Thin shell: each method hands over to the orchestrator."""

    def __init__(self, spec: FleetSpec) -> None:
        prices = open_market(spec.fleet.market)
        delay = timedelta(hours=spec.fleet.market.publication_delay_h)
        self._spec = spec
        self._fleet = Orchestrator(
            spec.fleet,
            spec.clock,
            prices,
            functools.partial(past_prices, prices, publication_delay=delay),
            ServedForecast(),
            ServedDispatch(),
            SettlementStore.open(spec.store_url),
            StopStore.open(spec.store_url),
            now=monotonic_now,
            dashboard_url=spec.dashboard_url,
            epoch=_epoch(spec),
        )
        self._task = asyncio.get_running_loop().create_task(self._fleet.run())
        self._task.add_done_callback(self._end_process)
        self._stopping = False

    def __repr__(self) -> str:
        return f"Fleet({self._spec.fleet.id}: {len(self._spec.fleet.sites)} sites)"

    async def config(self) -> FleetConfig:
        """The configuration that it runs."""
        return self._spec.fleet

    async def report(self, batch: Sequence[SiteSnapshot]) -> list[FleetReply]:
        """Reports of some sites; one answer per report."""
        return self._fleet.report(batch)

    async def live(self) -> LiveView:
        """Totals and all sites."""
        return self._fleet.live()

    async def status(self) -> StatusView:
        """Versions, addresses and fallbacks."""
        return self._fleet.status()

    async def fleet(self) -> FleetView:
        """Totals over the sites that report now."""
        return self._fleet.fleet()

    async def sites(self) -> SitesView:
        """All sites."""
        return self._fleet.sites()

    async def site(self, site_id: str) -> SiteView:
        """One site; ConfigError where there is no such site."""
        return self._fleet.site(site_id)

    async def history(self, site_id: str) -> HistoryView:
        """Samples of the last market day; ConfigError where there is no such site."""
        return self._fleet.history(site_id)

    async def schedules(self) -> SchedulesView:
        """The plans of all sites that have one."""
        return self._fleet.schedules()

    async def schedule(self, site_id: str) -> ScheduleView | None:
        """The plan of one site; ConfigError where there is no such site."""
        return self._fleet.schedule(site_id)

    async def price(self) -> PriceView:
        """Settled prices and the forecast."""
        return self._fleet.price()

    async def health(self) -> HealthView:
        """Whether the parts work."""
        return self._fleet.health()

    async def metrics(self) -> str:
        """Prometheus text."""
        return self._fleet.metrics_text()

    async def stop_site(self, site_id: str, by: str, reason: str) -> StopOrderView:
        """Stop one site; ConfigError where there is none, StoreError where nothing was done."""
        return await self._fleet.stop_site(site_id, by, reason)

    async def release_site(self, site_id: str, by: str, reason: str) -> StopOrderView:
        """Release one site; ConfigError where there is none, StoreError where nothing was done."""
        return await self._fleet.release_site(site_id, by, reason)

    async def stop_fleet(self, by: str, reason: str) -> StopOrdersView:
        """Stop all sites; StoreError where nothing was done."""
        return await self._fleet.stop_fleet(by, reason)

    async def release_fleet(self, by: str, reason: str) -> StopOrdersView:
        """Release all sites; StoreError where nothing was done."""
        return await self._fleet.release_fleet(by, reason)

    async def stop(self) -> None:
        """Save and end."""
        self._stopping = True
        await self._fleet.stop()

    def _end_process(self, _task: asyncio.Task[None]) -> None:
        if not self._stopping:
            os._exit(70)  # an orchestrator that no longer plans must be started afresh


def _epoch(spec: FleetSpec) -> int:
    """Sites refuse the answers of an earlier fleet actor; from the store, as nobody is between."""
    with closing(EpochStore.open(spec.store_url)) as store:
        return store.claim(fleet_epoch(spec.fleet.id), this_process()).epoch
