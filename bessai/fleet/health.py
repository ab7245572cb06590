"""What is wrong now, in words: health checks and the list of fallbacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from bessai.fleet.state import FleetState
from bessai.fleet.views import HealthCheckView, HealthView
from bessai.model import AutonomyLevel, PastPrices, QuantileForecast, SiteState

LESSER_LEVELS: Final = (
    AutonomyLevel.CACHED_SCHEDULE,
    AutonomyLevel.LOCAL_POLICY,
    AutonomyLevel.HOLD,
)
"""A site on ``safe_stop`` is said with all that are stopped."""
DAY: Final = timedelta(days=1)
NAMES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Condition:
    """What the checks look at.

    Attributes:
        loop_running: Whether the planning loop runs.
        plan_error, store_error, price_error: What fails now, or None.
        not_obeyed: Sites that do not show the operator's newest order yet.
        past: Published prices, or None where there are none.
    """

    state: FleetState
    market_now: datetime
    loop_running: bool
    plan_error: str | None
    forecast: QuantileForecast | None
    dispatch_degraded: str | None
    store_error: str | None
    past: PastPrices | None
    price_error: str | None
    not_obeyed: Sequence[str] = ()


def health_view(condition: Condition) -> HealthView:
    """``down`` when no site reports, ``degraded`` when any check fails, else ``ok``."""
    checks = [_sites(condition), _planning(condition), _store(condition), _prices(condition)]
    if not condition.state.reporting().any():
        status = "down"
    else:
        status = "ok" if all(check.ok for check in checks) else "degraded"
    return HealthView(status=status, checks=checks)


def fallbacks(condition: Condition) -> list[str]:
    """Every part that answers with less than its best link, one line each."""
    price = condition.forecast.degraded if condition.forecast else None
    # A dispatch model passes on what its forecast lacked; once is enough.
    dispatch = None if condition.dispatch_degraded == price else condition.dispatch_degraded
    found = [
        ("planning", condition.plan_error),
        ("price", price),
        ("dispatch", dispatch),
        ("store", condition.store_error),
        ("market", condition.price_error),
    ]
    lines = [f"{part}: {text}" for part, text in found if text]
    for level in LESSER_LEVELS:
        lines += _line(f"sites on {level}", _sites_on(condition.state, level))
    lines += _line("sites that only read", _sites_that_only_read(condition.state))
    lines += _line("sites stopped, left out of planning", _sites_stopped(condition.state))
    lines += _line("stop or release not obeyed yet", condition.not_obeyed)
    lines += _line("intrusion detection without its model", _sites_without_model(condition.state))
    return lines + _line("sites silent", _sites_in(condition.state, SiteState.SILENT))


def _line(label: str, names: Sequence[str]) -> list[str]:
    return [f"{label}: {_names(names)}"] if names else []


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _sites_on(state: FleetState, level: AutonomyLevel) -> list[str]:
    found: list[str] = []
    for row, site_id in enumerate(state.site_ids):
        snapshot = state.snapshot(row)
        if snapshot is not None and snapshot.autonomy is level:
            found.append(site_id)
    return found


def _sites_that_only_read(state: FleetState) -> list[str]:
    reporting = state.reporting() & ~state.writes
    return [state.site_ids[row] for row in np.flatnonzero(reporting)]


def _sites_without_model(state: FleetState) -> list[str]:
    found: list[str] = []
    for row, site_id in enumerate(state.site_ids):
        snapshot = state.snapshot(row)
        if snapshot is not None and snapshot.intrusion_degraded is not None:
            found.append(site_id)
    return found


def _sites_stopped(state: FleetState) -> list[str]:
    return [state.site_ids[row] for row in np.flatnonzero(state.stopped)]


def _sites_in(state: FleetState, wanted: SiteState) -> list[str]:
    return [s for row, s in enumerate(state.site_ids) if state.state(row) is wanted]


def _sites(condition: Condition) -> HealthCheckView:
    state = condition.state
    reporting, n = int(state.reporting().sum()), len(state.site_ids)
    bad = [
        (word, _sites_in(state, word))
        for word in (SiteState.SILENT, SiteState.UNREACHABLE, SiteState.FAULT)
    ]
    detail = f"{reporting} of {n} sites report"
    detail += "".join(f"; {word}: {_names(names)}" for word, names in bad if names)
    ok = reporting == n and not any(names for _, names in bad)
    return HealthCheckView(name="sites", ok=ok, detail=detail)


def _planning(condition: Condition) -> HealthCheckView:
    if not condition.loop_running:
        detail = "the planning loop is not running"
    elif condition.plan_error is not None:
        detail = condition.plan_error
    elif condition.forecast is None:
        detail = "no plan yet"
    else:
        issued = condition.forecast.issued_at.isoformat(timespec="minutes")
        return HealthCheckView(name="planning", ok=True, detail=f"planned at {issued}")
    return HealthCheckView(name="planning", ok=False, detail=detail)


def _store(condition: Condition) -> HealthCheckView:
    error = condition.store_error
    return HealthCheckView(name="store", ok=error is None, detail=error or "accounts are saved")


def _prices(condition: Condition) -> HealthCheckView:
    past = condition.past
    if past is None:
        detail = condition.price_error or "no published price"
        return HealthCheckView(name="prices", ok=False, detail=detail)
    wanted = DAY // past.step
    recent = past.values[-wanted:]
    known = int(np.isfinite(recent).sum())
    detail = f"{known} of the last {wanted} prices known, newest published at "
    detail += past.available_at.isoformat(timespec="minutes")
    return HealthCheckView(name="prices", ok=2 * known >= wanted, detail=detail)
