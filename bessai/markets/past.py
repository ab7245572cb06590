"""The one gate between a price source and a model: nothing unpublished passes."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from bessai.errors import MarketError
from bessai.model import PastPrices
from bessai.ports import PriceSource
from bessai.units import ensure_utc

DEFAULT_WINDOW = timedelta(days=35)


def past_prices(
    source: PriceSource,
    as_of: datetime,
    publication_delay: timedelta,
    window: timedelta = DEFAULT_WINDOW,
) -> PastPrices:
    """Prices that were published by ``as_of``: steps with end + ``publication_delay`` <= ``as_of``.

    Args:
        source: Where prices come from.
        as_of: Aware market time of the question.
        publication_delay: Time from the end of a step to the publication of its price.
        window: How far back to look.

    Raises:
        MarketError: not one price of the window is known at ``as_of``.
        ValueError: ``as_of`` is naive, or ``publication_delay`` is negative.
    """
    as_of = ensure_utc(as_of)
    if publication_delay < timedelta(0):
        raise ValueError(f"publication_delay must not be negative, got {publication_delay}")
    origin, step = source.coverage[0], source.step
    end = origin + (as_of - publication_delay - origin) // step * step
    start = end - window // step * step
    values = source.prices_between(start, end)
    known = np.flatnonzero(np.isfinite(values))
    if known.size == 0:
        raise _nothing_known(source, as_of)
    newest_end = start + step * (int(known[-1]) + 1)
    return PastPrices(
        as_of=as_of,
        available_at=newest_end + publication_delay,
        start=start,
        step=step,
        values=values,
        unit=source.unit,
        node=source.node,
    )


def _nothing_known(source: PriceSource, as_of: datetime) -> MarketError:
    first, end = source.coverage
    return MarketError(
        f"{source.market} {source.node} has no price known at {as_of.isoformat()}",
        fix=f"choose a time after {first.isoformat()} and near or before {end.isoformat()}",
    )
