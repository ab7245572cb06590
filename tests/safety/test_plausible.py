"""Values that cannot be true over time, each fault beside a battery that is well."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from bessai.model import Telemetry
from bessai.model.power import HOLD_BOUNDS
from bessai.safety import (
    PLAUSIBLE_CODES,
    Envelope,
    Outlook,
    Trace,
    envelope,
    observe,
    validate_envelope,
)
from bessai.safety.plausible import FORGET_S, HOLD_S, LONGEST_HOLD_S, OVER_S
from bessai.units import MonotonicS
from tests.safety.battery_play import Lie, Play, Scene
from tests.support.site_values import LIMITS, telemetry_at

FOUND_WITHIN_PCT = 7.0
"""So much of the capacity flows at most until a frozen state of charge is found, at a power above
half of the inverter's size, a round trip of 90 % and reads close enough."""


HONEST = [
    Scene(speed=10.0, cycle_s=2.0, resolution_pct=1.0, stated_share=0.5, noise_kw=0.05),
    Scene(speed=10.0, cycle_s=2.0, resolution_pct=1.0, stated_share=0.1),
    Scene(speed=10.0, cycle_s=2.0, resolution_pct=1.0, stated_share=0.5, tells_capacity=False),
    Scene(speed=60.0, cycle_s=0.5, noise_kw=0.05),
    Scene(capacity_kwh=2000.0, size_kw=1000.0, noise_kw=10.0, resolution_pct=1.0, speed=20.0),
    Scene(speed=600.0, cycle_s=0.2, lag=0.9, efficiency_pct=80.0),
]


def seen_by(trace: Trace, seen: Telemetry) -> Envelope:
    outlook = Outlook(MonotonicS(seen.measured_at + 0.1), 1.0, 2.0, 1.0, 0.0)
    result = envelope(seen, LIMITS, outlook, trace)
    validate_envelope(result, LIMITS)
    return result


def after(*reads: Telemetry) -> Trace:
    trace = Trace()
    for read in reads:
        trace = observe(trace, read, LIMITS, 1.0)
    return trace


def codes(trace: Trace) -> set[str]:
    return {code for code, _ in trace.findings}


def frozen_at(soc: float) -> Lie:
    return lambda seen: replace(seen, soc_pct=soc)


def mirrored_at(soc: float) -> Lie:
    def lie(seen: Telemetry) -> Telemetry:
        assert seen.soc_pct is not None
        return replace(seen, soc_pct=2 * soc - seen.soc_pct)

    return lie


def play_until_found(play: Play, wish_kw: float, lie: Lie, cycles: int = 5000) -> None:
    for _ in range(cycles):
        play.read(lie)
        if play.trace.findings:
            return
        play.act(wish_kw)
    pytest.fail("the fault was not found")


@pytest.mark.parametrize(("before", "now"), [(50.0, 80.0), (50.0, 42.0), (8.0, 20.0)])
def test_a_jump_of_the_state_of_charge_rests_the_battery(before: float, now: float) -> None:
    seen = telemetry_at(101.0, soc_pct=now)
    result = seen_by(after(telemetry_at(100.0, soc_pct=before), seen), seen)
    assert result.bounds == HOLD_BOUNDS
    assert result.codes == {"soc_jump"}
    assert result.narrowings[0].text == (
        f"SoC jumped from {before:g} to {now:g} % within 1.0 s, at most 0.4 % can flow; "
        "rests for 60 s, then its values are tried again"
    )


@pytest.mark.parametrize("now", [54.0, 46.0, 50.0])
def test_a_correction_of_a_few_percent_is_no_jump(now: float) -> None:
    trace = after(telemetry_at(100.0, soc_pct=50.0), telemetry_at(101.0, soc_pct=now))
    assert trace.findings == ()


def test_what_can_flow_in_a_long_gap_is_no_jump() -> None:
    trace = after(telemetry_at(100.0, soc_pct=20.0), telemetry_at(4000.0, soc_pct=70.0))
    assert trace.findings == ()


def test_a_jump_is_seen_across_reads_without_a_state_of_charge() -> None:
    blind = [telemetry_at(100.0 + n, soc_pct=value) for n, value in enumerate([None, math.nan], 1)]
    trace = after(telemetry_at(100.0), *blind, telemetry_at(103.0, soc_pct=80.0))
    assert codes(trace) == {"soc_jump"}


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [(25.0, 38.0, True), (-5.0, 20.0, True), (25.0, 33.0, False), (25.0, None, False)],
)
def test_a_jump_of_the_temperature_rests_the_battery(
    before: float, now: float | None, found: bool
) -> None:
    trace = after(telemetry_at(100.0, temperature_c=before), telemetry_at(101.0, temperature_c=now))
    assert codes(trace) == ({"temperature_jump"} if found else set())


@pytest.mark.parametrize("lied", [frozen_at(50.0), mirrored_at(50.0)])
@pytest.mark.parametrize("share", [-1.0, -0.5, 0.5, 1.0])
@pytest.mark.parametrize(
    "scene",
    [
        Scene(),
        Scene(resolution_pct=1.0),
        Scene(capacity_kwh=2000.0, size_kw=1000.0, noise_kw=10.0, speed=20.0),
        Scene(speed=60.0, cycle_s=0.5),
        Scene(stated_share=0.5),
    ],
)
def test_a_state_of_charge_that_ignores_the_power_is_found(
    scene: Scene, share: float, lied: Lie
) -> None:
    play = Play(scene)
    for _ in range(3):
        play.read()
        play.act(0.0)
    begin = play.through_kwh
    play_until_found(play, share * scene.size_kw, lied)
    flowed_pct = 100.0 * (play.through_kwh - begin) / scene.capacity_kwh
    assert flowed_pct < FOUND_WITHIN_PCT
    expected = "soc_frozen" if lied(telemetry_at(0.0, soc_pct=40.0)).soc_pct == 50.0 else None
    assert codes(play.trace) == {expected or "soc_against_power"}


@pytest.mark.parametrize(
    "reads",
    [
        # The first state of charge was taken late in its read, the second early.
        [(-5.0, 50.0), (-5.0, 50.0), (-5.0, 58.0), (-5.0, 66.0)],
        # The power began late in the third read, just before it was taken.
        [(0.0, 50.0), (0.0, 50.0), (-5.0, 50.0), (-5.0, 50.8), (-5.0, 58.0)],
        # The command changed between any two reads.
        [(5.0, 50.0), (-5.0, 50.0), (5.0, 50.0), (-5.0, 50.0), (5.0, 50.0)],
    ],
)
def test_what_may_have_flowed_before_a_value_was_taken_is_not_sure(
    reads: list[tuple[float, float]],
) -> None:
    trace = Trace()
    for number, (power, soc) in enumerate(reads):
        seen = telemetry_at(100.0 + number, soc_pct=soc, active_power_kw=power)
        trace = observe(trace, seen, LIMITS, 600.0)  # a read is 8 % of the capacity at 5 kW
    assert trace.findings == ()


@pytest.mark.parametrize("share", [-1.0, -0.1, 0.1, 1.0])
@pytest.mark.parametrize("scene", HONEST)
def test_a_battery_that_works_steadily_is_never_doubted(scene: Scene, share: float) -> None:
    play = Play(scene, 50.0)
    for _ in range(1200):
        play.read()
        play.act(share * scene.size_kw)
    assert play.through_kwh > 0.25 * scene.capacity_kwh
    assert play.trace.findings == ()


def test_hours_of_rest_hide_a_frozen_state_of_charge_by_two_percent_at_most() -> None:
    play = Play(Scene(speed=30.0))
    for _ in range(6 * 120):
        play.read(frozen_at(50.0))
        play.act(0.0)
    play_until_found(play, -5.0, frozen_at(50.0))
    assert play.through_kwh < 0.01 * (FOUND_WITHIN_PCT + 2.0) * 10.0


def test_a_finding_names_its_values() -> None:
    play = Play(Scene(resolution_pct=1.0))
    play_until_found(play, 5.0, frozen_at(50.0))
    assert play.trace.findings == (
        (
            "soc_frozen",
            "SoC stands still at 50 % while at least 4.0 % of the capacity was discharged",
        ),
    )
    play = Play(Scene())
    play_until_found(play, -5.0, mirrored_at(50.0))
    ((_, text),) = play.trace.findings
    assert text.startswith("SoC went from 50.1 to 45.7 %")
    assert text.endswith("while at least 4.0 % of the capacity was charged")


@pytest.mark.parametrize(("soc", "wish"), [(99.0, -2.0), (100.0, -1.0), (1.0, 2.0)])
def test_power_into_a_full_or_empty_end_is_left_to_the_battery(soc: float, wish: float) -> None:
    trace = Trace()
    for read in range(2000):
        seen = telemetry_at(5.0 * read, soc_pct=soc, active_power_kw=wish)
        trace = observe(trace, seen, LIMITS, 1.0)
        assert trace.findings == ()


def test_a_battery_that_stands_still_at_rest_is_well_for_ever() -> None:
    trace = Trace()
    for read in range(4000):
        seen = telemetry_at(5.0 * read, active_power_kw=0.09 * math.sin(read / 600))
        trace = observe(trace, seen, LIMITS, 1.0)
        assert trace.findings == ()


def test_a_finding_ends_and_its_end_is_told() -> None:
    jumped = telemetry_at(101.0, soc_pct=80.0)
    trace = after(telemetry_at(100.0), jumped)
    for now in (110.0, 101.0 + HOLD_S - 1.0):
        trace = observe(trace, telemetry_at(now, soc_pct=80.0), LIMITS, 1.0)
        assert seen_by(trace, telemetry_at(now, soc_pct=80.0)).codes == {"soc_jump"}
    ended = telemetry_at(101.0 + HOLD_S, soc_pct=80.0)
    trace = observe(trace, ended, LIMITS, 1.0)
    result = seen_by(trace, ended)
    assert result.codes == {"implausible_over"}
    assert (result.bounds.lower_kw, result.bounds.upper_kw) == (-5.0, 5.0)
    assert result.narrowings[0].text.startswith(
        "rested for 60 s, tried again: SoC jumped from 50 to 80 %"
    )
    later = telemetry_at(ended.measured_at + OVER_S + 1.0, soc_pct=80.0)
    assert seen_by(observe(trace, later, LIMITS, 1.0), later).narrowings == ()


def test_findings_in_a_row_rest_longer_and_a_quiet_hour_forgets_them() -> None:
    trace, now, soc = after(telemetry_at(100.0)), 101.0, 50.0
    rests = []
    for _ in range(7):
        soc = 130.0 - soc
        trace = observe(trace, telemetry_at(now, soc_pct=soc), LIMITS, 1.0)
        rests.append(trace.hold_s)
        while trace.holding:
            now += 1.0
            trace = observe(trace, telemetry_at(now, soc_pct=soc), LIMITS, 1.0)
        now += 1.0
    assert rests == [60.0, 120.0, 240.0, 480.0, LONGEST_HOLD_S, LONGEST_HOLD_S, LONGEST_HOLD_S]
    trace = observe(trace, telemetry_at(now + FORGET_S + 1.0, soc_pct=soc), LIMITS, 1.0)
    assert (trace.repeats, trace.findings, trace.since) == (0, (), None)


def test_a_state_of_charge_that_flickers_is_one_finding_while_it_rests() -> None:
    trace = after(telemetry_at(100.0))
    for second in range(1, 50):
        soc = 80.0 if second % 2 else 50.0
        trace = observe(trace, telemetry_at(100.0 + second, soc_pct=soc), LIMITS, 1.0)
    assert (trace.repeats, trace.holding, trace.since) == (1, 1, 101.0)


def test_a_clock_that_goes_back_does_not_prolong_a_hold_for_ever() -> None:
    trace = after(telemetry_at(9000.0), telemetry_at(9001.0, soc_pct=80.0))
    trace = observe(trace, telemetry_at(5.0, soc_pct=20.0), LIMITS, 1.0)
    assert (trace.holding, trace.repeats) == (1, 1)
    trace = observe(trace, telemetry_at(5.0 + HOLD_S, soc_pct=20.0), LIMITS, 1.0)
    assert trace.holding == 0


def test_a_read_seen_twice_changes_nothing() -> None:
    trace = after(telemetry_at(100.0), telemetry_at(101.0))
    assert observe(trace, telemetry_at(101.0, soc_pct=99.0), LIMITS, 1.0) is trace


def test_stale_data_says_nothing_about_plausibility() -> None:
    seen = telemetry_at(101.0, soc_pct=80.0)
    outlook = Outlook(MonotonicS(200.0), 1.0, 2.0, 1.0, 0.0)
    assert envelope(seen, LIMITS, outlook, after(telemetry_at(100.0), seen)).codes == {"stale_data"}


def test_every_finding_holds() -> None:
    for code in PLAUSIBLE_CODES:
        seen = telemetry_at(100.0)
        trace = Trace(at=100.0, findings=((code, "x"),), holding=1, since=100.0, hold_s=60.0)
        result = seen_by(trace, seen)
        assert result.holds[0].code == code
        assert result.bounds == HOLD_BOUNDS


def follow_envelope(
    play: Play, hours: float, wish_kw: float, lie: Callable[[Telemetry], Telemetry]
) -> set[str]:
    """Take all that the envelope allows for so many hours of market time."""
    scene, told, power = play.scene, set[str](), 0.0
    for _ in range(int(hours * 3600 / scene.speed / scene.cycle_s)):
        seen = play.read(lie)
        now = MonotonicS(seen.measured_at + 0.3)
        outlook = Outlook(now, scene.cycle_s, 2 * scene.cycle_s, scene.speed, power)
        result = envelope(seen, scene.limits, outlook, play.trace)
        validate_envelope(result, scene.limits)
        told |= {reason.text for reason in result.narrowings}
        power = result.bounds.clamp(wish_kw)
        play.act(power)
    return told


@pytest.mark.parametrize("wish", [5.0, -5.0])
def test_tries_in_spite_of_a_frozen_state_of_charge_do_not_add_up_past_the_band(
    wish: float,
) -> None:
    play = Play(Scene(speed=10.0, cycle_s=2.0))
    told = follow_envelope(play, 16.0, wish, frozen_at(50.0))
    own_use_pct = 100.0 * 16.0 * play.params.standby_w / 1000.0 / play.scene.capacity_kwh
    assert 10.0 - own_use_pct - 1.0 <= play.soc_pct <= 95.0 + 1.0
    assert not 15.0 < play.soc_pct < 90.0
    side = "lower limit of 10 %" if wish > 0 else "upper limit of 95 %"
    assert any(side in text and "because SoC did not follow power" in text for text in told)


def test_a_state_of_charge_that_moves_again_is_trusted_again() -> None:
    play = Play(Scene(speed=10.0, cycle_s=2.0))
    follow_envelope(play, 6.0, 5.0, frozen_at(50.0))
    assert play.trace.unseen_pct < -20.0
    offset = round(50.0 - play.soc_pct, 1)

    def moving(seen: Telemetry) -> Telemetry:
        assert seen.soc_pct is not None
        return replace(seen, soc_pct=seen.soc_pct + offset)

    follow_envelope(play, 4.0, -5.0, moving)
    assert play.trace.unseen_pct == 0.0


def test_an_owner_who_uses_a_tenth_of_an_inverter_gets_the_error_of_all_of_it() -> None:
    limits = replace(LIMITS, max_charge_kw=1.0, max_discharge_kw=1.0)
    trace = Trace()
    for read in range(8000):
        seen = telemetry_at(
            5.0 * read, active_power_kw=0.1, charge_limit_kw=10.0, discharge_limit_kw=0.0
        )
        trace = observe(trace, seen, limits, 1.0)
        assert trace.findings == ()
