from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from bessai.config import MarketConfig
from bessai.errors import BessaiError, ConfigError, MarketError
from bessai.markets import open_market
from bessai.ports import PriceSource

HEADER = "timestamp_utc,price_usd_per_mwh\n"


def read(tmp_path: Path, text: str, **more: str) -> PriceSource:
    path = tmp_path / "prices.csv"
    path.write_text(text, encoding="utf-8")
    return open_market(MarketConfig.model_validate({"source": "csv", "path": str(path), **more}))


def test_reads_quarter_hours_with_gap_and_empty_cell(tmp_path: Path) -> None:
    source = read(
        tmp_path,
        "note,timestamp_utc,price_eur_per_mwh\n"
        "x,2024-01-01T00:00:00Z,10.5\n"
        "x,2024-01-01T00:15:00Z,\n"
        "x,2024-01-01T02:45:00+02:00,-3\n"
        "\n"
        "x,2024-01-01T01:15:00Z,4\n",
    )
    assert (source.step, source.currency, source.unit) == (timedelta(minutes=15), "EUR", "EUR/MWh")
    assert source.node == "prices"
    start = datetime(2024, 1, 1, tzinfo=UTC)
    assert source.coverage == (start, start + timedelta(minutes=90))
    np.testing.assert_equal(
        source.prices_between(*source.coverage), [10.5, np.nan, np.nan, -3.0, np.nan, 4.0]
    )


def test_price_per_kwh_becomes_per_mwh_and_a_named_node_stays(tmp_path: Path) -> None:
    source = read(
        tmp_path,
        "\ufefftimestamp_utc,price_clp_per_kwh\n2024-01-01T00:00Z,40\n2024-01-01T01:00Z,50.5\n",
        node="alto",
    )
    assert (source.node, source.unit) == ("alto", "CLP/MWh")
    assert source.price_at(datetime(2024, 1, 1, 1, 30, tzinfo=UTC)) == 50_500.0


FIRST = "2024-01-01T00:00:00Z,1\n2024-01-01T01:00:00Z,2\n"


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (HEADER + FIRST + "2024-01-01T01:00:00Z,3\n", MarketError, r"line 4.*repeats.*line 3"),
        (HEADER + FIRST + "2023-12-31T01:00:00Z,3\n", MarketError, r"line 4.*earlier than line 3"),
        (HEADER + FIRST + "2024-01-01T02:00:00,3\n", MarketError, r"line 4.*with a zone"),
        (HEADER + FIRST + "yesterday,3\n", MarketError, r"line 4.*'yesterday'"),
        (HEADER + FIRST + "2024-01-01T02:00:00Z,abc\n", MarketError, r"line 4.*'abc'"),
        (HEADER + FIRST + "2024-01-01T02:00:00Z,nan\n", MarketError, r"line 4.*not a number"),
        (
            HEADER + FIRST + "2024-01-01T02:30:00Z,3\n",
            MarketError,
            r"line 4.*whole number of steps",
        ),
        (HEADER + FIRST + "2024-01-01T02:00:00Z\n", MarketError, r"line 4.*too few cells"),
        (HEADER + "2024-01-01T00:00:00Z,1\n", MarketError, "at least two rows"),
        (HEADER, MarketError, "at least two rows"),
        ("", ConfigError, "line 1.*needs a column"),
        ("timestamp_utc,price\n" + FIRST, ConfigError, r"line 1.*currency and unit"),
        ("time,price_usd_per_mwh\n" + FIRST, ConfigError, r"line 1.*timestamp_utc"),
    ],
)
def test_a_bad_file_is_one_line_that_says_where(
    tmp_path: Path, text: str, kind: type[BessaiError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_line_numbers_count_blank_lines(tmp_path: Path) -> None:
    with pytest.raises(MarketError, match="line 5"):
        read(tmp_path, HEADER + FIRST + "\n" + "2024-01-01T02:00:00Z,abc\n")


def test_path_is_required_and_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"market\.path: is required"):
        open_market(MarketConfig(source="csv"))
    with pytest.raises(ConfigError, match=r"no such file.*gone\.csv"):
        open_market(MarketConfig(source="csv", path=str(tmp_path / "gone.csv")))


def test_binary_file_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_bytes(b"\xff\xfe\x00\x01" * 10)
    with pytest.raises(ConfigError, match="cannot be read"):
        open_market(MarketConfig(source="csv", path=str(path)))
