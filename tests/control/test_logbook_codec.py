"""What is read is what was recorded, to the bit; and every field of the core can be recorded."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum, StrEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessai.control.follow import Orders
from bessai.control.ledger import Write, WriteKind
from bessai.control.logbook.codec import Codec, to_text
from bessai.control.logbook.entries import Settled
from bessai.control.logbook.writer import RECORDED
from bessai.control.step import ControlState, CycleInput, Decision, SiteRules
from bessai.errors import ProtocolError
from bessai.model import Schedule, SiteLimits, Telemetry
from bessai.model.outcome import Applied, ApplyOutcome, PartiallyApplied, Rejected
from bessai.ports import LocalPolicy
from bessai.units import MonotonicS
from tests.support.site_strategies import telemetries
from tests.support.site_values import HEALTHY, LIMITS, MARKET_0, schedule

EVERY_FLOAT = st.floats(width=64)


def through(value: object, codec: Codec | None = None) -> object:
    writing, reading = codec or Codec(), Codec()
    tree = json.loads(to_text(writing.encode(value)))
    for reference, text in writing.parts.items():
        reading.learn(reference, Schedule, text)
    return reading.decode(type(value), tree)


@settings(max_examples=50)
@given(EVERY_FLOAT, EVERY_FLOAT)
def test_floats_come_back_to_the_bit(one: float, other: float) -> None:
    seen = through(replace(HEALTHY, measured_at=MonotonicS(one), soc_pct=other))
    assert isinstance(seen, Telemetry)
    for before, after in ((one, seen.measured_at), (other, seen.soc_pct)):
        assert after is not None
        assert math.isnan(before) == math.isnan(after)
        assert math.isnan(before) or before.hex() == after.hex()


@settings(max_examples=50)
@given(telemetries())
def test_any_read_comes_back(telemetry: Telemetry) -> None:
    assert repr(through(telemetry)) == repr(telemetry)


def test_an_int_in_a_float_field_stays_an_int() -> None:
    """The sentences made of it would read differently in a replay."""
    seen = through(replace(HEALTHY, soc_pct=50, active_power_kw=-0.0))
    assert isinstance(seen, Telemetry)
    assert (repr(seen.soc_pct), repr(seen.active_power_kw)) == ("50", "-0.0")


@pytest.mark.parametrize(
    "outcome",
    [Applied(1.5, 4), PartiallyApplied(2, "power", "exception 2"), Rejected("busy")],
)
def test_outcomes_are_told_apart(outcome: ApplyOutcome) -> None:
    settled = Settled(7, Write(1.5, WriteKind.SAFETY), outcome, MonotonicS(3.25))
    assert through(settled) == settled


def test_a_schedule_is_handed_out_once_and_again_after_forgetting() -> None:
    codec, plan = Codec(), schedule([1.0] * 24)
    trees = [codec.encode(Orders(plan, MonotonicS(float(n)))) for n in range(3)]
    assert len(codec.parts) == 1
    assert all(len(to_text(tree)) < 200 for tree in trees)
    equal = schedule([1.0] * 24)
    codec.encode(Orders(equal))
    assert len(codec.parts) == 1, "equal plans are one part"
    codec.forget()
    codec.encode(Orders(plan))
    assert len(codec.parts) == 1
    assert through(Orders(plan)) == Orders(plan)


def test_every_field_of_the_core_can_be_recorded_except_what_runs() -> None:
    """A new field that cannot be recorded must be seen here, not in a record with a hole."""
    codec = Codec()
    for kind in (CycleInput, Decision, ControlState, Settled):
        codec.encode(_example(kind))
    _, left_out = codec.encode_kept(replace(_rules(), local=_Runs()))
    assert left_out == ["local"]
    assert set(codec.layout(*RECORDED)["SiteRules"]) - set(codec.encode_kept(_rules())[0]) == {
        "local"
    }


def _rules() -> SiteRules:
    return SiteRules(LIMITS, cycle_s=1.0, speed=1.0, renew_s=60.0)


class _Runs(LocalPolicy):
    @property
    def name(self) -> str:
        return "runs"

    def power_kw(self, telemetry: Telemetry, limits: SiteLimits) -> float | None:
        return None


def _example(kind: type) -> object:
    cycle = CycleInput(MonotonicS(1.0), MARKET_0, HEALTHY, Orders())
    if kind is CycleInput:
        return cycle
    if kind is Settled:
        return Settled(1, Write(0.0, WriteKind.CHANGE), Rejected("no"), MonotonicS(1.0))
    from bessai.control.step import decide

    state, decision = decide(ControlState(), _rules(), cycle)
    return state if kind is ControlState else decision


def test_rules_come_back() -> None:
    rules = replace(_rules(), limits=replace(LIMITS, battery_ready=frozenset({"b", "a"})))
    kept, _ = Codec().encode_kept(rules)
    assert SiteRules(**Codec().decode_kept(SiteRules, json.loads(to_text(kept)))) == rules  # type: ignore[arg-type]


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


@dataclass(frozen=True, slots=True)
class Inner:
    at: datetime
    pairs: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Anything:
    """Shapes that a new field may take."""

    color: Color
    level: Level | None
    inner: tuple[Inner, ...]
    maybe: Inner | None = None
    names: frozenset[str] = frozenset()
    number: float | int | str | None = None
    pair: tuple[int, Color] = (0, Color.RED)


def test_a_new_field_needs_no_change_here() -> None:
    inner = Inner(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), (("a", 1.5), ("b", math.inf)))
    value = Anything(
        Color.RED, Level.LOW, (inner,), inner, frozenset({"x", "y"}), 3, (7, Color.RED)
    )
    assert through(value) == value
    assert through(replace(value, level=None, maybe=None)) == replace(value, level=None, maybe=None)


def test_what_cannot_be_recorded_is_refused_by_name() -> None:
    @dataclass(frozen=True)
    class Odd:
        thing: complex

    with pytest.raises(TypeError, match="complex cannot be recorded"):
        Codec().encode(Odd(1j))


def test_a_tree_of_another_version_says_so() -> None:
    with pytest.raises(ProtocolError, match="not a recorded Telemetry of this version"):
        Codec().decode(Telemetry, {"site_id": "a"})


def test_unknown_fields_are_left_out_and_missing_ones_take_their_default() -> None:
    tree = json.loads(to_text(Codec().encode(HEALTHY)))
    del tree["alarms"]
    tree["from_the_future"] = 1
    assert Codec().decode(Telemetry, tree) == HEALTHY
