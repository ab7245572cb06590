from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.control.effect import EFFECT_S, Effect, watch
from bessai.control.follow import Orders, receive
from bessai.control.ledger import Ledger, Write, WriteKind
from bessai.control.step import ControlState, CycleInput, Decision, SiteRules, decide, settle
from bessai.model import AutonomyLevel, FleetReply, Telemetry
from bessai.model.outcome import Applied, PartiallyApplied, Rejected
from bessai.model.power import HOLD_BOUNDS
from bessai.units import MonotonicS
from tests.support.site_strategies import telemetries
from tests.support.site_values import LIMITS, MARKET_0, SITE, schedule, telemetry_at

RULES = SiteRules(LIMITS, cycle_s=1.0, speed=1.0, renew_s=60.0)
PLAN = schedule([4.0, -2.0])


def orders(now: float, lease_s: float = 15.0) -> Orders:
    return receive(Orders(), FleetReply(PLAN, lease_s), SITE, MonotonicS(now))


def cycle(now: float, telemetry: Telemetry | None, given_orders: Orders) -> CycleInput:
    market_now = MARKET_0 + timedelta(seconds=now - 100.0)
    return CycleInput(MonotonicS(now), market_now, telemetry, given_orders)


def applied(state: ControlState, decision: Decision, now: float) -> ControlState:
    if decision.write is None:
        return state
    done = Applied(decision.write.power_kw, writes=4)
    return settle(state, decision.write, done, MonotonicS(now))


def test_a_day_in_the_life_of_a_site() -> None:
    """Telemetry in, setpoint and reasons out, the clock moves."""
    leased = orders(100.0)
    rows: list[tuple[float, Telemetry | None, Orders, float, str, str | None]] = [
        (100, telemetry_at(100), leased, 4.0, "dispatch", "change"),
        (101, telemetry_at(101, commanded_kw=4.0), leased, 4.0, "dispatch", None),
        (102, None, leased, 4.0, "dispatch", None),
        (111, None, leased, 4.0, "dispatch", None),
        (111.5, None, leased, 0.0, "dispatch", "safety"),
        (113, telemetry_at(113, commanded_kw=0.0), leased, 4.0, "dispatch", "change"),
        (114, telemetry_at(114, commanded_kw=1.0), leased, 4.0, "dispatch", "external"),
        (116, telemetry_at(116, commanded_kw=4.0), leased, 4.0, "dispatch", None),
        (176, telemetry_at(176, commanded_kw=4.0), leased, 4.0, "dispatch", "renew"),
        (177, telemetry_at(177, commanded_kw=4.0, soc_pct=9.0), leased, 0, "dispatch", "safety"),
        (178, telemetry_at(178, commanded_kw=0.0, soc_pct=50.0), Orders(), 0.0, "hold", None),
    ]
    state = ControlState()
    for now, telemetry, now_orders, power_kw, source, kind in rows:
        state, decision = decide(state, RULES, cycle(now, telemetry, now_orders))
        assert (now, decision.setpoint.power_kw) == (now, power_kw)
        assert (now, decision.setpoint.source) == (now, source)
        assert (now, decision.write and decision.write.kind) == (now, kind)
        state = applied(state, decision, now)


def test_autonomy_steps_down_while_reads_fail() -> None:
    state, _ = decide(ControlState(), RULES, cycle(100.0, telemetry_at(100.0), orders(95.0)))
    _, decision = decide(state, RULES, cycle(109.0, None, orders(96.0)))
    assert decision.coasting
    assert decision.autonomy is AutonomyLevel.FLEET
    _, decision = decide(state, RULES, cycle(109.0, None, orders(90.0, lease_s=5.0)))
    assert decision.autonomy is AutonomyLevel.CACHED_SCHEDULE


def test_stale_data_blocks_the_wish_and_is_counted() -> None:
    _, decision = decide(ControlState(), RULES, cycle(100.0, None, orders(100.0)))
    assert decision.blocked == ("stale_data",)
    assert decision.allowed.bounds == HOLD_BOUNDS
    assert decision.setpoint.reason == (
        "schedule: discharge 4.0 kW until 13:00 UTC (limited to 0.0 kW: no telemetry)"
    )


def test_the_plan_follows_market_time_and_the_ramp_real_time() -> None:
    limits = replace(LIMITS, ramp_kw_per_s=0.5)
    rules = replace(RULES, limits=limits, speed=600.0)
    state, powers = ControlState(), []
    for second in range(4):
        now = 100.0 + second
        market_now = MARKET_0 + timedelta(minutes=10 * second)
        seen = telemetry_at(now, commanded_kw=state.ledger.written_kw)
        step = CycleInput(MonotonicS(now), market_now, seen, orders(100.0))
        state, decision = decide(state, rules, step)
        state = applied(state, decision, now)
        powers.append(decision.setpoint.power_kw)
    assert powers == pytest.approx([0.5, 1.0, 1.5, 2.0])


@pytest.mark.parametrize(
    ("gap_s", "power_kw"), [(0.6, 2.0), (1.0, 2.0), (1.5, 2.5), (2.0, 3.0), (9.0, 3.0)]
)
def test_a_late_cycle_grants_two_cycles_of_ramp_at_the_most(gap_s: float, power_kw: float) -> None:
    rules = replace(RULES, limits=replace(LIMITS, ramp_kw_per_s=1.0))
    state, first = decide(ControlState(), rules, cycle(100, telemetry_at(100), orders(100)))
    assert first.setpoint.power_kw == 1.0
    state = applied(state, first, 100)
    now = 100 + gap_s
    fresh = telemetry_at(now, commanded_kw=1.0)
    assert decide(state, rules, cycle(now, fresh, orders(100)))[1].setpoint.power_kw == power_kw


def test_slow_cycles_look_further_ahead() -> None:
    rules = replace(RULES, speed=600.0)
    allowed = []
    for gap_s in (1.0, 2.0):
        state, first = decide(ControlState(), rules, cycle(100, telemetry_at(100), orders(100)))
        fresh = telemetry_at(100 + gap_s, soc_pct=20.0, commanded_kw=4.0)
        state = applied(state, first, 100)
        decision = decide(state, rules, cycle(100 + gap_s, fresh, orders(100)))[1]
        allowed.append(decision.allowed.bounds.upper_kw)
    assert 0 < allowed[1] < 0.5 * allowed[0]


def test_a_ramp_slower_than_the_dead_band_still_arrives() -> None:
    rules = replace(RULES, limits=replace(LIMITS, ramp_kw_per_s=0.01))
    state = ControlState()
    for second in range(60):
        now = 100.0 + second
        seen = telemetry_at(now, commanded_kw=state.ledger.written_kw)
        state, decision = decide(state, rules, cycle(now, seen, orders(now)))
        state = applied(state, decision, now)
    assert state.ledger.written_kw == pytest.approx(0.6, abs=0.03)


def test_a_refused_write_does_not_let_the_ramp_run_ahead() -> None:
    rules = replace(RULES, limits=replace(LIMITS, ramp_kw_per_s=0.5))
    state = ControlState()
    for second in range(8):
        now = 100.0 + second
        state, decision = decide(state, rules, cycle(now, telemetry_at(now), orders(now)))
        assert decision.setpoint.power_kw <= 1.0
        if decision.write is not None:
            state = settle(state, decision.write, Rejected("busy"), MonotonicS(now))
    assert state.write_error == "busy"


def test_a_partial_write_is_repeated_and_reported() -> None:
    write = Write(4.0, WriteKind.CHANGE)
    partial = PartiallyApplied(2, "forced_command", "reads back 0")
    state = settle(ControlState(), write, partial, MonotonicS(100.0))
    assert state.write_error == "forced_command: reads back 0"
    _, early = decide(state, RULES, cycle(100.5, telemetry_at(100.5), orders(100.0)))
    assert early.write is None
    _, later = decide(state, RULES, cycle(101.0, telemetry_at(101.0), orders(100.0)))
    assert later.write == write


def test_an_external_change_is_reported_once_per_episode() -> None:
    state = ControlState(ledger=Ledger(4.0, MonotonicS(99.0), external_at=MonotonicS(98.0)))
    seen = []
    for second in range(5):
        now = 100.0 + second
        telemetry = telemetry_at(now, commanded_kw=1.0)
        state, decision = decide(state, RULES, cycle(now, telemetry, orders(now)))
        seen.append(decision.external)
    assert seen == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("changes", "target", "fails"),
    [
        ({"active_power_kw": 4.0}, 4.0, False),
        ({"active_power_kw": 3.7}, 4.0, False),
        ({"active_power_kw": 0.0}, 4.0, True),
        ({"active_power_kw": -4.0}, 4.0, True),
        ({"active_power_kw": 3.0}, 0.0, True),
        ({"active_power_kw": 1.0, "discharge_limit_kw": 1.0}, 4.0, False),
        ({"active_power_kw": 0.0, "soc_pct": 12.0}, 4.0, False),
        ({"active_power_kw": 0.0, "soc_pct": 12.0}, -4.0, True),
        ({"active_power_kw": -1.0, "soc_pct": 94.0}, -4.0, False),
        ({"active_power_kw": 2.0, "soc_pct": 94.0}, -4.0, True),
    ],
)
def test_power_must_follow_the_command(
    changes: dict[str, object], target: float, fails: bool
) -> None:
    ledger, effect, failed = Ledger(target, MonotonicS(99.0)), Effect(), []
    for second in range(int(EFFECT_S) + 3):
        seen = telemetry_at(100.0 + second, commanded_kw=target, **changes)
        effect = watch(effect, ledger, seen, LIMITS)
        failed.append(effect.failed)
    assert any(failed) is fails
    assert failed.index(True) == EFFECT_S if fails else True


@given(telemetries(), st.floats(-50, 50), st.floats(-5, 5), st.floats(1, 3600))
def test_the_setpoint_is_inside_the_envelope_for_any_telemetry(
    telemetry: Telemetry, wish: float, last: float, speed: float
) -> None:
    plan = schedule([wish])
    given_orders = receive(Orders(), FleetReply(plan, 15.0), SITE, MonotonicS(100.0))
    state = ControlState(power_kw=last, ledger=Ledger(last, MonotonicS(90.0)))
    rules = replace(RULES, speed=speed)
    _, decision = decide(state, rules, CycleInput(
        MonotonicS(100.0), MARKET_0, telemetry, given_orders
    ))  # fmt: skip
    power_kw, bounds = decision.setpoint.power_kw, decision.allowed.bounds
    assert bounds.contains(power_kw, tolerance_kw=0.0)
    if decision.write is None:
        assert bounds.contains(last, tolerance_kw=1e-6)
    else:
        assert decision.write.power_kw == power_kw


def test_while_a_device_that_wears_out_is_spared_the_older_command_counts() -> None:
    rules = replace(RULES, spare_s=30.0)
    state, first = decide(ControlState(), rules, cycle(100.0, telemetry_at(100.0), orders(100.0)))
    assert first.write == Write(4.0, WriteKind.CHANGE)
    state = applied(state, first, 100.0)
    held = telemetry_at(110.0, commanded_kw=4.0)
    wish = receive(Orders(), FleetReply(schedule([2.0]), 15.0), SITE, MonotonicS(110.0))
    state, decision = decide(state, rules, cycle(110.0, held, wish))
    assert (decision.setpoint.power_kw, decision.write) == (2.0, None)
    assert state.power_kw == 4.0
