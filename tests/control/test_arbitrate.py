from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.control.arbitrate import arbitrate, blockers, choose, live
from bessai.model import Bounds, Priority, Proposal, Setpoint
from bessai.safety import Envelope, envelope
from bessai.units import MonotonicS
from tests.support.site_values import LIMITS, OUTLOOK, proposal, telemetry_at

NOW = MonotonicS(100.0)
OPEN = Envelope(Bounds(-5.0, 5.0), ())
POLICY, SCHEDULE, TRADE, VPP, GRID, OPERATOR = (
    Priority.POLICY,
    Priority.SCHEDULE,
    Priority.TRADE,
    Priority.VPP_EVENT,
    Priority.GRID_OPERATOR,
    Priority.OPERATOR,
)


def decide(*proposals: Proposal, allowed: Envelope = OPEN) -> Setpoint:
    return arbitrate(choose(proposals, NOW), allowed, {})


@pytest.mark.parametrize(
    ("proposals", "power_kw", "source"),
    [
        ([], 0.0, "hold"),
        ([proposal(SCHEDULE, 4.0)], 4.0, "schedule"),
        ([proposal(SCHEDULE, 0.0)], 0.0, "schedule"),
        ([proposal(SCHEDULE, 4.0), proposal(POLICY, -2.0)], 4.0, "schedule"),
        ([proposal(SCHEDULE, 4.0), proposal(VPP, 1.0, (0.0, 2.0))], 2.0, "vpp_event"),
        ([proposal(SCHEDULE, 1.5), proposal(VPP, 1.0, (0.0, 2.0))], 1.5, "schedule"),
        ([proposal(SCHEDULE, -5.0), proposal(VPP, 4.0, (3.0, 5.0))], 3.0, "vpp_event"),
        ([proposal(VPP, 4.0, (3.0, 5.0))], 4.0, "vpp_event"),
        ([proposal(VPP, 9.0, (3.0, 4.5))], 4.5, "vpp_event"),
        ([proposal(GRID, 0.0, (-1.0, 1.0)), proposal(VPP, 4.0)], 1.0, "grid_operator"),
        (
            [proposal(GRID, 0, (-1, 1)), proposal(VPP, 4, (3, 5)), proposal(SCHEDULE, 0.5)],
            0.5,
            "schedule",
        ),
        (
            [proposal(GRID, 0, (-4, 4)), proposal(VPP, 3, (2, 5)), proposal(SCHEDULE, 5)],
            4.0,
            "grid_operator",
        ),
        ([proposal(OPERATOR, 0.0), proposal(VPP, 4.0), proposal(SCHEDULE, 5.0)], 0.0, "operator"),
        ([proposal(VPP, 4.0, expires_at=100.0), proposal(SCHEDULE, 1.0)], 1.0, "schedule"),
        ([proposal(VPP, math.nan), proposal(SCHEDULE, 1.0)], 1.0, "schedule"),
    ],
)
def test_who_decides(proposals: list[Proposal], power_kw: float, source: str) -> None:
    for order in (proposals, proposals[::-1]):
        setpoint = decide(*order)
        assert setpoint.power_kw == power_kw
        assert setpoint.source == source
        assert setpoint.cause_id == (None if source == "hold" else f"{source}-1")


def test_the_reason_of_an_ignored_proposal_is_said() -> None:
    setpoint = decide(proposal(GRID, 0, (-1, 1)), proposal(VPP, 4, (3, 5)), proposal(SCHEDULE, 0.5))
    assert setpoint.reason == (
        "schedule: discharge 0.50 kW; vpp event ignored: outside higher bounds"
    )


def test_a_limited_schedule_says_why() -> None:
    outlook = replace(OUTLOOK, speed=600.0, last_power_kw=0.5)
    allowed = envelope(telemetry_at(100.0, soc_pct=12.0), LIMITS, outlook)
    wish = proposal(SCHEDULE, 4.2)
    setpoint = arbitrate(choose([wish], NOW), allowed, {wish.cause_id: "until 21:00 UTC"})
    assert setpoint.power_kw == pytest.approx((0.2 * math.sqrt(0.9) - 0.5 / 15) * 3)
    assert setpoint.reason == (
        "schedule: discharge 4.2 kW until 21:00 UTC "
        "(limited to 0.47 kW: SoC near its lower limit of 10 %)"
    )


def test_bounds_of_a_higher_priority_are_named() -> None:
    setpoint = decide(proposal(SCHEDULE, -5.0), proposal(VPP, 4.0, (3.0, 5.0)))
    assert setpoint.reason == (
        "schedule: charge 5.0 kW (moved to discharge 3.0 kW: bounds of vpp event)"
    )


def test_safety_has_the_last_word_and_is_counted() -> None:
    stale = envelope(None, LIMITS, OUTLOOK)
    setpoint = decide(proposal(OPERATOR, 3.0), allowed=stale)
    assert setpoint.power_kw == 0.0
    assert setpoint.reason == "operator: discharge 3.0 kW (limited to 0.0 kW: no telemetry)"
    assert blockers(stale, 3.0) == ("stale_data",)
    assert blockers(stale, 0.0) == ()


def test_a_hold_serves_an_export_limit() -> None:
    site = replace(LIMITS, export_limit_kw=4.0)
    allowed = envelope(telemetry_at(100.0, grid_power_kw=6.0), site, OUTLOOK)
    setpoint = arbitrate(None, allowed, {}, idle="no schedule yet")
    assert setpoint.power_kw == -2.0
    assert setpoint.reason == (
        "hold: no schedule yet "
        "(moved to charge 2.0 kW: export limit 4 kW with +6.00 kW of other flow)"
    )


numbers = st.floats(-20, 20)


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    bounds = sorted([draw(numbers), draw(numbers)])
    return proposal(
        draw(st.sampled_from([POLICY, SCHEDULE, TRADE, VPP, GRID, OPERATOR])),
        draw(st.floats()),
        draw(st.sampled_from([None, (bounds[0], bounds[1])])),
        draw(st.floats(90, 110)),
    )


@given(st.lists(proposals(), max_size=6), st.floats(-5, 0), st.floats(0, 5))
def test_the_setpoint_is_always_allowed(some: list[Proposal], low: float, high: float) -> None:
    allowed = Envelope(Bounds(low, high), ())
    assert allowed.bounds.contains(decide(*some, allowed=allowed).power_kw, tolerance_kw=0.0)


@given(st.lists(proposals(), max_size=6))
def test_an_expired_proposal_has_no_effect(some: list[Proposal]) -> None:
    assert decide(*some) == decide(*live(some, NOW))
    assert all(p.expires_at > NOW for p in live(some, NOW))


@given(st.lists(proposals(), max_size=6))
def test_a_lower_priority_never_leaves_higher_bounds(some: list[Proposal]) -> None:
    choice = choose(some, NOW)
    counted = live(some, NOW)
    if choice is None:
        assert counted == []
        return
    highest = counted[0]
    if highest.bounds is None:
        assert choice.power_kw == highest.preferred_kw
    else:
        assert highest.bounds.contains(choice.power_kw, tolerance_kw=0.0)
