from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessai.config import MarketConfig
from bessai.config.load import registry_root
from bessai.errors import ModelError
from bessai.forecast import LocalForecast, SeasonalModel, load_price_model
from bessai.forecast.params import SeasonalParams
from bessai.markets import PriceSeries, open_market, past_prices
from bessai.model import PastPrices, QuantileForecast
from bessai.modelstore import ModelStore
from tests.support.prices import HOUR, START, daily_shape, series

MODEL = SeasonalModel(SeasonalParams(version="1", node="test", unit="USD/MWh", floor=0.0))
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def crucero() -> PriceSeries:
    source = open_market(MarketConfig())
    assert isinstance(source, PriceSeries)
    return source


@pytest.fixture(scope="module")
def champion() -> SeasonalModel:
    return load_price_model(ModelStore(registry_root() / "models").champion_folder("price"))


def ask(source: PriceSeries, as_of: datetime, model: SeasonalModel = MODEL) -> QuantileForecast:
    return model.forecast(past_prices(source, as_of, HOUR), 24)


def test_learns_the_shape_of_a_day() -> None:
    forecast = ask(daily_shape(40), START + 38 * DAY + 5 * HOUR)
    assert forecast.start == START + 38 * DAY + 5 * HOUR
    expected = daily_shape(40).prices_between(forecast.start, forecast.start + DAY)
    np.testing.assert_allclose(forecast.p50, expected, atol=1e-9)
    assert forecast.degraded is None


@pytest.mark.parametrize("minute", [0, 1, 30, 59])
def test_the_first_step_covers_the_question(minute: int) -> None:
    as_of = START + 38 * DAY + timedelta(minutes=minute)
    forecast = ask(daily_shape(40), as_of)
    assert forecast.start == START + 38 * DAY
    assert (forecast.issued_at, forecast.n_steps) == (as_of, 24)
    assert forecast.available_at <= as_of


def test_quarter_hours_work_too() -> None:
    source = daily_shape(40, timedelta(minutes=15))
    past = past_prices(source, START + 38 * DAY + timedelta(minutes=20), timedelta(minutes=15))
    forecast = MODEL.forecast(past, 96)
    expected = source.prices_between(forecast.start, forecast.start + DAY)
    np.testing.assert_allclose(forecast.p50, expected, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    minute=st.integers(0, 200 * 24 * 60),
    poison=st.floats(0, 5000),
    delay_h=st.sampled_from([0, 1, 6, 24]),
)
def test_no_price_published_later_can_change_a_forecast(
    crucero: PriceSeries, champion: SeasonalModel, minute: int, poison: float, delay_h: int
) -> None:
    as_of = datetime(2023, 6, 1, tzinfo=UTC) + timedelta(minutes=minute)
    delay = timedelta(hours=delay_h)
    values = crucero.values.copy()
    # Counted from the end backwards, independent of how past_prices finds the last known step.
    at = values.size
    while crucero.start + crucero.step * at + delay > as_of:
        at -= 1
        values[at] = poison
    poisoned = PriceSeries(
        crucero.market, crucero.node, "USD", crucero.unit, crucero.start, crucero.step, values
    )
    clean = champion.forecast(past_prices(crucero, as_of, delay), 24)
    dirty = champion.forecast(past_prices(poisoned, as_of, delay), 24)
    np.testing.assert_array_equal(clean.p10, dirty.p10)
    np.testing.assert_array_equal(clean.p50, dirty.p50)
    np.testing.assert_array_equal(clean.p90, dirty.p90)
    assert clean.available_at == dirty.available_at <= as_of


def test_the_newest_published_price_does_change_it(
    crucero: PriceSeries, champion: SeasonalModel
) -> None:
    as_of = datetime(2024, 5, 20, 6, tzinfo=UTC)
    values = crucero.values.copy()
    values[(as_of - crucero.start) // HOUR - 2] += 150
    changed = PriceSeries("x", crucero.node, "USD", crucero.unit, crucero.start, HOUR, values)
    assert ask(crucero, as_of, champion).p50[0] < ask(changed, as_of, champion).p50[0]


def test_the_band_holds_about_what_it_says_on_unseen_2024(
    crucero: PriceSeries, champion: SeasonalModel
) -> None:
    origins = [datetime(2024, 1, 2, tzinfo=UTC) + timedelta(hours=29 * k) for k in range(150)]
    bands = [ask(crucero, origin, champion) for origin in origins]
    actual = np.stack([crucero.prices_between(f.start, f.start + DAY) for f in bands])
    low, middle, high = (np.stack([getattr(f, q) for f in bands]) for q in ("p10", "p50", "p90"))
    known = np.isfinite(actual)
    # A price of exactly 0 on the floor counts as inside, so noon covers more than 80 %.
    assert 0.78 < ((low <= actual) & (actual <= high))[known].mean() < 0.92
    assert 0.02 < (actual < low)[known].mean() < 0.14
    assert 0.04 < (actual > high)[known].mean() < 0.14
    lit = actual > 1
    assert 0.72 < ((low <= actual) & (actual <= high))[lit].mean() < 0.90
    naive = np.stack([crucero.prices_between(f.start - 2 * DAY, f.start - DAY) for f in bands])
    mae = np.nanmean(np.abs(middle - actual))
    assert mae < 0.9 * np.nanmean(np.abs(naive - actual))


def past_of(values: np.ndarray, late: timedelta = HOUR) -> PastPrices:
    source = series(values)
    return past_prices(source, source.coverage[1] + late, HOUR)


def test_a_gap_is_named_and_never_read_as_zero() -> None:
    values = np.full(35 * 24, 100.0)
    values[-30:-20] = np.nan
    forecast = MODEL.forecast(past_of(values), 24)
    assert forecast.degraded is not None
    assert "10 of 840 past prices are missing, 10 in the last 7 days" in forecast.degraded
    np.testing.assert_allclose(forecast.p10, 100.0)


def test_one_old_missing_hour_is_no_news() -> None:
    values = np.full(35 * 24, 100.0)
    values[100] = np.nan
    assert MODEL.forecast(past_of(values), 24).degraded is None


def test_short_history_and_old_prices_are_named() -> None:
    short = MODEL.forecast(past_of(np.full(5 * 24, 80.0)), 24)
    assert short.degraded == "history of 121 h is shorter than 28 days"
    old = MODEL.forecast(past_of(np.full(35 * 24, 80.0), late=timedelta(hours=40)), 24)
    assert old.degraded is not None
    assert "newest price was published 39 h ago" in old.degraded


def test_another_node_is_named_and_may_be_negative() -> None:
    other = SeasonalModel(MODEL.params.model_copy(update={"node": "elsewhere", "floor": 0.0}))
    forecast = other.forecast(past_of(np.full(35 * 24, -20.0)), 24)
    assert forecast.degraded == "calibrated on elsewhere in USD/MWh"
    assert forecast.p50.max() == pytest.approx(-20.0)


def test_a_time_of_day_without_any_price_is_guessed_and_named() -> None:
    source = daily_shape(35)
    values = source.values.copy()
    values[np.arange(values.size) % 24 == 6] = np.nan
    forecast = MODEL.forecast(past_of(values), 24)
    assert forecast.degraded is not None
    assert "1 steps have no price at their time of day" in forecast.degraded


@pytest.mark.parametrize("hours", [1, 47])
def test_fewer_than_48_hours_are_refused(hours: int) -> None:
    with pytest.raises(ModelError, match=r"needs 48 h of past prices.*start later"):
        MODEL.forecast(past_of(np.full(hours, 50.0)), 24)


def test_48_hours_are_enough() -> None:
    assert MODEL.forecast(past_of(np.full(48, 50.0)), 24).p50 == pytest.approx(50.0)


@pytest.mark.parametrize("steps", [0, -1, 24 * 14 + 1])
def test_an_unusable_horizon_is_refused(steps: int) -> None:
    with pytest.raises(ModelError, match="horizon"):
        MODEL.forecast(past_of(np.full(100, 50.0)), steps)


async def test_local_forecast_answers_like_its_model() -> None:
    past = past_of(np.full(35 * 24, 100.0))
    answer = await LocalForecast(MODEL).forecast(past, 24)
    assert answer.source == MODEL.source == "seasonal 1"
    np.testing.assert_array_equal(answer.p50, MODEL.forecast(past, 24).p50)


def test_a_model_survives_its_file(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(MODEL.params.model_dump_json())
    assert load_price_model(tmp_path) == MODEL


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a seasonal model"),
        ('{"kind": "other", "version": "1", "node": "n", "unit": "u"}', "kind"),
        ('{"version": "1", "node": "n", "unit": "u", "margin_low": [0.1]}', "24 hours"),
        ('{"version": "1", "node": "n", "unit": "u", "extra": 1}', "extra"),
    ],
)
def test_a_damaged_model_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ModelError, match=message) as caught:
        load_price_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_model_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"training\.price_model"):
        load_price_model(tmp_path)
