"""Split a fleet's target over its sites: power is conserved, no site leaves its bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Split:
    """Setpoints in kW, + discharge, shape ``(n_sites,)``.

    ``shortfall_kw`` is the part of the target that the bounds do not allow, with the target's
    sign convention: ``sum(setpoints_kw) + shortfall_kw`` is the target.
    """

    setpoints_kw: Column
    shortfall_kw: float


def split_target(target_kw: float, lower_kw: Column, upper_kw: Column) -> Split:
    """Share ``target_kw`` in proportion to each site's headroom.

    Every site starts at the allowed power nearest to 0 and moves by the same fraction of its
    way to the bound in the wanted direction, so all sites reach their bounds together and none
    works while another rests.

    Args:
        target_kw: Wanted sum, + discharge/export.
        lower_kw: Lowest allowed power per site, ``(n_sites,)``.
        upper_kw: Highest allowed power per site, ``(n_sites,)``.

    Raises:
        ValueError: a number is not finite, or a lower bound is above its upper bound.
    """
    _check(target_kw, lower_kw, upper_kw)
    base = np.clip(np.zeros_like(lower_kw), lower_kw, upper_kw)
    wanted = target_kw - float(base.sum())
    room = (upper_kw if wanted > 0 else lower_kw) - base
    total = float(room.sum())
    fraction = min(wanted / total, 1.0) if total else 0.0
    setpoints = np.clip(base + fraction * room, lower_kw, upper_kw)
    return Split(setpoints_kw=setpoints, shortfall_kw=target_kw - float(setpoints.sum()))


def _check(target_kw: float, lower_kw: Column, upper_kw: Column) -> None:
    if lower_kw.shape != upper_kw.shape or lower_kw.ndim != 1:
        raise ValueError("lower_kw and upper_kw must share one shape (n_sites,)")
    finite = np.isfinite(target_kw) and np.isfinite(lower_kw).all() and np.isfinite(upper_kw).all()
    if not finite or bool((lower_kw > upper_kw).any()):
        raise ValueError("bounds must be finite, with lower_kw at most upper_kw")
