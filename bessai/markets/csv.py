"""Any market from a CSV file: ``timestamp_utc,price_usd_per_mwh`` and one row per step."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from bessai.config import MarketConfig
from bessai.errors import ConfigError, MarketError
from bessai.markets.series import PriceSeries
from bessai.units import KWH_PER_MWH, ensure_utc

PRICE_COLUMN: Final = re.compile(r"price_([a-z]{3})_per_(mwh|kwh)")
MAX_STEPS: Final = 2_000_000


class Row(NamedTuple):
    """One line of the file; an empty price cell is NaN."""

    line: int
    moment: datetime
    price: float


def open_source(config: MarketConfig) -> PriceSeries:
    """Read ``config.path``; the node is named after the file unless the fleet file names it.

    Raises:
        ConfigError: no path, no such file, or the header lacks a column.
        MarketError: a row cannot be used; the message names its line.
    """
    if config.path is None:
        raise ConfigError("is required for source csv", field="market.path", fix="name the file")
    path = Path(config.path)
    node = path.stem if config.node is None else config.node
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _parse(csv.reader(file), path.name, node)
    except FileNotFoundError:
        raise ConfigError(
            "no such file", field="market.path", value=str(path), fix="check the path"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"cannot be read ({error})", field="market.path", value=str(path)
        ) from error


def _parse(lines: Iterator[list[str]], name: str, node: str) -> PriceSeries:
    time_at, price_at, currency, scale = _columns(next(lines, []), name)
    rows = [
        _row(cells, line, time_at, price_at, name)
        for line, cells in enumerate(lines, start=2)
        if any(cell.strip() for cell in cells)
    ]
    step = _step(rows, name)
    n_steps = (rows[-1].moment - rows[0].moment) // step + 1
    if n_steps > MAX_STEPS:
        raise MarketError(f"spans {n_steps} steps of {step}", field=name, fix="check the times")
    values = np.full(n_steps, np.nan)
    for row in rows:
        values[(row.moment - rows[0].moment) // step] = row.price * scale
    unit = f"{currency}/MWh"
    return PriceSeries("csv", node, currency, unit, rows[0].moment, step, values)


def _columns(header: list[str], name: str) -> tuple[int, int, str, float]:
    titles = [title.strip().lower() for title in header]
    found = [(at, m) for at, title in enumerate(titles) if (m := PRICE_COLUMN.fullmatch(title))]
    if "timestamp_utc" not in titles or len(found) != 1:
        raise ConfigError(
            "needs a column timestamp_utc and one price column that names currency and unit",
            field=f"{name} line 1",
            value=repr(",".join(header)),
            fix="use a header such as timestamp_utc,price_usd_per_mwh",
        )
    price_at, match = found[0]
    scale = KWH_PER_MWH if match[2] == "kwh" else 1.0
    return titles.index("timestamp_utc"), price_at, match[1].upper(), scale


def _row(cells: list[str], line: int, time_at: int, price_at: int, name: str) -> Row:
    where = f"{name} line {line}"
    if len(cells) <= max(time_at, price_at):
        raise MarketError("has too few cells", field=where, value=repr(",".join(cells)))
    text = cells[time_at].strip()
    try:
        moment = ensure_utc(datetime.fromisoformat(text))
    except ValueError:
        raise MarketError(
            "time is not ISO 8601 with a zone",
            field=where,
            value=repr(text),
            fix="write it like 2024-01-31T23:00:00Z",
        ) from None
    return Row(line, moment, _price(cells[price_at].strip(), where))


def _price(text: str, where: str) -> float:
    if not text:
        return math.nan
    try:
        price = float(text)
    except ValueError:
        price = math.inf
    if not math.isfinite(price):
        raise MarketError(
            "price is not a number",
            field=where,
            value=repr(text),
            fix="leave the cell empty where the price is missing",
        )
    return price


def _step(rows: list[Row], name: str) -> timedelta:
    if len(rows) < 2:
        raise MarketError("needs at least two rows", field=name, value=str(len(rows)))
    for before, row in pairwise(rows):
        if row.moment <= before.moment:
            what = "repeats the time of" if row.moment == before.moment else "is earlier than"
            raise MarketError(
                f"{what} line {before.line}",
                field=f"{name} line {row.line}",
                value=row.moment.isoformat(),
                fix="sort by time, one row per step",
            )
    step = min(after.moment - before.moment for before, after in pairwise(rows))
    _check_grid(rows, step, name)
    return step


def _check_grid(rows: Iterable[Row], step: timedelta, name: str) -> None:
    for before, row in pairwise(rows):
        if (row.moment - before.moment) % step:
            raise MarketError(
                f"is not a whole number of steps of {step} after line {before.line}",
                field=f"{name} line {row.line}",
                value=row.moment.isoformat(),
                fix="use one step length in the whole file",
            )
