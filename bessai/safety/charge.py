"""Limits from the stored energy: the band, and what the next cycle could still cross."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bessai.model import Bounds, Narrowing, SiteLimits, Telemetry
from bessai.safety.holds import usable_capacity_kwh
from bessai.safety.outlook import Outlook

RESTART_MARGIN_PCT: Final = 0.5
"""A battery that came to rest at a limit starts again this far inside the band, so that the
rebound of a resting cell or a rounded state of charge does not make it chatter."""

APPLY_SHARE: Final = 0.2
"""Share of the horizon (0.4 cycles for a horizon of two) in which the old setpoint still acts
after the decision. With a horizon of two cycles the energy left at each write then at least
halves and never goes below 0, for any age of the read; up to a share of 0.207 the power also
falls monotonically from rest (roots of the recursion P' = (E' - 2 * share * P) / 2)."""

REST_SHARE: Final = 0.005
"""Look-ahead power below this share of the nameplate is 0: halving it for ever only costs writes.
It equals the dead-band of the write ledger."""

START_SHARE: Final = 4 * REST_SHARE
"""A resting battery starts only where this much is allowed, so that it does not rest at once."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One direction: what is left until its limit, as positive AC numbers."""

    code: str
    name: str
    limit_pct: float
    soc_pct: float
    room_pct: float
    room_kwh: float
    flow_kw: float
    nameplate_kw: float
    sign: int


def soc_narrowings(
    telemetry: Telemetry, limits: SiteLimits, outlook: Outlook, unseen_pct: float = 0.0
) -> Iterator[Narrowing]:
    """Keep the state of charge inside its band until the next write takes effect.

    The power allowed is ``energy left / (horizon * speed)`` with the one-way efficiency
    ``sqrt(round trip)``, after what the old setpoint moves until the new one takes effect.
    Outside the band only the direction back into it is allowed. With a horizon of two cycles
    the power near a limit halves each cycle: it converges from inside.

    Args:
        telemetry: The newest read.
        limits: Band, reserve and efficiency.
        outlook: How far to look.
        unseen_pct: How far the cells may be above (+) or below (-) the state of charge shown; it
            may only narrow.
    """
    soc, capacity = telemetry.soc_pct, usable_capacity_kwh(telemetry, limits)
    if soc is None or capacity is None:
        return
    margin_pct = min(RESTART_MARGIN_PCT, 0.05 * (limits.soc_max_pct - limits.soc_floor_pct))
    cells = (soc + min(0.0, unseen_pct), soc + max(0.0, unseen_pct))
    for way in _ways(telemetry, limits, outlook, cells, capacity):
        allowed_kw, code, text = _allowed(way, outlook, margin_pct)
        if allowed_kw < way.nameplate_kw:
            if unseen_pct:
                text = f"{text}, counted from {way.soc_pct:.1f} % because SoC did not follow power"
            yield Narrowing(code, text, _one_sided(way.sign, allowed_kw, limits))


def _ways(
    telemetry: Telemetry,
    limits: SiteLimits,
    outlook: Outlook,
    cells: tuple[float, float],
    capacity: float,
) -> tuple[_Way, _Way]:
    one_way = math.sqrt(limits.round_trip_efficiency_pct / 100.0)
    low, high = limits.soc_floor_pct, limits.soc_max_pct
    least, most = cells
    power = telemetry.active_power_kw or 0.0
    old_s = max(0.0, outlook.age_s(telemetry)) + APPLY_SHARE * outlook.horizon_s
    old_h = outlook.energy_hours(old_s)
    out_kw = max(0.0, power, outlook.last_power_kw)
    in_kw = max(0.0, -power, -outlook.last_power_kw)
    out_kwh = (least - low) / 100.0 * capacity * one_way - out_kw * old_h
    in_kwh = (high - most) / 100.0 * capacity / one_way - in_kw * old_h
    last = outlook.last_power_kw
    return (
        _Way(*_floor(limits), low, least, least - low, out_kwh, last, limits.max_discharge_kw, 1),
        _Way(
            "soc_high",
            "its upper limit",
            high,
            most,
            high - most,
            in_kwh,
            -last,
            limits.max_charge_kw,
            -1,
        ),
    )


def _floor(limits: SiteLimits) -> tuple[str, str]:
    if limits.backup_reserve_pct > limits.soc_min_pct:
        return "backup_reserve", "the backup reserve"
    return "soc_low", "its lower limit"


def _allowed(way: _Way, outlook: Outlook, margin_pct: float) -> tuple[float, str, str]:
    verb = "discharge" if way.sign > 0 else "charge"
    at_limit = f"SoC at {way.name} of {way.limit_pct:g} %"
    if way.room_pct <= 0:
        return 0.0, way.code, at_limit
    if way.room_pct < margin_pct and way.flow_kw <= 0:
        restart = way.limit_pct + way.sign * margin_pct
        return 0.0, way.code, f"{at_limit}, {verb} starts again at {restart:g} %"
    allowed_kw = max(0.0, way.room_kwh) / outlook.energy_hours(outlook.horizon_s)
    least_share = REST_SHARE if way.flow_kw > 0 else START_SHARE
    if allowed_kw < least_share * way.nameplate_kw:
        return 0.0, way.code, at_limit
    return allowed_kw, "soc_lookahead", f"SoC near {way.name} of {way.limit_pct:g} %"


def _one_sided(sign: int, allowed_kw: float, limits: SiteLimits) -> Bounds:
    if sign > 0:
        return Bounds(-limits.max_charge_kw, allowed_kw)
    return Bounds(-allowed_kw, limits.max_discharge_kw)
