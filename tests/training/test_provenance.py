from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from bessai.config import MarketConfig
from bessai.errors import MarketError
from bessai.markets import open_market
from bessai.markets.chile_cen import bundled_path
from tests.support.prices import series
from training.provenance import data_used


def test_the_bundled_file_is_named_and_hashed() -> None:
    source = open_market(MarketConfig())
    path = bundled_path(source.node)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert data_used(MarketConfig(), source) == (path.name, expected)


def test_a_file_of_ones_own_is_named_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(b"prices")
    market = MarketConfig(source="csv", path=str(path))
    expected = hashlib.sha256(b"prices").hexdigest()
    assert data_used(market, series(np.ones(3))) == ("mine.csv", expected)
    with pytest.raises(MarketError, match=r"gone\.csv: cannot be read"):
        data_used(MarketConfig(path=str(tmp_path / "gone.csv")), series(np.ones(3)))


def test_a_source_without_a_file_is_known_by_its_prices_and_by_no_other_file() -> None:
    market = MarketConfig(source="other")
    one, again, other = (data_used(market, series(np.full(3, p))) for p in (1.0, 1.0, 2.0))
    assert one == again
    assert one[0] == other[0] == "test test"
    assert one[1] != other[1]
