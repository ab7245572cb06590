"""The watch over cycles: what begins an alarm, what does not, and when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bessai.intrusion.allowlist import AllowList, Rule
from bessai.intrusion.events import ModbusEvent
from bessai.intrusion.watch import Change, Persistence, SiteWatch, Verdict
from bessai.units import MonotonicS
from tests.intrusion.values import LIMITS, at, small_model

RULES = AllowList((Rule("site", 1, 3, 0, 99), Rule("site", 1, 6, 10, 10, whole=True)))
ROOT = Path(__file__).resolve().parents[2]


def rest(watch: SiteWatch, start: int, end: int, command_kw: float = 0.0) -> list[Verdict]:
    """Cycles of a battery at rest, one a second."""
    return [
        watch.observe(at(float(s), commanded_kw=command_kw), command_kw, MonotonicS(s), read_s=0.1)
        for s in range(start, end)
    ]


def test_a_quiet_site_is_no_alarm() -> None:
    watch = SiteWatch(LIMITS, RULES, small_model())
    verdicts = rest(watch, 0, 400)
    assert not any(v.alarm or v.findings or v.change for v in verdicts)
    assert all(v.score is not None and 0.0 < v.score < 1.0 for v in verdicts)
    assert watch.degraded is None


def test_a_forbidden_event_is_an_alarm_at_once_and_ends_a_minute_later() -> None:
    watch = SiteWatch(LIMITS, RULES)
    rest(watch, 0, 10)
    (found,) = watch.note(ModbusEvent(9.5, "10.0.0.9", 1, 6, 10, 1, (1,)))
    verdicts = rest(watch, 10, 80)
    assert verdicts[0].findings == (found,)
    assert found.rule == "writer"
    assert [v.change for v in verdicts if v.change] == [Change.BEGAN, Change.ENDED]
    assert verdicts[0].change is Change.BEGAN
    assert verdicts[0].began_at == 10.0
    assert [v.alarm for v in verdicts] == [True] * 61 + [False] * 9


def test_without_rules_events_are_not_judged() -> None:
    assert SiteWatch(LIMITS).note(ModbusEvent(0.0, "x", 1, 6, 10, 1, (1,))) == ()


COMMANDS: list[tuple[str, list[tuple[float | None, float | None]], bool]] = [
    # what the device holds and what the site wrote, cycle by cycle
    ("ours", [(2.0, 2.0)] * 5, False),
    ("rounded", [(1.99, 2.0)] * 5, False),
    ("one cycle behind", [(0.0, 0.0), (0.0, 2.0), (2.0, 2.0)], False),
    ("always one cycle behind", [(0.0, 0.0), (0.0, 2.0), (2.0, 4.0), (4.0, -1.0)], False),
    ("one odd read", [(2.0, 2.0), (-3.0, 2.0), (2.0, 2.0)], False),
    ("foreign", [(2.0, 2.0), (-3.0, 2.0), (-3.0, 2.0)], True),
    ("foreign, answered, foreign", [(-3.0, 2.0), (2.0, 2.0), (-3.0, 2.0)], True),
    ("lost by the device", [(2.0, 2.0), (None, 2.0), (None, 2.0)], False),
    ("we hold none", [(-3.0, None)] * 5, False),
]


@pytest.mark.parametrize(("_", "rows", "alarm"), COMMANDS, ids=[row[0] for row in COMMANDS])
def test_foreign_commands(
    _: str, rows: list[tuple[float | None, float | None]], alarm: bool
) -> None:
    watch = SiteWatch(LIMITS)
    verdicts = [
        watch.observe(at(float(s), commanded_kw=held_kw), ours_kw, MonotonicS(s))
        for s, (held_kw, ours_kw) in enumerate(rows)
    ]
    assert verdicts[-1].alarm is alarm
    rules = {finding.rule for verdict in verdicts for finding in verdict.findings}
    assert rules == ({"foreign_command"} if alarm else set())


def test_two_odd_reads_far_apart_are_no_foreign_command() -> None:
    watch = SiteWatch(LIMITS)
    for second in (0, 100, 200):
        verdict = watch.observe(at(float(second), commanded_kw=3.0), 0.0, MonotonicS(second))
        assert not verdict.alarm


def test_a_lie_that_lasts_is_an_alarm_that_names_it() -> None:
    watch = SiteWatch(LIMITS, None, small_model())
    rest(watch, 0, 300)
    verdicts = [
        watch.observe(at(float(s), active_power_kw=3.0), 0.0, MonotonicS(s), read_s=0.1)
        for s in range(300, 330)
    ]
    needed = small_model().params.needed
    assert not verdicts[needed - 2].alarm
    assert verdicts[needed - 1].change is Change.BEGAN
    assert "follow_error_share" in {f.rule for f in verdicts[needed - 1].findings}
    finding = next(f for f in verdicts[-1].findings if f.rule == "follow_error_share")
    assert finding.what == "follow_error_share 0.6"
    assert finding.allowed.startswith("at most 0.0")


def test_the_forest_can_alarm_by_itself() -> None:
    model = small_model()
    blind = model.params.model_copy(update={"limit": 100.0, "threshold": -0.5})
    watch = SiteWatch(LIMITS, None, type(model)(blind, model.forest))
    rest(watch, 0, 300)
    lies = {"active_power_kw": 3.0, "grid_power_kw": 0.0, "temperature_c": 45.0, "soc_pct": 20.0}
    verdicts = [
        watch.observe(
            at(float(s), commanded_kw=1.0, missing=("a", "b", "c"), **lies),
            0.0,
            MonotonicS(s),
            read_s=2.0,
            writes=9,
        )
        for s in range(300, 330)
    ]
    scores = [f for v in verdicts for f in v.findings if f.rule == "score"]
    assert scores
    assert "temperature" in scores[-1].what or "energy" in scores[-1].what
    assert scores[-1].allowed == "at most 0.500"


def test_at_another_speed_the_model_is_not_asked_and_it_says_so() -> None:
    watch = SiteWatch(LIMITS, RULES, small_model(), speed=600.0)
    assert all(v.score is None for v in rest(watch, 0, 5))
    assert watch.degraded is not None
    assert "600 times" in watch.degraded
    assert SiteWatch(LIMITS).degraded == "no intrusion model"


@pytest.mark.parametrize(
    ("odd", "wanted"),
    [
        ("0000000000", "0000000000"),
        ("1110000000", "0011000000"),
        ("1011000000", "0001000000"),
        ("1010010000", "0000000000"),
        ("0111110000", "0001111000"),
    ],
)
def test_three_of_four(odd: str, wanted: str) -> None:
    persistence = Persistence(3, 4)
    assert "".join(str(int(persistence.add(c == "1"))) for c in odd) == wanted


def test_the_room_loads_nothing_heavy() -> None:
    code = (
        "import bessai.intrusion, json, sys; "
        "print(json.dumps([m for m in ('sklearn', 'scipy', 'joblib', 'polars', 'pandas', "
        "'numba', 'onnxruntime', 'ray') if m in sys.modules]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(result.stdout) == []
