"""Faults as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.errors import BessaiError
from bessai.sim.faults import FAULT_FORMS, Fault, FaultKind, Faults, parse_faults

FORMS = dict(zip(FaultKind, FAULT_FORMS.split(", "), strict=True))
NUMBERS = st.floats(0, 3600).map(lambda value: float(f"{value:g}"))
FAULTS = st.one_of(
    st.sampled_from(FaultKind).filter(lambda kind: ":" not in FORMS[kind]).map(Fault),
    st.integers(1, 999).map(lambda n: Fault(FaultKind.DROP, float(n))),
    NUMBERS.map(lambda s: Fault(FaultKind.DELAY, s)),
    NUMBERS.map(lambda s: Fault(FaultKind.REBOOT, s)),
    st.floats(0, 1).map(lambda s: Fault(FaultKind.BUSY_STORM, float(f"{s:g}"))),
    st.integers(0, 63).map(lambda bit: Fault(FaultKind.ALARM, float(bit), "m701.Alrm")),
    st.floats(0, 1).map(lambda s: Fault(FaultKind.DROP_SHARE, float(f"{s:g}"))),
    st.just(Fault(FaultKind.STUCK, point="m713.SoC")),
    NUMBERS.map(lambda pct: Fault(FaultKind.SOC_DRIFT, -pct)),
    st.integers(-100, 100).map(lambda pct: Fault(FaultKind.SOC_OFFSET, float(pct))),
    NUMBERS.map(lambda kw: Fault(FaultKind.ROGUE, -kw)),
    st.integers(1, 3600).map(lambda s: Fault(FaultKind.ROGUE, 2.5, every_s=float(s))),
)


@given(st.lists(FAULTS, min_size=1, max_size=4))
def test_every_fault_survives_its_text(faults: list[Fault]) -> None:
    assert parse_faults(",".join(map(str, faults))) == tuple(faults)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("drop", Fault(FaultKind.DROP, 1.0)),
        ("busy_storm", Fault(FaultKind.BUSY_STORM, 0.5)),
        ("reboot", Fault(FaultKind.REBOOT, 20.0)),
        ("drop_share", Fault(FaultKind.DROP_SHARE, 0.3)),
        ("rogue:-2", Fault(FaultKind.ROGUE, -2.0)),
        ("rogue:2:5", Fault(FaultKind.ROGUE, 2.0, every_s=5.0)),
        (" delay:2.5 ", Fault(FaultKind.DELAY, 2.5)),
    ],
)
def test_what_may_be_left_out(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("flood", "unknown fault; got 'flood'; use none, dead"),
        ("", "unknown fault"),
        ("busy:3", "busy takes no amount"),
        ("delay", "no such amount.*use delay:SECONDS"),
        ("delay:soon", "no such amount"),
        ("delay:-1", "no such amount"),
        ("delay:nan", "no such amount"),
        ("drop:0", "use drop:REQUESTS, 1 to"),
        ("drop:1.5", "no such amount"),
        ("busy_storm:2", "0 to 1"),
        ("alarm:7", "use alarm:POINT:BIT"),
        ("alarm:alarm_1:64", "0 to 63"),
        ("alarm", "needs a point.*use alarm:POINT:BIT"),
        ("stuck", "needs a point.*use stuck:POINT"),
        ("stuck:soc:1", "stuck takes no amount"),
        ("drop_share:30", "use drop_share:SHARE, 0 to 1"),
        ("soc_offset", "use soc_offset:PERCENT"),
        ("rogue", "use rogue:KW:EVERY_S"),
        ("rogue:2:0", "EVERY_S in seconds, 0.1 to 3600"),
        ("rogue:2:1:3", "no such amount"),
    ],
)
def test_a_wrong_text_is_one_line_with_a_fix(text: str, line: str) -> None:
    with pytest.raises(BessaiError, match=line):
        Fault.parse(text)


def test_every_kind_is_in_the_help() -> None:
    forms = [form.split(":")[0] for form in FAULT_FORMS.split(", ")]
    assert forms == [kind.value for kind in FaultKind]


def test_none_is_no_fault() -> None:
    faults = Faults([Fault.NONE, Fault.BUSY])
    assert list(faults) == [Fault.BUSY]
    assert FaultKind.NONE not in faults
    assert str(Faults()) == "none"
