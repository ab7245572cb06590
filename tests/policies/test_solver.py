from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessai.policies.highs import BLOCK_SITES, solve
from bessai.policies.problem import Problem, energy_band
from tests.support.exact_arbitrage import best_value


def make(
    prices: list[float],
    *,
    round_trip: float = 1.0,
    first_h: float = 1.0,
    energy: float = 50.0,
    charge: float = 50.0,
    discharge: float = 50.0,
    wear: float = 0.0,
    terminal: float = 0.0,
    n_sites: int = 1,
) -> Problem:
    hours = np.ones(len(prices))
    hours[0] = first_h
    eta = np.full(n_sites, np.sqrt(round_trip))
    start, one = np.full(n_sites, energy), np.ones(n_sites)
    low, high = energy_band(
        start,
        10.0 * one,
        90.0 * one,
        np.outer(charge * eta, np.cumsum(hours)),
        np.outer(discharge / eta, np.cumsum(hours)),
    )
    return Problem(
        hours=hours,
        price_per_kwh=np.array(prices) / 1000,
        energy_kwh=start,
        energy_low_kwh=low,
        energy_high_kwh=high,
        charge_kw=charge * one,
        discharge_kw=discharge * one,
        one_way=eta,
        wear_per_kwh=wear / 1000 * one,
        terminal_per_kwh=terminal / 1000 * one,
    )


def value_of(problem: Problem) -> float:
    energy = solve(problem)
    money = problem.revenue(problem.power_kw(energy))
    return float(money[0] + problem.terminal_per_kwh[0] * energy[0, -1])


problems = st.builds(
    make,
    st.lists(st.integers(-600, 500).map(float), min_size=1, max_size=4),
    round_trip=st.sampled_from([1.0, 0.9, 0.64]),
    first_h=st.sampled_from([1.0, 0.5, 0.01]),
    energy=st.sampled_from([0.0, 4.0, 10.0, 33.0, 90.0, 97.0]),
    charge=st.sampled_from([0.0, 30.0, 50.0]),
    discharge=st.sampled_from([0.0, 20.0, 50.0]),
    wear=st.sampled_from([0.0, 10.0, 80.0]),
    terminal=st.sampled_from([0.0, 60.0]),
)


@settings(max_examples=120, deadline=None)
@given(problems)
def test_the_plan_is_worth_exactly_the_optimum(problem: Problem) -> None:
    assert value_of(problem) == pytest.approx(best_value(problem), abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(problems)
def test_power_and_energy_stay_inside_every_limit(problem: Problem) -> None:
    energy = solve(problem)
    power = problem.power_kw(energy)
    assert (power <= problem.discharge_kw[:, None]).all()
    assert (power >= -problem.charge_kw[:, None]).all()
    assert (energy >= problem.energy_low_kwh).all()
    assert (energy <= problem.energy_high_kwh).all()
    eta = problem.one_way[:, None]
    change = np.where(power < 0, -power * eta, -power / eta) * problem.hours
    rolled = problem.energy_kwh[:, None] + np.cumsum(change, axis=1)
    np.testing.assert_allclose(rolled, energy, atol=1e-3)


def test_a_very_negative_price_does_not_charge_and_discharge_at_once() -> None:
    # Full battery, paid 600 for each MWh taken: a linear program would burn energy in a circle.
    problem = make([-600.0, 50.0], round_trip=0.64, energy=90.0, wear=10.0)
    assert problem.burns().tolist() == [[True, False]]
    power = problem.power_kw(solve(problem))
    assert power[0, 0] >= -1e-6
    assert value_of(problem) == pytest.approx(best_value(problem), abs=1e-6)


def test_blocks_of_sites_equal_sites_alone() -> None:
    rng = np.random.default_rng(5)
    prices = rng.uniform(-40, 200, 24).tolist()
    n = BLOCK_SITES * 2 + 3
    many = make(prices, round_trip=0.9, wear=10.0, n_sites=n)
    one = make(prices, round_trip=0.9, wear=10.0)
    money = many.revenue(many.power_kw(solve(many)))
    np.testing.assert_allclose(money, value_of(one), atol=1e-6)


def test_a_sliver_of_a_step_keeps_the_limits() -> None:
    problem = make([500.0, 0.0, 500.0], first_h=1e-6)
    power = problem.power_kw(solve(problem))
    assert (np.abs(power) <= 50.0).all()
    assert value_of(problem) == pytest.approx(500 * 0.05, abs=0.001)
