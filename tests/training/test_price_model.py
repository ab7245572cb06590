from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from bessai.backtest.arbitrage import Battery, Rolling, run_arbitrage
from bessai.config import MarketConfig
from bessai.config.load import registry_root
from bessai.forecast import load_price_model
from bessai.forecast.params import SeasonalParams
from bessai.markets import PriceSeries, open_market, past_prices
from bessai.modelstore import ModelStore
from bessai.policies.linear import LinearPolicy
from tests.support.prices import START, daily_shape
from training.fit import Split, choose, evaluate, pinball
from training.price_model import main

ROOT = Path(__file__).resolve().parents[2]
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SHORT = ["--train-start", "2023-07-01", "--train-end", "2023-10-31", "--test-end", "2023-11-20"]


def silent(line: str) -> None:
    assert "\n" not in line


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A whole job in a process of its own, as a Ray job runs it: its output folder and text."""
    folder = tmp_path_factory.mktemp("job")
    done = subprocess.run(
        [sys.executable, "-m", "training.price_model", *SHORT, "--promote", "--out", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_job_stores_a_version_that_serves(trained: tuple[Path, str]) -> None:
    store = ModelStore(trained[0])
    card = store.load("price", store.champion("price"))
    assert card.version == "crucero_220-2023-10-31"
    assert card.data.train_end == card.data.test_start == datetime(2023, 11, 1, tzinfo=UTC)
    assert card.data.test_end == datetime(2023, 11, 21, tzinfo=UTC)
    assert {"mae_per_mwh", "pinball_per_mwh", "coverage_p10_p90_pct"} <= set(card.metrics)
    assert card.metrics["mae_per_mwh"] < card.metrics["mae_naive_168h_per_mwh"]
    model = load_price_model(store.champion_folder("price"))
    assert model.params.version == card.version
    assert any(margin != 0 for margin in model.params.margin_low)


def test_the_job_shows_progress_and_a_summary(trained: tuple[Path, str]) -> None:
    text = trained[1]
    assert "choose on 2023-07-01 .. 2023-11-01" in text
    assert "mae_naive_24h_per_mwh" in text
    assert "wrote " in text.splitlines()[-1]


def test_a_second_run_refuses_to_overwrite(
    trained: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SHORT, "--out", str(trained[0])]) == 2
    assert "never overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--node", "nowhere"], "market.node"),
        (["--train-end", "tomorrow"], "--train-end: is not a day; got 'tomorrow'"),
        (["--train-end", "2022-04-01"], "--train-end: leaves less than 120 days"),
        (["--train-end", "2030-01-01"], "prices run from 2022-01-01 to 2024-07-15"),
        (["--test-end", "2024-01-05"], "--test-end: leaves less than 14 days"),
        (["--publication-delay-h", "-1"], "--publication-delay-h: must be 0 to 72"),
        (["--version", "../x"], "version: is not a usable name"),
        (["--source", "csv"], "market.path: is required"),
    ],
)
def test_bad_input_is_one_line_and_a_code(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_prices_after_the_training_period_do_not_change_what_is_chosen() -> None:
    source = daily_shape(130, noise=30.0)
    end = START + 100 * DAY
    values = source.values.copy()
    values[100 * 24 :] = -999.0
    poisoned = PriceSeries("t", "test", "USD", "USD/MWh", START, HOUR, values)
    split = Split(START + 60 * DAY, end, end, START + 130 * DAY)
    clean = choose(source, split, "1", HOUR, silent)
    assert clean == choose(poisoned, split, "1", HOUR, silent)
    assert clean.floor == 0.0


def test_margins_make_the_band_hold_eighty_percent() -> None:
    rng = np.random.default_rng(11)
    values = 100 + rng.normal(0, 25, 24 * 190)
    source = PriceSeries("t", "test", "USD", "USD/MWh", START, HOUR, values)
    split = Split(START + 50 * DAY, START + 140 * DAY, START + 140 * DAY, START + 190 * DAY)
    chosen = choose(source, split, "1", HOUR, silent)
    scores = evaluate(source, chosen, split.test_start, split.test_end, HOUR)
    assert 0.76 < scores.coverage < 0.84
    assert scores.coverage + scores.below + scores.above == pytest.approx(1.0)


def test_evaluation_asks_the_model_what_serving_asks() -> None:
    source = open_market(MarketConfig())
    model = load_price_model(ModelStore(registry_root() / "models").champion_folder("price"))
    start = datetime(2024, 3, 1, tzinfo=UTC)
    scores = evaluate(source, model.params, start, start + 3 * DAY, HOUR)
    errors = []
    for k in range(49):
        forecast = model.forecast(past_prices(source, start + k * HOUR, HOUR), 24)
        actual = source.prices_between(forecast.start, forecast.start + DAY)
        errors.append(np.abs(forecast.p50 - actual))
    assert scores.n_forecasts == 49
    assert scores.mae == pytest.approx(float(np.nanmean(errors)), rel=1e-9)


def test_pinball_by_hand() -> None:
    bands = np.array([[[90.0]], [[100.0]], [[120.0]]])
    assert pinball(bands, np.array([[110.0]])) == pytest.approx(
        (0.1 * 20 + 0.5 * 10 + 0.1 * 10) / 3
    )
    assert np.isnan(pinball(bands, np.array([[np.nan]])))


def test_the_trained_model_earns_most_of_what_foresight_would() -> None:
    source = open_market(MarketConfig())
    model = load_price_model(ModelStore(registry_root() / "models").champion_folder("price"))
    rolling = Rolling(model.forecast, LinearPolicy().plan_now)
    start = datetime(2024, 5, 21, 17, tzinfo=UTC)
    outcome = run_arbitrage(source, Battery(), rolling, start, start + 7 * DAY)
    assert 0.7 < outcome.capture < 1.0


def test_parameters_are_free_of_units() -> None:
    small, large = daily_shape(120, noise=30.0), daily_shape(120, noise=30.0)
    scaled = PriceSeries("t", "test", "CLP", "CLP/MWh", START, HOUR, large.values * 900.0)
    params = SeasonalParams(version="1", node="test", unit="USD/MWh", margin_low=(0.2,) * 24)
    span = (START + 100 * DAY, START + 110 * DAY)
    one, other = (evaluate(s, params, *span, HOUR) for s in (small, scaled))
    assert other.mae == pytest.approx(900 * one.mae)
    assert other.coverage == one.coverage
