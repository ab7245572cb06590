"""Prices, forecasts and plans of the Chilean shape, for the fake fleet."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from bessai.fleet.views import (
    ForecastView,
    IntervalView,
    PricePointView,
    PriceStepView,
    PriceView,
    ScheduleView,
)

HOUR = timedelta(hours=1)


def chile_price(moment: datetime) -> float:
    """USD/MWh with the Chilean shape: 0 under the sun, about 120 in the evening (UTC-3)."""
    hour = (moment.hour + moment.minute / 60 - 3) % 24
    evening = 66 * math.exp(-(((hour - 20.5) / 2.2) ** 2))
    sun = 1 / (1 + math.exp(-(hour - 8.5) * 2.4)) / (1 + math.exp((hour - 17.8) * 2.4))
    drift = 4 * math.sin(moment.toordinal() * 2.1)
    return round(max(0.0, (58 + drift + evening) * (1 - 1.02 * sun)), 2)


def plan_kw(moment: datetime, max_kw: float) -> float:
    """Charge at noon, discharge in the evening."""
    hour = (moment.hour - 3) % 24
    if 10 <= hour < 15:
        return -max_kw * (0.92 if hour < 14 else 0.4)
    return max_kw * (0.95 if hour < 22 else 0.45) if 19 <= hour < 23 else 0.0


def soc_pct(moment: datetime, shift: float) -> float:
    """State of charge that fits the plan."""
    hour = (moment.hour + moment.minute / 60 - 3) % 24
    charged = min(max((hour - 10) / 4.6, 0), 1) if hour < 19 else 1 - min((hour - 19) / 3.6, 1)
    return round(12 + shift + 78 * charged, 1)


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def forecast_step(at: datetime, ahead: int) -> PriceStepView:
    middle = 0.94 * chile_price(at) + 1.5
    width = 3 + 0.16 * middle + 0.45 * ahead
    return PriceStepView(
        start=at, p10=max(0.0, middle - width), p50=middle, p90=middle + 1.25 * width
    )


def price_view(market_now: datetime) -> PriceView:
    """A day back with one missing hour, a day ahead with a band that widens."""
    first = hour_of(market_now)
    past = [first - n * HOUR for n in range(24, 0, -1)]
    steps = [first + n * HOUR for n in range(24)]
    return PriceView(
        market="chile_cen",
        node="crucero_220",
        unit="USD/MWh",
        currency="USD",
        step_s=3600.0,
        market_now=market_now,
        history=[
            PricePointView(start=at, price=None if at.hour == 3 else chile_price(at)) for at in past
        ],
        forecast=ForecastView(
            issued_at=first,
            available_at=first,
            source="seasonal 1",
            degraded=None,
            steps=[forecast_step(at, n) for n, at in enumerate(steps)],
        ),
    )


def schedule_view(site_id: str, index: int, market_now: datetime) -> ScheduleView:
    """The plan of one site over the next day."""
    first = hour_of(market_now)
    max_kw = 50.0 + 25.0 * (index % 3)
    steps = [first + n * HOUR for n in range(24)]
    return ScheduleView(
        site_id=site_id,
        schedule_id=f"{site_id}-{first:%d%H}",
        issued_at=first,
        source="dispatch",
        expected_revenue=31.4,
        currency="USD",
        intervals=[
            IntervalView(
                start=at,
                end=at + HOUR,
                power_kw=plan_kw(at, max_kw),
                soc_end_pct=soc_pct(at + HOUR, index),
            )
            for at in steps
        ],
    )
