"""When to plan and with what; a failed plan changes nothing but what is said about it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bessai.errors import BessaiError, MarketError, ModelError
from bessai.fleet.settlement import step_start
from bessai.fleet.state import FleetState
from bessai.fleet.tracking import ExpectedSoc
from bessai.model import (
    DispatchPlan,
    DispatchRequest,
    PastPrices,
    QuantileForecast,
    Schedule,
    SiteId,
)
from bessai.ports import DispatchModel, ForecastModel
from bessai.units import MonotonicS

log = logging.getLogger(__name__)

HORIZON: Final = timedelta(hours=24)
SHORTEST_PERIOD_S: Final = 1.0
BACKOFF_MAX_S: Final = 30.0
ANSWER_DEADLINE_S: Final = 30.0
BLIND_AFTER: Final = timedelta(hours=48)
"""Without a price for so long nobody can say what the energy is worth: schedules run out, and
then the sites hold."""


@dataclass(frozen=True, slots=True)
class PlannerMarket:
    """What the planner knows of the market.

    Attributes:
        origin: Start of any settlement step.
        publication_delay: From the end of a step until its price is known.
        speed: Market seconds per real second.
    """

    currency: str
    step: timedelta
    origin: datetime
    publication_delay: timedelta
    speed: float


@dataclass(frozen=True, slots=True)
class PlannerModels:
    """The injected parts that answer."""

    past_prices: Callable[[datetime], PastPrices]
    forecast: ForecastModel
    dispatch: DispatchModel


class Planner:
    """Holds the forecast and the schedules; asks for new ones when they are due.

    Attributes:
        forecast: The newest forecast, or None before the first.
        schedules: The newest plan of each site that ever had one.
        version: Grows whenever one of the two changes.
        error: Why the last attempt failed, or None.
        plans, failures: Counts since the start.
        dispatch_source, dispatch_degraded: Who made the schedules, and why with less.
    """

    def __init__(
        self,
        state: FleetState,
        market: PlannerMarket,
        models: PlannerModels,
        now: Callable[[], MonotonicS],
    ) -> None:
        self._state = state
        self._now = now
        self._market = market
        self._models = models
        self._expected = ExpectedSoc(len(state.site_ids))
        self._planned = np.zeros(len(state.site_ids), dtype=np.bool_)
        self._planned_for: tuple[datetime, datetime] | None = None
        self._not_before = -math.inf
        self._failures_in_row = 0
        self._busy = False
        self.forecast: QuantileForecast | None = None
        self.schedules: dict[SiteId, Schedule] = {}
        self.version = 0
        self.error: str | None = None
        self.plans = 0
        self.failures = 0
        self.dispatch_source: str | None = None
        self.dispatch_degraded: str | None = None

    def reason_due(self, market_now: datetime) -> str | None:
        """Why a plan is due, or None: nothing new, too soon, backing off, or under way."""
        plannable = self._state.plannable()
        self._planned &= plannable
        if self._busy or self._now() < self._not_before:
            return None
        if self._steps_at(market_now) != self._planned_for:
            return "a new price"
        if bool(np.any(plannable & ~self._planned)):
            return "a site became plannable"
        if self._expected.has_lost_touch(self._state, self._market.speed):
            return "a site is off its plan"
        return None

    def _steps_at(self, market_now: datetime) -> tuple[datetime, datetime]:
        """The step that runs now, and the one whose price is awaited next."""
        market = self._market
        published = market_now - market.publication_delay
        current = step_start(market_now, market.step, market.origin)
        return current, step_start(published, market.step, market.origin)

    async def plan(self, market_now: datetime) -> None:
        """Ask for a forecast and a plan; never raises what a model or market can fail with.

        Two calls never overlap: the second one returns at once.
        """
        if self._busy:
            return
        self._busy, self._not_before = True, self._now() + SHORTEST_PERIOD_S
        forecast = self.forecast
        try:
            async with asyncio.timeout(ANSWER_DEADLINE_S):
                await self._plan(market_now)
        except TimeoutError:
            self._fail(f"no answer within {ANSWER_DEADLINE_S:g} s")
        except (BessaiError, ValueError) as error:
            self._fail(str(error))
        else:
            self._succeed(market_now)
        finally:
            self._busy = False
            self.version += self.forecast is not forecast

    async def _plan(self, market_now: datetime) -> None:
        models, market = self._models, self._market
        past = models.past_prices(market_now)
        _check_recent(past)
        horizon_steps = math.ceil(HORIZON / market.step)
        forecast = await models.forecast.forecast(past, horizon_steps)
        _check_forecast(forecast)
        self.forecast = forecast
        request, planned = self._request(market_now, forecast)
        if not request.site_ids:
            self._planned = planned
            return
        plan = await models.dispatch.plan(request)
        _check_plan(plan, request)
        fresh = {schedule.site_id: schedule for schedule in plan.schedules}
        self._expected.take(self._state, request, fresh)
        self._planned = planned
        self.schedules = self.schedules | fresh
        self.dispatch_source, self.dispatch_degraded = plan.source, plan.degraded

    def _request(
        self, market_now: datetime, forecast: QuantileForecast
    ) -> tuple[DispatchRequest, NDArray[np.bool_]]:
        state, mask = self._state, self._state.plannable()
        request = DispatchRequest(
            market_now=market_now,
            forecast=forecast,
            currency=self._market.currency,
            site_ids=tuple(state.site_ids[row] for row in np.flatnonzero(mask)),
            soc_pct=state.soc_pct[mask],
            capacity_kwh=state.capacity_kwh[mask],
            soc_min_pct=state.soc_min_pct[mask],
            soc_max_pct=state.soc_max_pct[mask],
            max_charge_kw=state.max_charge_kw[mask],
            max_discharge_kw=state.max_discharge_kw[mask],
            round_trip_efficiency_pct=state.round_trip_efficiency_pct[mask],
            wear_cost_per_mwh=state.wear_cost_per_mwh[mask],
        )
        return request, mask

    def _succeed(self, market_now: datetime) -> None:
        if self.error is not None:
            log.info("planning works again", extra={"failed_before": self._failures_in_row})
        self.error, self._failures_in_row = None, 0
        self._planned_for = self._steps_at(market_now)
        self.plans += 1

    def _fail(self, error: str) -> None:
        if self.error is None:
            log.warning("planning failed; the old schedules stay", extra={"error": error})
        self.error = error
        self.failures += 1
        wait_s = min(SHORTEST_PERIOD_S * 2.0**self._failures_in_row, BACKOFF_MAX_S)
        self._failures_in_row += 1
        self._not_before = self._now() + wait_s


def _check_recent(past: PastPrices) -> None:
    if past.as_of - past.available_at > BLIND_AFTER:
        since = past.available_at.isoformat(timespec="minutes")
        raise MarketError(
            f"no price was published since {since}",
            field=past.node,
            fix="check the price source; a replay may be past the end of its prices",
        )


def _check_forecast(forecast: QuantileForecast) -> None:
    if not bool(np.all(np.isfinite([forecast.p10, forecast.p50, forecast.p90]))):
        raise ModelError(f"forecast of {forecast.source} holds values that are not numbers")


def _check_plan(plan: DispatchPlan, request: DispatchRequest) -> None:
    if tuple(schedule.site_id for schedule in plan.schedules) != request.site_ids:
        raise ModelError(f"plan of {plan.source} does not answer for the sites it was asked for")
    for schedule in plan.schedules:
        numbers = [schedule.expected_revenue]
        for interval in schedule.intervals:
            numbers += [interval.power_kw, interval.soc_end_pct]
        if not all(map(math.isfinite, numbers)):
            raise ModelError(f"schedule of {schedule.site_id} holds values that are not numbers")
