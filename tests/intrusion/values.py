"""Limits, telemetry and small forests for the tests of this room."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np

from bessai.intrusion.model import IntrusionModel
from bessai.model import SiteId, SiteLimits, Telemetry
from bessai.units import MonotonicS

LIMITS = SiteLimits(
    capacity_kwh=10.0,
    max_charge_kw=5.0,
    max_discharge_kw=5.0,
    soc_min_pct=10.0,
    soc_max_pct=95.0,
    temperature_min_c=0.0,
    temperature_max_c=50.0,
    export_limit_kw=math.inf,
    import_limit_kw=math.inf,
    round_trip_efficiency_pct=90.0,
    ramp_kw_per_s=5.0,
    max_age_s=10.0,
)

STILL = Telemetry(
    site_id=SiteId("north"),
    measured_at=MonotonicS(0.0),
    soc_pct=50.0,
    capacity_kwh=10.0,
    active_power_kw=0.0,
    grid_power_kw=0.0,
    temperature_c=20.0,
    charge_limit_kw=5.0,
    discharge_limit_kw=5.0,
    exported_wh=1_000_000,
    imported_wh=2_000_000,
    battery_status="running",
    inverter_status="on-grid",
    commanded_kw=0.0,
)


def at(second: float, **changes: object) -> Telemetry:
    """A battery at rest, read at ``second``, but for ``changes``."""
    return replace(STILL, measured_at=MonotonicS(second), **changes)  # type: ignore[arg-type]


@cache
def small_model() -> IntrusionModel:
    """A model of two short clean days; trained once per process."""
    from training.intrusion import choose, fit
    from training.intrusion_features import Job, day_of

    days = [day_of(Job(1000 + k), 1500) for k in range(2)]
    return choose(fit(days, 1), days, "test", lambda _: None)


def random_samples(n: int, seed: int = 3) -> np.ndarray:
    """Scaled features of any size, in and beyond what training saw."""
    rng = np.random.default_rng(seed)
    from bessai.intrusion.features import FEATURES

    return np.asarray(rng.uniform(-1.0, 9.0, (n, len(FEATURES))))
