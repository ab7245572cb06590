from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.control.ledger import (
    Ledger,
    Write,
    WriteKind,
    WriteRules,
    after_failure,
    after_success,
    decide_write,
    observe,
)
from bessai.model import Bounds
from bessai.units import MonotonicS
from tests.support.site_values import telemetry_at

RULES = WriteRules(peak_kw=5.0, renew_s=60.0)
OPEN = Bounds(-5.0, 5.0)
AT_100 = MonotonicS(100.0)
WROTE_2 = Ledger(written_kw=2.0, written_at=AT_100)
WROTE_0 = Ledger(written_kw=0.0, written_at=AT_100)


@pytest.mark.parametrize(
    ("ledger", "target", "allowed", "now", "kind"),
    [
        (Ledger(), 0.0, OPEN, 100, "change"),
        (WROTE_2, 2.0, OPEN, 101, None),
        (WROTE_2, 2.024, OPEN, 101, None),
        (WROTE_2, 2.026, OPEN, 101, "change"),
        (WROTE_2, 0.0, OPEN, 101, "change"),
        (WROTE_0, 0.001, OPEN, 101, "change"),
        (WROTE_2, 1.99, Bounds(-5, 1.99), 101, "safety"),
        (WROTE_2, 2.0, OPEN, 159.9, None),
        (WROTE_2, 2.0, OPEN, 160, "renew"),
        (WROTE_0, 0.0, Bounds(0, 0), 160, "renew"),
        (WROTE_2, 0.0, Bounds(0, 0), 160, "safety"),
    ],
)
def test_when_a_command_is_written(
    ledger: Ledger, target: float, allowed: Bounds, now: float, kind: str | None
) -> None:
    write = decide_write(ledger, target, allowed, MonotonicS(now), RULES)
    assert (None if write is None else write.kind) == kind
    assert write is None or write.power_kw == target


def test_without_a_dead_man_nothing_is_renewed() -> None:
    rules = WriteRules(peak_kw=5.0, renew_s=None)
    assert decide_write(WROTE_2, 2.0, OPEN, MonotonicS(9999.0), rules) is None


@pytest.mark.parametrize(
    ("held", "read_at", "external"),
    [
        (2.0, 101, False),
        (1.999, 101, False),
        (1.0, 101, True),
        (None, 101, True),
        (1.0, 100, False),
    ],
)
def test_a_foreign_command_is_seen_by_a_read_after_the_write(
    held: float | None, read_at: float, external: bool
) -> None:
    seen = observe(WROTE_2, telemetry_at(read_at, commanded_kw=held), RULES)
    assert seen.quarrel is external
    write = decide_write(seen, 2.0, OPEN, MonotonicS(101.0), RULES)
    assert write == (Write(2.0, WriteKind.EXTERNAL) if external else None)


def test_a_device_that_drops_commands_is_not_asked_every_cycle() -> None:
    ledger, writes = WROTE_2, []
    for second in range(101, 131):
        now = MonotonicS(float(second))
        ledger = observe(ledger, telemetry_at(second, commanded_kw=None), RULES)
        write = decide_write(ledger, 2.0, OPEN, now, RULES)
        if write is not None:
            writes.append(second)
            ledger = after_success(ledger, write, MonotonicS(now - 0.5))
    assert writes == [101, 111, 121]


def test_a_foreign_command_outside_the_envelope_is_undone_at_once() -> None:
    seen = observe(WROTE_0, telemetry_at(101.0, commanded_kw=4.0), RULES)
    for _ in range(2):
        write = decide_write(seen, 0.0, Bounds(-5.0, 1.0), MonotonicS(101.0), RULES)
        assert write == Write(0.0, WriteKind.SAFETY)
        seen = observe(
            after_success(seen, write, MonotonicS(100.5)),
            telemetry_at(101.0, commanded_kw=4.0),
            RULES,
        )


def test_a_command_that_is_no_number_counts_as_unsafe() -> None:
    seen = observe(WROTE_2, telemetry_at(101.0, commanded_kw=float("nan")), RULES)
    write = decide_write(seen, 2.0, OPEN, MonotonicS(101.0), RULES)
    assert write == Write(2.0, WriteKind.SAFETY)


def test_a_refused_write_waits_longer_each_time_but_safety_does_not() -> None:
    ledger, waits = WROTE_2, []
    for _ in range(6):
        ledger = after_failure(ledger, AT_100, partial=False)
        waits.append(ledger.retry_at - AT_100)
    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert ledger.written_kw == 2.0
    for _ in range(2000):
        ledger = after_failure(ledger, AT_100, partial=False)
    assert decide_write(ledger, 4.0, OPEN, MonotonicS(109.0), RULES) is None
    assert decide_write(ledger, 4.0, OPEN, MonotonicS(110.0), RULES) is not None
    assert decide_write(ledger, 0.0, Bounds(0, 0), MonotonicS(109.0), RULES) is not None


def test_after_a_partial_write_the_command_in_force_is_unknown() -> None:
    assert after_failure(WROTE_2, AT_100, partial=True).written_kw is None


def test_an_unknown_command_outside_the_envelope_is_undone_without_patience() -> None:
    ledger = after_failure(WROTE_2, AT_100, partial=True)
    ledger = observe(ledger, telemetry_at(100.5, commanded_kw=2.0), RULES)
    write = decide_write(ledger, 0.0, Bounds(0.0, 0.0), MonotonicS(100.6), RULES)
    assert write == Write(0.0, WriteKind.SAFETY)
    assert decide_write(ledger, 3.0, OPEN, MonotonicS(100.6), RULES) is None


@given(st.floats(-5, 5), st.floats(-5, 0), st.floats(0, 5), st.floats(100, 400))
def test_what_stays_in_force_is_allowed_and_near_the_target(
    written: float, low: float, high: float, now: float
) -> None:
    ledger, allowed = Ledger(written_kw=written, written_at=AT_100), Bounds(low, high)
    target = allowed.clamp(written)
    if decide_write(ledger, target, allowed, MonotonicS(now), RULES) is None:
        assert allowed.contains(written, tolerance_kw=1e-6)
        assert now - 100 < 60


SPARING = WriteRules(peak_kw=5.0, renew_s=None, spare_s=30.0, nameplate=Bounds(-3.0, 5.0))
WIDE = Bounds(-3.0, 5.0)


@pytest.mark.parametrize(
    ("ledger", "target", "allowed", "now", "written"),
    [
        (Ledger(), 5.0, WIDE, 100, 5.0),
        (Ledger(), -3.0, WIDE, 100, -3.0),
        (Ledger(), 4.0, Bounds(-3.0, 4.0), 100, 3.75),
        (Ledger(), 3.0, Bounds(-3.0, 4.0), 100, 3.0),
        (Ledger(), -2.0, Bounds(-2.0, 5.0), 100, -1.75),
        (Ledger(), 0.2, Bounds(-3.0, 0.2), 100, 0.0),
        (Ledger(), -1.0, Bounds(-3.0, -1.0), 100, -1.25),
        (Ledger(), -1.0, Bounds(-1.1, -1.0), 100, -1.1),
        (WROTE_2, 3.0, WIDE, 129, None),
        (WROTE_2, 3.0, WIDE, 130, 3.0),
        (WROTE_2, 2.25, WIDE, 200, None),
        (WROTE_2, 0.0, WIDE, 101, 0.0),
        (WROTE_0, 1.0, WIDE, 101, None),
        (WROTE_2, 1.5, Bounds(-3.0, 1.5), 101, 1.25),
        (after_failure(WROTE_2, AT_100, partial=True), 3.0, WIDE, 102, 3.0),
    ],
)
def test_a_device_that_wears_out_is_written_seldom_and_with_room(
    ledger: Ledger, target: float, allowed: Bounds, now: float, written: float | None
) -> None:
    write = decide_write(ledger, target, allowed, MonotonicS(now), SPARING)
    assert (None if write is None else write.power_kw) == written


def test_a_limit_that_trembles_wears_nothing_out() -> None:
    """Volts times amperes: 25 A at 120 V, that sags and recovers."""
    ledger, writes = Ledger(), []
    for second in range(100, 400):
        now, volts = MonotonicS(float(second)), 120.0 + 2.0 * ((second * 7) % 5 - 2) / 2
        bound = 25.0 * volts / 1000.0
        write = decide_write(ledger, bound, Bounds(-3.0, bound), now, SPARING)
        if write is not None:
            writes.append(write.kind)
            ledger = after_success(ledger, write, now)
    assert writes == [WriteKind.CHANGE]


@given(
    target=st.floats(-5.0, 5.0),
    lower=st.floats(-3.0, 5.0),
    width=st.floats(0.0, 8.0),
)
def test_room_never_leaves_the_bounds_nor_asks_for_more(
    target: float, lower: float, width: float
) -> None:
    allowed = Bounds(lower, min(5.0, lower + width))
    wish = allowed.clamp(target)
    write = decide_write(Ledger(), wish, allowed, AT_100, SPARING)
    assert write is not None
    assert allowed.contains(write.power_kw)
    if allowed.contains(0.0):
        assert min(0.0, wish) <= write.power_kw <= max(0.0, wish)
