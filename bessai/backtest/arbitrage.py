"""Rolling arbitrage on past prices, against perfect foresight of the same period.

The battery plans again every few steps from what was published by then; its volumes stand and
are settled at the real price. A step without a price earns nothing and is left out of both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from bessai.errors import MarketError
from bessai.markets import past_prices
from bessai.model import DispatchPlan, DispatchRequest, PastPrices, QuantileForecast, SiteId
from bessai.policies.highs import solve
from bessai.policies.problem import Floats, to_problem
from bessai.ports import PriceSource
from bessai.units import S_PER_HOUR

Forecast = Callable[[PastPrices, int], QuantileForecast]
Planner = Callable[[DispatchRequest], DispatchPlan]


@dataclass(frozen=True, slots=True)
class Battery:
    """One battery of a back-test; the defaults are those of published capture figures."""

    capacity_kwh: float = 200.0
    power_kw: float = 100.0
    soc_min_pct: float = 10.0
    soc_max_pct: float = 90.0
    soc_start_pct: float = 50.0
    round_trip_efficiency_pct: float = 92.0
    wear_cost_per_mwh: float = 10.0

    def request(
        self, now: datetime, soc_pct: float, forecast: QuantileForecast, currency: str
    ) -> DispatchRequest:
        """The question of this one battery to a dispatch policy."""
        return DispatchRequest(
            market_now=now,
            forecast=forecast,
            currency=currency,
            site_ids=(SiteId("backtest"),),
            soc_pct=_column(soc_pct),
            capacity_kwh=_column(self.capacity_kwh),
            soc_min_pct=_column(self.soc_min_pct),
            soc_max_pct=_column(self.soc_max_pct),
            max_charge_kw=_column(self.power_kw),
            max_discharge_kw=_column(self.power_kw),
            round_trip_efficiency_pct=_column(self.round_trip_efficiency_pct),
            wear_cost_per_mwh=_column(self.wear_cost_per_mwh),
        )


def _column(value: float) -> Floats:
    return np.array([value])


@dataclass(frozen=True, slots=True)
class Rolling:
    """How the rolling plan is made."""

    forecast: Forecast
    plan: Planner
    publication_delay: timedelta = timedelta(hours=1)
    horizon_steps: int = 24
    replan_steps: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result over a period.

    Attributes:
        net: Revenue less wear of the rolling plan, in the source's currency.
        perfect_net: The same with all prices known beforehand.
        discharged_kwh: AC energy sold by the rolling plan.
        n_steps, n_unpriced: Steps of the period, and those without a price.
    """

    net: float
    perfect_net: float
    discharged_kwh: float
    n_steps: int
    n_unpriced: int

    @property
    def capture(self) -> float:
        """Share of perfect foresight that was earned; NaN where there was nothing to earn."""
        return self.net / self.perfect_net if self.perfect_net > 0 else float("nan")


def run_arbitrage(
    source: PriceSource, battery: Battery, rolling: Rolling, start: datetime, end: datetime
) -> Outcome:
    """Operate ``battery`` over ``[start, end)``.

    Raises:
        MarketError: no price in the period, or none known at its start.
        ModelError: the forecast or the plan cannot be made.
    """
    prices = source.prices_between(start, end)
    if not np.isfinite(prices).any():
        raise MarketError(f"no price between {start.isoformat()} and {end.isoformat()}")
    power = _roll(source, battery, rolling, start, prices.size)
    step_h = source.step.total_seconds() / S_PER_HOUR
    return Outcome(
        net=net_revenue(power, prices, step_h, battery.wear_cost_per_mwh),
        perfect_net=perfect_foresight(source, battery, start, end),
        discharged_kwh=float(np.maximum(power, 0).sum() * step_h),
        n_steps=int(prices.size),
        n_unpriced=int(np.isnan(prices).sum()),
    )


def net_revenue(
    power_kw: Floats, price_per_mwh: Floats, step_h: float, wear_cost_per_mwh: float
) -> float:
    """Revenue less wear; steps without a price (NaN) do not count."""
    money = power_kw * price_per_mwh - np.maximum(power_kw, 0) * wear_cost_per_mwh
    return float(np.nansum(money) * step_h / 1000)


def perfect_foresight(
    source: PriceSource, battery: Battery, start: datetime, end: datetime
) -> float:
    """Most that ``battery`` could have earned; what is left in it at the end is worth nothing."""
    prices = source.prices_between(start, end)
    priced = np.isfinite(prices)
    # Leaving the unpriced steps out keeps the battery still in them, as settlement does.
    known = prices[priced]
    flat = QuantileForecast(
        start, start, start, source.step, known, known, known, source.unit, "perfect foresight"
    )
    request = battery.request(start, battery.soc_start_pct, flat, source.currency)
    hours = np.full(known.size, source.step.total_seconds() / S_PER_HOUR)
    problem = to_problem(request, hours, known, np.zeros(1))
    return float(problem.revenue(problem.power_kw(solve(problem)))[0])


def _roll(
    source: PriceSource, battery: Battery, rolling: Rolling, start: datetime, n_steps: int
) -> Floats:
    power, soc_pct = np.zeros(n_steps), battery.soc_start_pct
    for at in range(0, n_steps, rolling.replan_steps):
        now = start + source.step * at
        past = past_prices(source, now, rolling.publication_delay)
        forecast = rolling.forecast(past, rolling.horizon_steps)
        request = battery.request(now, soc_pct, forecast, source.currency)
        steps = (
            rolling.plan(request).schedules[0].intervals[: min(rolling.replan_steps, n_steps - at)]
        )
        power[at : at + len(steps)] = [step.power_kw for step in steps]
        soc_pct = steps[-1].soc_end_pct
    return power
