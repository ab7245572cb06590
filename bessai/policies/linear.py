"""Exact linear program per site: buy low, sell high, inside every limit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bessai.errors import ModelError
from bessai.model import (
    DISPATCH_SOURCE,
    DispatchPlan,
    DispatchRequest,
    Interval,
    QuantileForecast,
    Schedule,
    ScheduleId,
    SiteId,
)
from bessai.policies.highs import solve
from bessai.policies.problem import Floats, Problem, to_problem
from bessai.units import S_PER_HOUR, ensure_utc

SOURCE: Final = "linear"


def open_policy() -> LinearPolicy:
    """The policy with its measured defaults."""
    return LinearPolicy()


@dataclass(frozen=True, slots=True)
class LinearPolicy:
    """Implements ``DispatchModel``.

    Attributes:
        terminal_share: Worth of a stored kWh at the horizon's end, as a share of what it earns
            at the horizon's mean price. Hourly re-planning does not feel it; a plan that is
            followed for its whole day captures 72 % with 0 and 78 % with 1 (Crucero, 2023).
    """

    terminal_share: float = 1.0

    async def plan(self, request: DispatchRequest) -> DispatchPlan:
        """Plan every site of the request over what is left of the forecast's horizon.

        Raises:
            ModelError: the forecast does not cover ``market_now``, or the solver failed.
        """
        return await asyncio.to_thread(self.plan_now, request)

    def plan_now(self, request: DispatchRequest) -> DispatchPlan:
        """Same as :meth:`plan`, in the caller's thread.

        A site with values that allow no plan (no capacity, a negative limit, a band upside
        down) gets 0 kW, and ``degraded`` names it: it does not stop the others.

        Raises:
            ModelError: the forecast does not cover ``market_now``, or the solver failed.
        """
        times = step_times(request.forecast, request.market_now)
        hours = np.array([(b - a).total_seconds() / S_PER_HOUR for a, b in times])
        price = expected_price(request.forecast)[-len(times) :]
        usable = _usable(request)
        power = np.zeros((len(request.site_ids), len(times)))
        soc = np.repeat(request.soc_pct[:, None], len(times), axis=1)
        revenue = np.zeros(len(request.site_ids))
        if usable.any():
            chosen = _select(request, usable)
            problem = self._problem(chosen, hours, price)
            energy = solve(problem)
            power[usable] = problem.power_kw(energy)
            soc[usable] = energy / chosen.capacity_kwh[:, None] * 100
            revenue[usable] = problem.revenue(power[usable])
        schedules = tuple(
            _schedule(request, at, times, power[at], soc[at], float(revenue[at]))
            for at in range(len(request.site_ids))
        )
        return DispatchPlan(schedules, SOURCE, _degraded(request, usable))

    def _problem(self, request: DispatchRequest, hours: Floats, price: Floats) -> Problem:
        mean_price = max(float(np.average(price, weights=hours)), 0.0)
        one_way = np.sqrt(request.round_trip_efficiency_pct / 100)
        return to_problem(request, hours, price, self.terminal_share * mean_price * one_way)


def expected_price(forecast: QuantileForecast) -> Floats:
    """Mean price per step, from three quantiles.

    Source: Swanson's rule 0.3, 0.4, 0.3; Hurst, Brown and Swanson 2000, AAPG Bulletin 84(12).
    With it a battery captures 80.8 % and 80.1 % of perfect foresight on 2023 and on the unseen
    first half of 2024, with p50 alone 80.1 % and 78.1 %.
    """
    mean: Floats = 0.3 * forecast.p10 + 0.4 * forecast.p50 + 0.3 * forecast.p90
    return mean


def step_times(
    forecast: QuantileForecast, market_now: datetime
) -> tuple[tuple[datetime, datetime], ...]:
    """``[start, end)`` of the steps that are left at ``market_now``; the first one is shortened.

    Raises:
        ModelError: ``market_now`` is outside the forecast's horizon.
    """
    now, start, step = ensure_utc(market_now), ensure_utc(forecast.start), forecast.step
    gone = (now - start) // step
    if not 0 <= gone < forecast.n_steps:
        raise ModelError(
            "the forecast does not cover the time of the request",
            field="market_now",
            value=now.isoformat(),
            fix=f"it runs from {start.isoformat()} over {forecast.n_steps} steps of {step}",
        )
    edges = [start + step * k for k in range(gone, forecast.n_steps + 1)]
    return tuple((max(a, now), b) for a, b in pairwise(edges))


def _usable(request: DispatchRequest) -> NDArray[np.bool_]:
    efficiency = request.round_trip_efficiency_pct
    return (
        (request.capacity_kwh > 0)
        & (request.max_charge_kw >= 0)
        & (request.max_discharge_kw >= 0)
        & (request.soc_min_pct <= request.soc_max_pct)
        & (efficiency > 0)
        & (efficiency <= 100)
        & (request.wear_cost_per_mwh >= 0)
    )


def _select(request: DispatchRequest, keep: NDArray[np.bool_]) -> DispatchRequest:
    ids: tuple[SiteId, ...] = tuple(
        site for site, kept in zip(request.site_ids, keep, strict=True) if kept
    )
    columns = {column.name: getattr(request, column.name)[keep] for column in fields(request)[4:]}
    return replace(request, site_ids=ids, **columns)


def _schedule(
    request: DispatchRequest,
    at: int,
    times: tuple[tuple[datetime, datetime], ...],
    power_kw: Floats,
    soc_pct: Floats,
    revenue: float,
) -> Schedule:
    site, now = request.site_ids[at], request.market_now.astimezone(UTC)
    return Schedule(
        schedule_id=ScheduleId(f"{site}@{now.isoformat(timespec='seconds')}"),
        site_id=site,
        issued_at=now,
        intervals=tuple(
            Interval(start, end, float(kw), float(soc))
            for (start, end), kw, soc in zip(times, power_kw, soc_pct, strict=True)
        ),
        source=DISPATCH_SOURCE,
        expected_revenue=revenue,
        currency=request.currency,
    )


def _degraded(request: DispatchRequest, usable: NDArray[np.bool_]) -> str | None:
    reasons = [request.forecast.degraded] if request.forecast.degraded else []
    if not usable.all():
        idle = [site for site, ok in zip(request.site_ids, usable, strict=True) if not ok]
        reasons.append(f"values allow no plan, 0 kW for {', '.join(idle)}")
    return "; ".join(reasons) or None
