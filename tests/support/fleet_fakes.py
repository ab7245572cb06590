"""Scripted ports and clocks for the fleet's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from bessai.errors import MarketError, ModelError, StoreError
from bessai.model import (
    DispatchPlan,
    DispatchRequest,
    Interval,
    MarketClock,
    PastPrices,
    QuantileForecast,
    Schedule,
    ScheduleId,
    SiteId,
    StopOrder,
)
from bessai.store.account import Account
from bessai.store.stops import Word
from bessai.units import MonotonicS

T0 = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class HandTime:
    """Control time that moves by hand."""

    at: float = 1000.0

    def __call__(self) -> MonotonicS:
        return MonotonicS(self.at)


@dataclass(frozen=True, slots=True)
class HandMarketClock(MarketClock):
    """Market time that moves by hand."""

    hand: list[datetime] = field(default_factory=list)

    def now(self) -> datetime:
        return self.hand[0]


def hand_market_clock(at: datetime, speed: float = 1.0) -> HandMarketClock:
    return HandMarketClock(market_start=at, wall_start=at, speed=speed, hand=[at])


@dataclass
class FakePrices:
    """Hourly prices from ``start``; NaN is a gap."""

    values: Sequence[float]
    start: datetime = T0 - timedelta(days=7)
    market: str = "test_market"
    node: str = "test_node"
    currency: str = "USD"
    unit: str = "USD/MWh"
    step: timedelta = HOUR

    @property
    def coverage(self) -> tuple[datetime, datetime]:
        return self.start, self.start + self.step * len(self.values)

    def prices_between(self, start: datetime, end: datetime) -> NDArray[np.float64]:
        count = (end - start) // self.step
        found = [self.price_at(start + self.step * k) for k in range(count)]
        return np.array([np.nan if price is None else price for price in found])

    def price_at(self, moment: datetime) -> float | None:
        index = (moment - self.start) // self.step
        if not 0 <= index < len(self.values):
            return None
        price = self.values[index]
        return None if np.isnan(price) else price

    def past(self, as_of: datetime) -> PastPrices:
        """What was published an hour after the end of each step."""
        last = (as_of - HOUR - self.start) // self.step
        if last < 1 or last > len(self.values):
            raise MarketError(f"no price known at {as_of.isoformat()}")
        return PastPrices(
            as_of=as_of,
            available_at=self.start + self.step * last + HOUR,
            start=self.start,
            step=self.step,
            values=np.array(self.values[:last]),
            unit=self.unit,
            node=self.node,
        )


class FakeForecast:
    """Answers a flat forecast, or raises what ``error`` holds."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.degraded: str | None = None
        self.calls = 0

    async def forecast(self, past: PastPrices, horizon_steps: int) -> QuantileForecast:
        self.calls += 1
        if self.error is not None:
            raise self.error
        flat = np.full(horizon_steps, 50.0)
        return QuantileForecast(
            issued_at=past.as_of,
            available_at=past.available_at,
            start=T0 + (past.as_of - T0) // HOUR * HOUR,
            step=past.step,
            p10=flat - 10,
            p50=flat,
            p90=flat + 10,
            unit=past.unit,
            source="flat-1",
            degraded=self.degraded,
        )


class FakeDispatch:
    """Plans ``power_kw`` for each site and keeps its state of charge as expected at the start."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.degraded: str | None = None
        self.power_kw = 0.0
        self.requests: list[DispatchRequest] = []

    async def plan(self, request: DispatchRequest) -> DispatchPlan:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        schedules = tuple(
            self._schedule(request, site_id, float(soc_pct))
            for site_id, soc_pct in zip(request.site_ids, request.soc_pct, strict=True)
        )
        return DispatchPlan(schedules=schedules, source="flat-plan", degraded=self.degraded)

    def _schedule(self, request: DispatchRequest, site_id: SiteId, soc_pct: float) -> Schedule:
        forecast = request.forecast
        intervals = tuple(
            Interval(
                start=forecast.start + forecast.step * k,
                end=forecast.start + forecast.step * (k + 1),
                power_kw=self.power_kw,
                soc_end_pct=soc_pct,
            )
            for k in range(forecast.n_steps)
        )
        return Schedule(
            schedule_id=ScheduleId(f"{site_id}@{len(self.requests)}"),
            site_id=site_id,
            issued_at=request.market_now,
            intervals=intervals,
            source="dispatch",
            expected_revenue=1.5,
            currency=request.currency,
        )


class MemoryOrders:
    """Stop orders in memory; fails while ``broken``."""

    def __init__(self) -> None:
        self.orders: list[tuple[SiteId, StopOrder]] = []
        self.broken = False

    def add(self, floors: Mapping[SiteId, int], word: Word) -> Mapping[SiteId, StopOrder]:
        self._check()
        newest, given = self.newest(), {}
        for site_id, floor in floors.items():
            last = newest[site_id].revision if site_id in newest else 0
            revision = max(floor, last) + 1
            given[site_id] = StopOrder(revision, word.stopped, word.by, word.reason, word.at)
        self.orders += given.items()
        return given

    def newest(self) -> Mapping[SiteId, StopOrder]:
        self._check()
        return dict(self.orders)

    def count(self) -> int:
        self._check()
        return len(self.orders)

    def _check(self) -> None:
        if self.broken:
            raise StoreError("stop orders: cannot be written (disk full)")


class MemoryStore:
    """Accounts in memory; fails to save while ``broken``."""

    def __init__(self) -> None:
        self.accounts: dict[SiteId, Account] = {}
        self.broken = False

    def load(self) -> Mapping[SiteId, Account]:
        return dict(self.accounts)

    def save(self, accounts: Sequence[Account]) -> None:
        if self.broken:
            raise StoreError("cannot be written (disk full)")
        self.accounts |= {account.site_id: account for account in accounts}


def model_error() -> ModelError:
    return ModelError("the model is not there")
