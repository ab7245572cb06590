"""Domain values to wire models: the one place where "not known" becomes null."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from bessai.config import SiteConfig
from bessai.fleet.aggregate import Flexibility
from bessai.fleet.books import Earnings
from bessai.fleet.history import HistoryPoint
from bessai.fleet.state import FleetState, finite
from bessai.fleet.stops import Standing
from bessai.fleet.views import (
    BoundsView,
    CountersView,
    EarningsView,
    FlexibilityView,
    ForecastView,
    HistoryPointView,
    IntervalView,
    NarrowingView,
    PricePointView,
    PriceStepView,
    ScheduleView,
    SiteView,
    StopOrderView,
    StopView,
)
from bessai.model import (
    Bounds,
    Counters,
    Narrowing,
    PastPrices,
    QuantileForecast,
    Schedule,
    SiteId,
    SiteSnapshot,
    SiteState,
    StopOrder,
)
from bessai.units import MonotonicS

DAY: Final = timedelta(days=1)


def earnings_view(earnings: Earnings, currency: str) -> EarningsView:
    """Settled energy and money."""
    return EarningsView(
        currency=currency,
        amount=earnings.amount,
        exported_kwh=earnings.exported_kwh,
        imported_kwh=earnings.imported_kwh,
        unpriced_kwh=earnings.unpriced_kwh,
    )


def site_view(
    state: FleetState,
    site: SiteConfig,
    earnings: EarningsView,
    standing: Standing | None,
    now: MonotonicS,
) -> SiteView:
    """One site as its row and last report stand; a silent site has a state and no numbers."""
    row = state.row(site.site_id)
    snapshot = state.snapshot(row)
    setpoint = None if snapshot is None else snapshot.setpoint
    fresh = finite(float(state.measured_at[row])) is not None
    reading = snapshot.reading if snapshot is not None and fresh else None
    envelope = None if snapshot is None else snapshot.envelope
    return SiteView(
        site_id=site.id,
        profile=site.profile,
        address=site.host if site.port is None else f"{site.host}:{site.port}",
        state=state.state(row),
        autonomy=None if snapshot is None else snapshot.autonomy,
        autonomy_cause=None if snapshot is None else snapshot.autonomy_cause or None,
        autonomy_since=None if snapshot is None else snapshot.autonomy_since,
        stop=stop_view(standing),
        epoch=None if snapshot is None else snapshot.epoch,
        tenure=None if snapshot is None else snapshot.tenure,
        tenure_reason=None if snapshot is None else snapshot.tenure_reason,
        intrusion_score=None if snapshot is None else finite(snapshot.intrusion_score),
        intrusion=[] if snapshot is None else list(snapshot.intrusion),
        error=_error(state, row, snapshot, now),
        soc_pct=_known(state.soc_pct[row]),
        capacity_kwh=_known(state.capacity_kwh[row]),
        active_power_kw=_known(state.active_power_kw[row]),
        grid_power_kw=_known(state.grid_power_kw[row]),
        temperature_c=_known(state.temperature_c[row]),
        battery_status=None if reading is None else reading.battery_status,
        alarms=[] if reading is None else list(reading.alarms),
        setpoint_kw=None if setpoint is None else finite(setpoint.power_kw),
        setpoint_source=None if setpoint is None else setpoint.source,
        setpoint_reason=None if setpoint is None else setpoint.reason,
        cause_id=None if setpoint is None else setpoint.cause_id,
        bounds=None if envelope is None else _bounds_view(envelope),
        narrowings=[] if snapshot is None else [_narrowing_view(n) for n in snapshot.narrowings],
        reading_age_s=_known(now - state.measured_at[row]),
        reported_age_s=_known(now - state.reported_at[row]),
        schedule_age_s=None if snapshot is None else finite(snapshot.schedule_age_s),
        earnings=earnings,
        counters=None if snapshot is None else _counters_view(snapshot.counters),
        pid=state.last_pid(row),
    )


def _error(
    state: FleetState, row: int, snapshot: SiteSnapshot | None, now: MonotonicS
) -> str | None:
    if snapshot is not None:
        return snapshot.error
    age_s = _known(now - state.reported_at[row])
    if age_s is not None:
        return f"no report for {age_s:.0f} s"
    return "no report yet" if state.state(row) is SiteState.SILENT else None


def _known(value: float) -> float | None:
    return finite(float(value))


def _bounds_view(bounds: Bounds) -> BoundsView:
    return BoundsView(lower_kw=bounds.lower_kw, upper_kw=bounds.upper_kw)


def _narrowing_view(narrowing: Narrowing) -> NarrowingView:
    return NarrowingView(
        code=narrowing.code,
        text=narrowing.text,
        lower_kw=narrowing.bounds.lower_kw,
        upper_kw=narrowing.bounds.upper_kw,
    )


def _counters_view(counters: Counters) -> CountersView:
    return CountersView(
        cycles=counters.cycles,
        overruns=counters.overruns,
        read_failures=counters.read_failures,
        reconnects=counters.reconnects,
        writes=dict(counters.writes),
        write_failures=counters.write_failures,
        verify_failures=counters.verify_failures,
        stored_writes=counters.stored_writes,
        safety_blocks=dict(counters.safety_blocks),
    )


def stop_view(standing: Standing | None) -> StopView | None:
    """The newest word about a site's stop; a freeze comes first, as it does at the site."""
    if standing is None:
        return None
    stops = standing.stops
    said = stops.freeze or stops.order
    if said is None:
        return None
    return StopView(
        active=stops.active,
        kind="operator" if stops.freeze is None else "freeze",
        by=said.by,
        reason=said.reason,
        at=said.at,
        revision=stops.revision,
        obeyed=standing.obeyed,
    )


def stop_order_view(site_id: SiteId, order: StopOrder) -> StopOrderView:
    """A stored order."""
    return StopOrderView(
        site_id=site_id,
        revision=order.revision,
        stopped=order.stopped,
        by=order.by,
        reason=order.reason,
        at=order.at,
    )


def flexibility_view(flexibility: Flexibility | None) -> FlexibilityView | None:
    """Flexibility, or None where no site knows its own."""
    if flexibility is None:
        return None
    return FlexibilityView(
        up_kw=flexibility.up_kw,
        down_kw=flexibility.down_kw,
        energy_up_kwh=flexibility.energy_up_kwh,
        energy_down_kwh=flexibility.energy_down_kwh,
    )


def schedule_view(schedule: Schedule) -> ScheduleView:
    """The plan of one site."""
    return ScheduleView(
        site_id=schedule.site_id,
        schedule_id=schedule.schedule_id,
        issued_at=schedule.issued_at,
        source=schedule.source,
        expected_revenue=schedule.expected_revenue,
        currency=schedule.currency,
        intervals=[
            IntervalView(start=i.start, end=i.end, power_kw=i.power_kw, soc_end_pct=i.soc_end_pct)
            for i in schedule.intervals
        ],
    )


def forecast_view(forecast: QuantileForecast | None) -> ForecastView | None:
    """The forecast with its origin, or None before the first."""
    if forecast is None:
        return None
    columns = zip(forecast.p10.tolist(), forecast.p50.tolist(), forecast.p90.tolist(), strict=True)
    return ForecastView(
        issued_at=forecast.issued_at,
        available_at=forecast.available_at,
        source=forecast.source,
        degraded=forecast.degraded,
        steps=[
            PriceStepView(start=forecast.start + forecast.step * k, p10=p10, p50=p50, p90=p90)
            for k, (p10, p50, p90) in enumerate(columns)
        ],
    )


def last_day(past: PastPrices | None, market_now: datetime) -> list[PricePointView]:
    """The published prices of the last 24 h; an unpublished one is not there, a gap is null."""
    if past is None:
        return []
    points = [
        PricePointView(start=past.start + past.step * k, price=finite(float(price)))
        for k, price in enumerate(past.values[-_steps_per_day(past.step) - 1 :], _first(past))
    ]
    return [point for point in points if point.start >= market_now - DAY]


def _steps_per_day(step: timedelta) -> int:
    return -(-DAY // step)


def _first(past: PastPrices) -> int:
    return max(int(past.values.size) - _steps_per_day(past.step) - 1, 0)


def history_point_view(point: HistoryPoint) -> HistoryPointView:
    """One sample of a site."""
    return HistoryPointView(
        market_at=point.market_at,
        soc_pct=point.soc_pct,
        active_power_kw=point.active_power_kw,
        setpoint_kw=point.setpoint_kw,
    )
