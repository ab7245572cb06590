from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.model import SiteLimits, Telemetry
from bessai.model.power import HOLD_BOUNDS
from bessai.safety import Outlook, Trace, envelope, nameplate, observe, validate_envelope
from bessai.safety.grid import GRID_CODES
from bessai.units import MonotonicS
from tests.support.site_strategies import outlooks, reads, site_limits, telemetries
from tests.support.site_values import LIMITS, telemetry_at


@given(reads(), site_limits(), outlooks)
def test_invariants_hold_for_anything_a_device_may_say(
    sequence: list[Telemetry], limits: SiteLimits, outlook: Outlook
) -> None:
    trace = Trace()
    for telemetry in sequence:
        trace = observe(trace, telemetry, limits, outlook.speed)
        assert rebuilt(trace) == trace
    result = envelope(sequence[-1], limits, outlook, trace)
    validate_envelope(result, limits)
    assert all(math.isfinite(v) for v in (result.bounds.lower_kw, result.bounds.upper_kw))
    if result.bounds != nameplate(limits):
        assert result.narrowings
    trusting = envelope(sequence[-1], limits, outlook)
    assert trusting.bounds.narrow(result.bounds) is not None
    if not result.codes & GRID_CODES:
        assert trusting.bounds.narrow(result.bounds) == result.bounds


def rebuilt(trace: Trace) -> Trace:
    """A trace that went through a record."""
    fields = json.loads(json.dumps(asdict(trace), allow_nan=False))
    fields["window"] = tuple(fields["window"])
    fields["findings"] = tuple(tuple(finding) for finding in fields["findings"])
    return Trace(**fields)


@given(telemetries(), site_limits(), outlooks)
def test_unknown_charge_never_allows_power(
    telemetry: Telemetry, limits: SiteLimits, outlook: Outlook
) -> None:
    result = envelope(replace(telemetry, soc_pct=None), limits, outlook)
    assert result.bounds == HOLD_BOUNDS


@pytest.mark.parametrize("speed", [1.0, 600.0, 3600.0])
@pytest.mark.parametrize("direction", [1, -1])
@given(
    start=st.floats(10, 95),
    read_s=st.floats(0, 0.3),
    capacity=st.floats(2, 30),
)
def test_stepping_the_exact_energy_never_crosses_a_limit_and_does_not_chatter(
    speed: float, direction: int, start: float, read_s: float, capacity: float
) -> None:
    """Each second a read, ``read_s`` later a decision, again ``read_s`` later it takes effect."""
    limits = replace(LIMITS, capacity_kwh=capacity)
    one_way = math.sqrt(limits.round_trip_efficiency_pct / 100)
    soc, power, powers = start, 0.0, [0.0]

    def flow(real_s: float) -> float:
        dc_kw = power / one_way if power > 0 else power * one_way
        return soc - 100.0 * dc_kw * real_s * speed / 3600 / capacity

    for second in range(60):
        seen = telemetry_at(float(second), soc_pct=soc, active_power_kw=power, grid_power_kw=power)
        seen = replace(seen, capacity_kwh=capacity)
        outlook = Outlook(MonotonicS(second + read_s), 1.0, 2.0, speed, power)
        wish = envelope(seen, limits, outlook).bounds.clamp(direction * 5.0)
        soc = flow(2 * read_s)
        power = wish
        powers.append(power)
        soc = flow(1.0 - 2 * read_s)
        assert limits.soc_min_pct - 1e-9 <= soc <= limits.soc_max_pct + 1e-9
    falling = powers[powers.index(max(powers, key=abs)) :]
    assert all(abs(b) <= abs(a) + 1e-9 for a, b in pairwise(falling))
    if speed > 1:
        assert powers[-1] == 0.0
        assert len(set(powers)) < 20
