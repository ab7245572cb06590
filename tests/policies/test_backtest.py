from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from bessai.backtest.arbitrage import (
    Battery,
    Rolling,
    net_revenue,
    perfect_foresight,
    run_arbitrage,
)
from bessai.errors import MarketError
from bessai.forecast import SeasonalModel
from bessai.forecast.params import SeasonalParams
from bessai.policies.linear import LinearPolicy
from tests.support.prices import HOUR, START, daily_shape, series

MODEL = SeasonalModel(SeasonalParams(version="1", node="test", unit="USD/MWh", floor=0.0))
ROLLING = Rolling(MODEL.forecast, LinearPolicy().plan_now)
DAY = timedelta(days=1)


def test_a_day_that_repeats_is_captured_whole() -> None:
    outcome = run_arbitrage(daily_shape(40), Battery(), ROLLING, START + 36 * DAY, START + 39 * DAY)
    assert outcome.capture > 0.9
    assert outcome.net <= outcome.perfect_net + 1e-6


def test_perfect_foresight_by_hand() -> None:
    # From 10 %: 160 kWh bought at 0 for two hours, sold at 100 less 10 wear in two hours.
    source = series(np.array([0.0, 0.0, 100.0, 100.0]))
    battery = Battery(soc_start_pct=10.0, round_trip_efficiency_pct=100.0)
    assert perfect_foresight(source, battery, START, START + 4 * HOUR) == pytest.approx(14.4)


def test_a_step_without_a_price_earns_nothing_on_either_side() -> None:
    source = daily_shape(40)
    values = source.values.copy()
    values[36 * 24 + 23] = np.nan
    holed = series(values)
    start, end = START + 36 * DAY, START + 37 * DAY
    whole, gap = (run_arbitrage(s, Battery(), ROLLING, start, end) for s in (source, holed))
    assert (whole.n_unpriced, gap.n_unpriced) == (0, 1)
    assert gap.perfect_net < whole.perfect_net
    assert gap.net < whole.net


def test_revenue_skips_missing_prices_and_charges_wear_on_discharge_only() -> None:
    power = np.array([-10.0, 10.0, 10.0])
    price = np.array([20.0, 120.0, np.nan])
    assert net_revenue(power, price, 0.5, 10.0) == pytest.approx((-200 + 1100) * 0.5 / 1000)


def test_planning_less_often_earns_no_more_on_noisy_prices() -> None:
    source = daily_shape(60, noise=40.0)
    often = run_arbitrage(source, Battery(), ROLLING, START + 36 * DAY, START + 50 * DAY)
    rarely = run_arbitrage(
        source, Battery(), replace(ROLLING, replan_steps=24), START + 36 * DAY, START + 50 * DAY
    )
    assert 0 < rarely.capture <= often.capture + 0.03 < 1.03


def test_a_period_without_prices_is_refused() -> None:
    with pytest.raises(MarketError, match="no price between"):
        run_arbitrage(daily_shape(10), Battery(), ROLLING, START + 20 * DAY, START + 21 * DAY)
