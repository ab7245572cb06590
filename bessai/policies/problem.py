"""The arbitrage problem of many sites as arrays, shared by solver, policies and back-tests.

Maximise, per site, over steps ``t`` of ``hours[t]`` hours::

    sum_t hours[t] * (price[t] * (d[t] - c[t]) - wear * d[t]) + terminal * e[T]
    e[t] = e[t-1] + eta * hours[t] * c[t] - hours[t] * d[t] / eta,   eta = sqrt(round trip)
    0 <= c <= max_charge,  0 <= d <= max_discharge,  e_low[t] <= e[t] <= e_high[t]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bessai.model import DispatchRequest

Floats = NDArray[np.float64]
SOLVER_NOISE = 1e-7


@dataclass(frozen=True, slots=True)
class Problem:
    """Arbitrage of ``n_sites`` batteries over ``n_steps`` steps with one price series.

    Attributes:
        hours: Shape ``(n_steps,)``, length of each step.
        price_per_kwh: Shape ``(n_steps,)``.
        energy_kwh: Shape ``(n_sites,)``, stored energy at the start.
        energy_low_kwh, energy_high_kwh: Shape ``(n_sites, n_steps)``, band at each step's end.
        charge_kw, discharge_kw: Shape ``(n_sites,)``, AC limits, both positive.
        one_way: Shape ``(n_sites,)``, efficiency of one way, in (0, 1].
        wear_per_kwh: Shape ``(n_sites,)``, cost of each AC kWh discharged.
        terminal_per_kwh: Shape ``(n_sites,)``, worth of each kWh stored at the end.
    """

    hours: Floats
    price_per_kwh: Floats
    energy_kwh: Floats
    energy_low_kwh: Floats
    energy_high_kwh: Floats
    charge_kw: Floats
    discharge_kw: Floats
    one_way: Floats
    wear_per_kwh: Floats
    terminal_per_kwh: Floats

    @property
    def n_sites(self) -> int:
        """Number of batteries."""
        return int(self.energy_kwh.size)

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return int(self.hours.size)

    def burns(self) -> NDArray[np.bool_]:
        """Where charging and discharging at once would pay, ``(n_sites, n_steps)``.

        One kWh bought and its round trip sold back earns ``-p (1 - rte) - wear rte``; a real
        inverter cannot do both, so these steps need a binary choice.
        """
        round_trip = (self.one_way**2)[:, None]
        gain = -self.price_per_kwh * (1 - round_trip) - self.wear_per_kwh[:, None] * round_trip
        worth: NDArray[np.bool_] = gain > 1e-12
        return worth

    def power_kw(self, energy_kwh: Floats) -> Floats:
        """Mean AC power that moves the stored energy along ``energy_kwh``, + discharge.

        Args:
            energy_kwh: Shape ``(n_sites, n_steps)``, stored energy at each step's end.
        """
        before = np.column_stack([self.energy_kwh, energy_kwh[:, :-1]])
        moved = energy_kwh - before
        noise = SOLVER_NOISE * np.maximum(1.0, np.abs(energy_kwh))
        rate = np.where(np.abs(moved) > noise, moved, 0.0) / self.hours
        eta = self.one_way[:, None]
        power = np.where(rate > 0, -rate / eta, -rate * eta)
        limited: Floats = np.clip(power, -self.charge_kw[:, None], self.discharge_kw[:, None])
        return limited + 0.0  # -0.0 would read as a command

    def revenue(self, power_kw: Floats) -> Floats:
        """Money net of wear, without the terminal worth, ``(n_sites,)``."""
        wear = np.maximum(power_kw, 0) * self.wear_per_kwh[:, None]
        total: Floats = ((power_kw * self.price_per_kwh - wear) * self.hours).sum(axis=1)
        return total


def energy_band(
    energy_kwh: Floats, low_kwh: Floats, high_kwh: Floats, charge_kwh: Floats, discharge_kwh: Floats
) -> tuple[Floats, Floats]:
    """The band per step, opened where a battery starts outside it so that a plan always exists.

    Outside, the band forces the way back at full power, and no more than the power allows.

    Args:
        energy_kwh: Shape ``(n_sites,)``, stored energy at the start.
        low_kwh: Shape ``(n_sites,)``, lower end of the wanted band.
        high_kwh: Shape ``(n_sites,)``, its upper end.
        charge_kwh: Shape ``(n_sites, n_steps)``, most energy stored by the end of each step.
        discharge_kwh: Shape ``(n_sites, n_steps)``, most energy taken by the end of each step.
    """
    start = energy_kwh[:, None]
    low = np.minimum(low_kwh[:, None], start + charge_kwh)
    high = np.maximum(high_kwh[:, None], start - discharge_kwh)
    return low, np.maximum(high, low)


def to_problem(
    request: DispatchRequest, hours: Floats, price_per_mwh: Floats, terminal_per_mwh: Floats
) -> Problem:
    """The problem of a request over the steps that are left of its horizon.

    Args:
        request: Sites with usable values (positive capacity, efficiency in (0, 100]).
        hours: Shape ``(n_steps,)``, the first one shortened to what is left of its step.
        price_per_mwh: Shape ``(n_steps,)``.
        terminal_per_mwh: Shape ``(n_sites,)``, worth of stored energy at the end.
    """
    capacity = request.capacity_kwh
    one_way = np.sqrt(request.round_trip_efficiency_pct / 100)
    energy = np.clip(request.soc_pct, 0, 100) / 100 * capacity
    past_h = np.cumsum(hours)
    low, high = energy_band(
        energy,
        request.soc_min_pct / 100 * capacity,
        request.soc_max_pct / 100 * capacity,
        np.outer(request.max_charge_kw * one_way, past_h),
        np.outer(request.max_discharge_kw / one_way, past_h),
    )
    return Problem(
        hours=hours,
        price_per_kwh=price_per_mwh / 1000,
        energy_kwh=energy,
        energy_low_kwh=low,
        energy_high_kwh=high,
        charge_kw=request.max_charge_kw,
        discharge_kw=request.max_discharge_kw,
        one_way=one_way,
        wear_per_kwh=request.wear_cost_per_mwh / 1000,
        terminal_per_kwh=terminal_per_mwh / 1000,
    )
