"""The fleet's brain as a plain object: reports in, plans and answers out.

It knows no Ray and no HTTP. Everything runs on one event loop; what blocks (the store) goes to
a thread, what waits (the models) is awaited by one loop, so a report never waits for either.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from bessai.config import FleetConfig
from bessai.errors import ConfigError
from bessai.fleet.books import Books
from bessai.fleet.history import History
from bessai.fleet.planner import Planner, PlannerMarket, PlannerModels
from bessai.fleet.reader import FleetParts, FleetReader
from bessai.fleet.render import stop_order_view
from bessai.fleet.settlement import SettlementRules
from bessai.fleet.state import FleetState
from bessai.fleet.stops import OrderLog, StopDesk
from bessai.fleet.views import StopOrdersView, StopOrderView
from bessai.model import FleetReply, MarketClock, PastPrices, SiteId, SiteSnapshot
from bessai.ports import DispatchModel, ForecastModel, PriceSource
from bessai.store.account import AccountStore
from bessai.units import MonotonicS

log = logging.getLogger(__name__)

LEASE_S: Final = 15.0
PLAN_POLL_S: Final = 0.2
SAVE_PERIOD_S: Final = 1.0
STOPS_PERIOD_S: Final = 1.0


class Orchestrator(FleetReader):
    """Runs one fleet; the answers it gives are those of :class:`FleetReader`.

    Raises:
        ConfigError: the price source has another unit than money per MWh, or the store holds
            accounts in another currency.
        StoreError: the store cannot be read.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the composition root of the fleet
        self,
        config: FleetConfig,
        clock: MarketClock,
        prices: PriceSource,
        past_prices: Callable[[datetime], PastPrices],
        forecast: ForecastModel,
        dispatch: DispatchModel,
        store: AccountStore,
        orders: OrderLog,
        *,
        now: Callable[[], MonotonicS],
        dashboard_url: str | None = None,
        epoch: int = 0,
    ) -> None:
        _check_unit(prices)
        state = FleetState(config.sites, now())
        market = _planner_market(config, clock, prices)
        models = PlannerModels(past_prices, forecast, dispatch)
        parts = FleetParts(
            config=config,
            clock=clock,
            prices=prices,
            past_prices=past_prices,
            now=now,
            state=state,
            history=History(len(config.sites)),
            books=Books(config.sites, _settlement_rules(prices), store),
            planner=Planner(state, market, models, now),
            stops=StopDesk(state, orders),
            dashboard_url=dashboard_url,
        )
        super().__init__(parts)
        self._epoch = epoch
        self._loops: list[asyncio.Task[None]] = []

    def report(self, batch: Sequence[SiteSnapshot]) -> list[FleetReply]:
        """Take the reports of some sites; one answer per report, in order.

        Raises:
            ConfigError: a site is not of this fleet; nothing of the batch was taken.
        """
        taken = self._state.update(batch, self._now())
        self._books.settle(taken)
        self._stops.hear(taken)
        for snapshot in taken:
            self._history.add(self._state.row(snapshot.site_id), snapshot)
        return [self._reply(snapshot.site_id) for snapshot in batch]

    def _reply(self, site_id: SiteId) -> FleetReply:
        plan, order = self._plan_of(site_id), self._stops.newest(site_id)
        return FleetReply(plan, lease_s=LEASE_S, epoch=self._epoch, stop=order)

    async def stop_site(self, site_id: str, by: str, reason: str) -> StopOrderView:
        """Order a site to rest until it is released; it hears so with its next report.

        Raises:
            ConfigError: no such site.
            StoreError: the order cannot be stored; nothing was ordered.
        """
        return await self._order_one(site_id, stopped=True, by=by, reason=reason)

    async def release_site(self, site_id: str, by: str, reason: str) -> StopOrderView:
        """End a site's stop, whoever ordered it; it hears so with its next report.

        Raises:
            ConfigError: no such site.
            StoreError: the order cannot be stored; nothing was ordered.
        """
        return await self._order_one(site_id, stopped=False, by=by, reason=reason)

    async def stop_fleet(self, by: str, reason: str) -> StopOrdersView:
        """Order all sites to rest until they are released.

        Raises:
            StoreError: the orders cannot be stored; no site was ordered anything.
        """
        return await self._order(self._state.site_ids, stopped=True, by=by, reason=reason)

    async def release_fleet(self, by: str, reason: str) -> StopOrdersView:
        """End the stops of all sites, whoever ordered each.

        Raises:
            StoreError: the orders cannot be stored; no site was ordered anything.
        """
        return await self._order(self._state.site_ids, stopped=False, by=by, reason=reason)

    async def _order_one(
        self, site_id: str, *, stopped: bool, by: str, reason: str
    ) -> StopOrderView:
        known = [self._known(site_id)]
        return (await self._order(known, stopped=stopped, by=by, reason=reason)).orders[0]

    async def _order(
        self, site_ids: Sequence[SiteId], *, stopped: bool, by: str, reason: str
    ) -> StopOrdersView:
        given = await self._stops.order(site_ids, stopped=stopped, by=by, reason=reason)
        return StopOrdersView(orders=[stop_order_view(s, given[s]) for s in site_ids])

    async def run(self) -> None:
        """Plan and save until cancelled or stopped.

        Raises:
            RuntimeError: it runs already.
        """
        if self._loops:
            raise RuntimeError("the orchestrator runs already")
        try:
            async with asyncio.TaskGroup() as group:
                work = (
                    (self.plan_if_due, PLAN_POLL_S),
                    (self.save, SAVE_PERIOD_S),
                    (self._stops.refresh, STOPS_PERIOD_S),
                )
                self._loops = [group.create_task(_every(p, step)) for step, p in work]
        finally:
            self._loops = []

    async def stop(self) -> None:
        """End the loops and save what is not saved yet; the store stays open."""
        loops = list(self._loops)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await self.save()

    async def plan_if_due(self) -> None:
        """Plan once if there is a reason to; returns when the plan stands or failed."""
        self._state.expire(self._now())
        market_now = self._clock.now()
        reason = self._planner.reason_due(market_now)
        if reason is not None:
            log.debug("planning", extra={"reason": reason})
            await self._planner.plan(market_now)

    async def save(self) -> None:
        """Save the accounts that changed, in one transaction."""
        await self._books.flush()

    @property
    def is_running(self) -> bool:
        """Whether the planning loop runs."""
        return bool(self._loops) and not any(loop.done() for loop in self._loops)


async def _every(period_s: float, step: Callable[[], Awaitable[None]]) -> None:
    while True:
        await step()
        await asyncio.sleep(period_s)


def _check_unit(prices: PriceSource) -> None:
    wanted = f"{prices.currency}/MWh"
    if prices.unit != wanted:
        raise ConfigError(
            f"the prices of {prices.market} {prices.node} cannot be settled in this unit",
            field="market",
            value=prices.unit,
            fix=f"use a source in {wanted}",
        )


def _settlement_rules(prices: PriceSource) -> SettlementRules:
    return SettlementRules(
        currency=prices.currency,
        step=prices.step,
        origin=prices.coverage[0],
        price_at=prices.price_at,
    )


def _planner_market(config: FleetConfig, clock: MarketClock, prices: PriceSource) -> PlannerMarket:
    return PlannerMarket(
        currency=prices.currency,
        step=prices.step,
        origin=prices.coverage[0],
        publication_delay=timedelta(hours=config.market.publication_delay_h),
        speed=clock.speed,
    )
