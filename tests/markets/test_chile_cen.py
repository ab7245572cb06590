from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from bessai.config import MarketConfig
from bessai.errors import ConfigError, MarketError
from bessai.markets import PriceSeries, open_market


@pytest.fixture(scope="module")
def crucero() -> PriceSeries:
    source = open_market(MarketConfig())
    assert isinstance(source, PriceSeries)
    return source


def test_covers_2022_to_the_middle_of_2024(crucero: PriceSeries) -> None:
    assert crucero.coverage == (
        datetime(2022, 1, 1, tzinfo=UTC),
        datetime(2024, 7, 15, 4, tzinfo=UTC),
    )
    assert (crucero.currency, crucero.unit, crucero.step) == ("USD", "USD/MWh", timedelta(hours=1))


def test_prices_are_exact_to_the_cent(crucero: PriceSeries) -> None:
    assert crucero.price_at(datetime(2024, 5, 23, 0, 59, tzinfo=UTC)) == 289.42
    assert crucero.price_at(datetime(2022, 1, 1, tzinfo=UTC)) is not None


def test_the_hour_that_the_source_lost_is_missing_not_zero(crucero: PriceSeries) -> None:
    lost = datetime(2024, 4, 7, 4, tzinfo=UTC)
    assert crucero.price_at(lost) is None
    around = crucero.prices_between(lost - timedelta(hours=1), lost + timedelta(hours=2))
    assert np.isnan(around).tolist() == [False, True, False]


def test_three_hours_are_missing_in_all(crucero: PriceSeries) -> None:
    assert int(np.isnan(crucero.values).sum()) == 3


def test_unknown_node_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"market\.node.*'quillota'.*crucero_220"):
        open_market(MarketConfig(node="quillota"))


def test_unknown_source_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"market\.source.*'nowhere'.*chile_cen, csv"):
        open_market(MarketConfig(source="nowhere"))


def test_a_helper_module_is_not_a_source() -> None:
    with pytest.raises(ConfigError, match="not one of the known markets"):
        open_market(MarketConfig(source="series"))


def test_missing_bundle_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BESSAI_DATA", str(tmp_path))
    with pytest.raises(MarketError, match="bundled prices cannot be read") as caught:
        open_market(MarketConfig())
    assert "\n" not in str(caught.value)
