"""Settle a site's meter counters at spot prices: pure, exact, and safe to repeat.

The rules, so that anyone can recompute an account:

1. Energy between two readings is the difference of the lifetime counters, in integer Wh.
2. A difference that spans several settlement steps is split in proportion to time. The part up
   to a boundary ``b`` is ``floor(difference * (b - start) / (end - start))`` in integer
   arithmetic on microseconds, so the parts add up to the difference exactly.
3. A price becomes an integer number of micro-currency per MWh: the shortest decimal text of the
   float, rounded half away from zero. Wh times that price is an integer number of
   pico-currency; sums are exact and no rounding is ever repeated.
4. A step without a price leaves its energy unpriced; it is never priced at 0.
5. Counters that go backwards, or jump by more than the connection can carry, cannot be
   continued: the reading becomes the new baseline and the reset is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from bessai.model import SiteId
from bessai.store.account import MICRO_PER_UNIT, Account, MeterReading
from bessai.units import S_PER_HOUR, WH_PER_KWH

MICROSECOND: Final = timedelta(microseconds=1)
JUMP_FACTOR: Final = 10
"""Energy above ten times the rated connection for the elapsed time is not energy; the slack
covers other loads behind the same meter."""
JUMP_SLACK_WH: Final = 1_000

PriceAt = Callable[[datetime], float | None]
"""Price per MWh of the step that covers a moment, or None."""


@dataclass(frozen=True, slots=True)
class SettlementRules:
    """What an account is settled with.

    Attributes:
        currency: ISO 4217 code of the price.
        step: Length of a settlement step.
        origin: Start of any step, aware UTC.
        price_at: Price in ``currency`` per MWh.
    """

    currency: str
    step: timedelta
    origin: datetime
    price_at: PriceAt


def step_start(moment: datetime, step: timedelta, origin: datetime) -> datetime:
    """Start of the settlement step that covers ``moment``; some step starts at ``origin``."""
    return moment - (moment - origin) % step


def to_micro_per_mwh(price: float | None) -> int | None:
    """A price as an integer, rounded half away from zero; NaN and None are missing."""
    if price is None or not math.isfinite(price):
        return None
    scaled = Decimal(str(price)) * MICRO_PER_UNIT
    return int(scaled.to_integral_value(rounding=ROUND_HALF_UP))


def settle(
    account: Account | None,
    site_id: SiteId,
    meter: MeterReading,
    rules: SettlementRules,
    max_kw: float,
) -> Account:
    """The account after one more meter reading.

    Args:
        account: The account so far; None before the first reading, which settles nothing.
        site_id: Owner of a new account.
        meter: The new counters.
        rules: Step, currency and prices.
        max_kw: Rated power of the grid connection, to tell energy from a counter jump.
    """
    if account is None:
        return Account(site_id=site_id, currency=rules.currency, meter=meter)
    before = account.meter
    exported_wh = meter.exported_wh - before.exported_wh
    imported_wh = meter.imported_wh - before.imported_wh
    elapsed = meter.market_at - before.market_at
    if not _plausible(exported_wh, imported_wh, elapsed, max_kw):
        return replace(account, meter=meter, resets=account.resets + 1)
    if elapsed < timedelta(0):
        return _add(replace(account, meter=meter), exported_wh, imported_wh, None)
    settled = replace(account, meter=meter)
    for start, exported_part, imported_part in _parts(before, meter, rules):
        price = to_micro_per_mwh(rules.price_at(start))
        settled = _add(settled, exported_part, imported_part, price)
    return settled


def _plausible(exported_wh: int, imported_wh: int, elapsed: timedelta, max_kw: float) -> bool:
    hours = max(elapsed.total_seconds(), 0.0) / S_PER_HOUR
    most_wh = JUMP_FACTOR * max_kw * WH_PER_KWH * hours + JUMP_SLACK_WH
    return 0 <= exported_wh <= most_wh and 0 <= imported_wh <= most_wh


def _parts(
    before: MeterReading, after: MeterReading, rules: SettlementRules
) -> Iterator[tuple[datetime, int, int]]:
    """Energy per settlement step as ``(step_start, exported_wh, imported_wh)``, without zeros."""
    exported_wh = after.exported_wh - before.exported_wh
    imported_wh = after.imported_wh - before.imported_wh
    if not (exported_wh or imported_wh):
        return
    span_us = (after.market_at - before.market_at) // MICROSECOND
    start = step_start(before.market_at, rules.step, rules.origin)
    exported_done = imported_done = 0
    while start <= after.market_at:
        end_us = (start + rules.step - before.market_at) // MICROSECOND
        done = min(span_us, end_us)
        exported_to = exported_wh * done // span_us if span_us else exported_wh
        imported_to = imported_wh * done // span_us if span_us else imported_wh
        if exported_to > exported_done or imported_to > imported_done:
            yield start, exported_to - exported_done, imported_to - imported_done
        exported_done, imported_done = exported_to, imported_to
        start += rules.step


def _add(
    account: Account, exported_wh: int, imported_wh: int, micro_per_mwh: int | None
) -> Account:
    missing = micro_per_mwh is None
    return replace(
        account,
        exported_wh=account.exported_wh + exported_wh,
        imported_wh=account.imported_wh + imported_wh,
        unpriced_exported_wh=account.unpriced_exported_wh + (exported_wh if missing else 0),
        unpriced_imported_wh=account.unpriced_imported_wh + (imported_wh if missing else 0),
        amount_pico=account.amount_pico + (exported_wh - imported_wh) * (micro_per_mwh or 0),
    )
