"""An arbitrage optimum found by enumeration, independent of any solver."""

from __future__ import annotations

import itertools
import math
from functools import cache

from bessai.policies.problem import Problem


def best_value(problem: Problem) -> float:
    """Optimum of a one-site problem, terminal worth included.

    An optimal path of the stored energy moves between finitely many levels: a bound or the
    start, plus and minus whole full-power steps. Searching all of them is exact.
    """
    levels = _levels(problem)
    eta, wear = float(problem.one_way[0]), float(problem.wear_per_kwh[0])

    @cache
    def value(step: int, energy: float) -> float:
        if step == problem.n_steps:
            return float(problem.terminal_per_kwh[0]) * energy
        return max(
            (
                _earned(problem, step, (after - energy), eta, wear) + value(step + 1, after)
                for after in levels
                if _allowed(problem, step, energy, after)
            ),
            default=-math.inf,
        )

    return value(0, float(problem.energy_kwh[0]))


def _levels(problem: Problem) -> list[float]:
    eta, n = float(problem.one_way[0]), problem.n_steps
    first, later = float(problem.hours[0]), float(problem.hours[-1])
    up, down = float(problem.charge_kw[0]) * eta, float(problem.discharge_kw[0]) / eta
    bases = [float(problem.energy_kwh[0])]
    bases += [float(x) for x in (*problem.energy_low_kwh[0], *problem.energy_high_kwh[0])]
    counts = range(n + 1)
    firsts = (0.0, up * first, -down * first, -up * first, down * first)
    found = {
        round(base + shift + i * up * later - j * down * later, 9)
        for base, shift, i, j in itertools.product(bases, firsts, counts, counts)
    } | {
        round(base + shift - i * up * later + j * down * later, 9)
        for base, shift, i, j in itertools.product(bases, firsts, counts, counts)
    }
    return [*sorted(found), float(problem.energy_kwh[0])]


def _allowed(problem: Problem, step: int, before: float, after: float) -> bool:
    eta, hours, slack = float(problem.one_way[0]), float(problem.hours[step]), 1e-7
    low, high = problem.energy_low_kwh[0, step], problem.energy_high_kwh[0, step]
    up = float(problem.charge_kw[0]) * hours * eta
    down = float(problem.discharge_kw[0]) * hours / eta
    inside = low - slack <= after <= high + slack
    return bool(inside and -down - slack <= after - before <= up + slack)


def _earned(problem: Problem, step: int, change: float, eta: float, wear: float) -> float:
    price = float(problem.price_per_kwh[step])
    return -price * change / eta if change > 0 else (price - wear) * -change * eta
