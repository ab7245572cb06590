"""The one seam to HiGHS: a problem in, stored energy per step out.

Sites do not share anything, so the matrix is block diagonal; a block of some tens of sites is
one solver call, which saves the call's fixed cost without the growth of one huge problem.
The variables are energies per step, so that a step of a few seconds does not spoil the scaling.
"""

from __future__ import annotations

from typing import Final

import highspy
import numpy as np
from numpy.typing import NDArray

from bessai.errors import ModelError
from bessai.policies.problem import Floats, Problem
from bessai.units import KWH_PER_MWH

BLOCK_SITES: Final = 16
TIME_LIMIT_S: Final = 10.0
TIE_BREAK_PER_MWH: Final = 1e-4
LATE_PER_MWH: Final = 1e-3
"""Of two plans worth the same, the one that moves less energy wins, then the one that buys
later: in a row of zero prices, waiting keeps the choice (1 point of capture on 2023 and 2024)."""
Ints = NDArray[np.int32]


def solve(problem: Problem) -> Floats:
    """Stored energy at each step's end that maximises the problem, ``(n_sites, n_steps)`` in kWh.

    Raises:
        ModelError: the solver found no optimum.
    """
    energy = np.empty((problem.n_sites, problem.n_steps))
    burns = problem.burns()
    hard = burns.any(axis=1)
    easy = np.flatnonzero(~hard)
    solver = _solver()
    for at in range(0, easy.size, BLOCK_SITES):
        sites = easy[at : at + BLOCK_SITES]
        energy[sites] = _run(solver, _linear_program(problem, sites), sites.size, problem.n_steps)
    # A search over binaries would multiply over the sites of a block: one site each.
    for site in np.flatnonzero(hard):
        program = _linear_program(problem, np.array([site]))
        _forbid_both_ways(program, problem, int(site), np.flatnonzero(burns[site]))
        energy[site] = _run(_solver(), program, 1, problem.n_steps)[0]
    return np.clip(energy, problem.energy_low_kwh, problem.energy_high_kwh)


def _solver() -> highspy.Highs:
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("time_limit", TIME_LIMIT_S)
    solver.setOptionValue("mip_rel_gap", 1e-9)
    return solver


def _run(solver: highspy.Highs, program: highspy.HighsLp, n_sites: int, n_steps: int) -> Floats:
    solver.clearModel()
    solver.passModel(program)
    solver.run()
    status = solver.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise ModelError(
            "HiGHS found no optimal schedule", value=solver.modelStatusToString(status)
        )
    columns = np.asarray(solver.getSolution().col_value)[: 3 * n_sites * n_steps]
    stored: Floats = columns.reshape(n_sites, 3, n_steps)[:, 2]
    return stored


def _linear_program(problem: Problem, sites: NDArray[np.intp]) -> highspy.HighsLp:
    """Columns per site: bought, sold, stored, each ``n_steps`` long; rows: the energy balance."""
    n, t = int(sites.size), problem.n_steps
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = 3 * n * t, n * t
    program.col_cost_ = _costs(problem, sites)
    program.col_lower_, program.col_upper_ = _column_bounds(problem, sites)
    start = np.zeros((n, t))
    start[:, 0] = problem.energy_kwh[sites]
    program.row_lower_ = program.row_upper_ = start.ravel()
    program.sense_ = highspy.ObjSense.kMaximize
    starts, rows, values = _matrix(problem.one_way[sites], t)
    matrix = program.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kColwise
    matrix.num_col_, matrix.num_row_ = program.num_col_, program.num_row_
    matrix.start_, matrix.index_, matrix.value_ = starts, rows, values
    return program


def _costs(problem: Problem, sites: NDArray[np.intp]) -> Floats:
    costs = np.zeros((sites.size, 3, problem.n_steps))
    costs[:, 0] = -problem.price_per_kwh
    costs[:, 1] = problem.price_per_kwh - problem.wear_per_kwh[sites, None]
    costs[:, 2, -1] = problem.terminal_per_kwh[sites]
    # Per MWh, so that the tie-breaks are well above the solver's dual tolerance of 1e-7.
    costs *= KWH_PER_MWH
    costs[:, :2] -= TIE_BREAK_PER_MWH
    costs[:, 0] -= LATE_PER_MWH * np.linspace(1, 0, problem.n_steps)
    return costs.ravel()


def _column_bounds(problem: Problem, sites: NDArray[np.intp]) -> tuple[Floats, Floats]:
    lower = np.zeros((sites.size, 3, problem.n_steps))
    upper = np.empty_like(lower)
    upper[:, 0] = np.outer(problem.charge_kw[sites], problem.hours)
    upper[:, 1] = np.outer(problem.discharge_kw[sites], problem.hours)
    lower[:, 2], upper[:, 2] = problem.energy_low_kwh[sites], problem.energy_high_kwh[sites]
    return lower.ravel(), upper.ravel()


def _matrix(one_way: Floats, t: int) -> tuple[Ints, Ints, Floats]:
    # stored[t] - stored[t-1] - eta bought[t] + sold[t] / eta = 0, the start on the right side.
    n = int(one_way.size)
    row = np.arange(t)
    pair_rows = np.column_stack([row, row + 1]).ravel()[:-1]
    rows = np.concatenate([row, row, pair_rows]) + (np.arange(n) * t)[:, None]
    values = np.empty(rows.shape)
    values[:, :t] = -one_way[:, None]
    values[:, t : 2 * t] = 1 / one_way[:, None]
    values[:, 2 * t :] = np.tile([1.0, -1.0], t)[:-1]
    counts = np.tile(np.concatenate([np.ones(2 * t), np.full(t - 1, 2), [1]]), n)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return starts, rows.ravel().astype(np.int32), values.ravel()


def _forbid_both_ways(
    program: highspy.HighsLp, problem: Problem, site: int, steps: NDArray[np.intp]
) -> None:
    """Add a binary per step, 1 for charging: bought <= most * b, sold <= most * (1 - b)."""
    t, extra = problem.n_steps, int(steps.size)
    most_bought = problem.charge_kw[site] * problem.hours[steps]
    most_sold = problem.discharge_kw[site] * problem.hours[steps]
    dense = _dense_rows(program, t)
    rows = np.zeros((2 * extra, 3 * t + extra))
    each = np.arange(extra)
    rows[each, steps] = rows[extra + each, t + steps] = 1.0
    rows[each, 3 * t + each], rows[extra + each, 3 * t + each] = -most_bought, most_sold
    _set_rows(program, np.vstack([np.hstack([dense, np.zeros((t, extra))]), rows]))
    program.col_cost_ = np.concatenate([program.col_cost_, np.zeros(extra)])
    program.col_lower_ = np.concatenate([program.col_lower_, np.zeros(extra)])
    program.col_upper_ = np.concatenate([program.col_upper_, np.ones(extra)])
    program.row_lower_ = np.concatenate(
        [program.row_lower_, np.full(2 * extra, -highspy.kHighsInf)]
    )
    program.row_upper_ = np.concatenate([program.row_upper_, np.zeros(extra), most_sold])
    kinds = [highspy.HighsVarType.kContinuous] * (3 * t) + [highspy.HighsVarType.kInteger] * extra
    program.integrality_ = kinds


def _dense_rows(program: highspy.HighsLp, t: int) -> Floats:
    dense = np.zeros((t, 3 * t))
    matrix = program.a_matrix_
    columns = np.repeat(np.arange(3 * t), np.diff(matrix.start_))
    dense[matrix.index_, columns] = matrix.value_
    return dense


def _set_rows(program: highspy.HighsLp, dense: Floats) -> None:
    program.num_row_, program.num_col_ = dense.shape
    columns, rows = np.nonzero(dense.T)
    matrix = program.a_matrix_
    matrix.num_row_, matrix.num_col_ = dense.shape
    matrix.start_ = np.searchsorted(columns, np.arange(dense.shape[1] + 1)).astype(np.int32)
    matrix.index_ = rows.astype(np.int32)
    matrix.value_ = dense[rows, columns]
