"""The allow-list as a table: an event in, the broken rule and what would be allowed out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.errors import ModelError
from bessai.intrusion.allowlist import AllowList, AllowListMonitor, Rule, learn
from bessai.intrusion.events import Finding, ModbusEvent, refusal_event, request_event

ALLOWED = AllowList(
    (
        Rule("site", 1, 3, 100, 163),
        Rule("guest", 1, 3, 100, 163),
        Rule("site", 1, 6, 200, 200, whole=True, lowest=0, highest=2, max_per_min=4),
        Rule("site", 1, 16, 201, 202, whole=True, lowest=-500, highest=500, signed=True),
        Rule("site", 1, 6, 210, 210, whole=True, min_gap_s=30.0),
        Rule("site", 1, 0x41, -1, -1),
    ),
    max_refusals_per_min=5,
    max_places_per_min=10,
)


def event(
    function: int,
    address: int | None = None,
    count: int = 1,
    words: tuple[int, ...] = (),
    *,
    client: str = "site",
    unit_id: int = 1,
    at_s: float = 0.0,
) -> ModbusEvent:
    return ModbusEvent(at_s, client, unit_id, function, address, count, words)


ROWS: list[tuple[str, ModbusEvent, str | None, str]] = [
    ("read inside", event(3, 110, 10), None, ""),
    ("read of all", event(3, 100, 64), None, ""),
    ("read of a guest", event(3, 100, 64, client="guest"), None, ""),
    ("login", event(0x41), None, ""),
    ("command", event(6, 200, 1, (2,)), None, ""),
    ("negative power", event(16, 201, 2, (0xFFFF, 0xFE0C)), None, ""),
    ("read over the end", event(3, 150, 20), "register", "100 to 163"),
    ("read elsewhere", event(3, 5, 1), "register", "100 to 163"),
    ("other unit", event(3, 110, 1, unit_id=9), "unit", "units 1"),
    ("input registers", event(4, 110, 1), "function", "[3, 6, 16, 65]"),
    ("stranger reads", event(3, 110, 1, client="evil"), "client", "guest, site"),
    ("stranger writes", event(6, 200, 1, (1,), client="evil"), "writer", "site"),
    ("guest writes", event(6, 200, 1, (1,), client="guest"), "writer", "site"),
    ("value too high", event(6, 200, 1, (3,)), "value", "0 to 2"),
    ("power too low", event(16, 201, 2, (0xFFFF, 0xFE0B)), "value", "-500 to 500"),
    ("power too high", event(16, 201, 2, (0, 501)), "value", "-500 to 500"),
    ("half a value", event(16, 201, 1, (1,)), "register", "201 to 202"),
    ("more than a value", event(16, 201, 3, (0, 1, 1)), "register", "201 to 202"),
    ("login with registers", event(0x41, 7, 1), "register", "registers"),
]


@pytest.mark.parametrize(("_", "seen", "rule", "allowed"), ROWS, ids=[row[0] for row in ROWS])
def test_one_event(_: str, seen: ModbusEvent, rule: str | None, allowed: str) -> None:
    found = AllowListMonitor(ALLOWED).check(seen)
    assert [f.rule for f in found] == ([] if rule is None else [rule])
    assert all(allowed in f.allowed for f in found)
    assert all(seen.client in f.what for f in found)


def rules_found(monitor: AllowListMonitor, events: list[ModbusEvent]) -> list[str]:
    return [finding.rule for seen in events for finding in monitor.check(seen)]


def test_too_often_in_a_minute() -> None:
    monitor = AllowListMonitor(ALLOWED)
    writes = [event(6, 200, 1, (1,), at_s=10.0 * k) for k in range(5)]
    assert rules_found(monitor, writes) == ["cadence"]
    assert rules_found(monitor, [event(6, 200, 1, (1,), at_s=75.0)]) == []


def test_too_soon_after_the_last_one() -> None:
    monitor = AllowListMonitor(ALLOWED)
    writes = [event(6, 210, 1, (7,), at_s=at) for at in (0.0, 29.0, 59.5, 70.0)]
    assert rules_found(monitor, writes) == ["cadence", "cadence"]


def test_a_scan_of_addresses_is_found_even_where_reading_is_allowed() -> None:
    monitor = AllowListMonitor(ALLOWED)
    reads = [event(3, 100 + k, 1, at_s=k * 0.1) for k in range(12)]
    assert rules_found(monitor, reads) == ["scan", "scan"]
    assert rules_found(monitor, [event(3, 100, 1, at_s=90.0)]) == []


def test_a_scan_that_is_refused() -> None:
    monitor = AllowListMonitor(ALLOWED)
    refusals = [refusal_event(k * 1.0, "site", 1, bytes((0x83, 2))) for k in range(7)]
    events = [refusal for refusal in refusals if refusal is not None]
    assert rules_found(monitor, events) == ["scan", "scan"]
    assert monitor.check(events[0])[0] == Finding(
        "scan", "site was refused 8 times in a minute", "at most 5 a minute"
    )


@pytest.mark.parametrize(
    ("pdu", "wanted"),
    [
        (b"\x03\x00\x10\x00\x02", event(3, 16, 2)),
        (b"\x06\x00\x10\x01\x02", event(6, 16, 1, (0x102,))),
        (b"\x05\x00\x01\xff\x00", event(5, 1, 1, (0xFF00,))),
        (b"\x10\x00\x10\x00\x02\x04\x00\x01\x00\x02", event(16, 16, 2, (1, 2))),
        (b"\x0f\x00\x10\x00\x0a\x02\xcd\x01", event(15, 16, 10, (0xCD, 1))),
        (b"\x41\x24\x01", event(0x41, None, 0)),
        (b"\x2b\x0e\x01\x00", event(0x2B, None, 0)),
        (b"\x03\x00", event(3, None, 0)),
        (b"", event(0, None, 0)),
    ],
)
def test_requests_from_bytes(pdu: bytes, wanted: ModbusEvent) -> None:
    assert request_event(0.0, "site", 1, pdu) == wanted


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_that_can_be_checked(pdu: bytes) -> None:
    AllowListMonitor(ALLOWED).check(request_event(0.0, "site", 1, pdu))
    assert refusal_event(0.0, "site", 1, b"\x03\x02\x00\x01") is None


def clean_traffic(seconds: int) -> list[ModbusEvent]:
    reads = [event(3, 100, 20, at_s=float(s), client="master") for s in range(seconds)]
    writes = [
        event(6, 200, 1, (10 + s % 7,), at_s=s + 0.5, client="master")
        for s in range(0, seconds, 10)
    ]
    return sorted((*reads, *writes), key=lambda e: e.at_s)


LEARNED: list[tuple[ModbusEvent, str | None]] = [
    (event(3, 100, 20, client="master", at_s=999.0), None),
    (event(6, 200, 1, (16,), client="master", at_s=999.0), None),
    (event(6, 200, 1, (17,), client="master", at_s=999.0), "value"),
    (event(3, 100, 21, client="master", at_s=999.0), "register"),
    (event(3, 100, 20, client="other", at_s=999.0), "client"),
    (event(6, 200, 1, (10,), client="other", at_s=999.0), "writer"),
    (event(1, 100, 20, client="master", at_s=999.0), "function"),
]


@pytest.mark.parametrize(("seen", "rule"), LEARNED)
def test_a_list_learned_from_clean_traffic(seen: ModbusEvent, rule: str | None) -> None:
    allowed = learn(clean_traffic(300))
    monitor = AllowListMonitor(allowed)
    assert rules_found(monitor, clean_traffic(300)) == []
    assert rules_found(monitor, [seen]) == ([] if rule is None else [rule])


def test_a_learned_rate() -> None:
    monitor = AllowListMonitor(learn(clean_traffic(300)))
    fast = [event(3, 100, 20, client="master", at_s=k * 0.5) for k in range(120)]
    assert rules_found(monitor, fast) == ["cadence"] * 30  # 60 a minute were seen, 90 are allowed


def test_a_list_survives_its_text() -> None:
    allowed = learn(clean_traffic(60))
    assert AllowList.from_json(allowed.to_json()) == allowed
    assert AllowList.from_json(ALLOWED.to_json()) == ALLOWED


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"rules": [{"client": "x"}]}', '{"rules": [], "more": 1}'],
)
def test_something_else_is_no_list(text: str) -> None:
    with pytest.raises(ModelError, match="is not an allow-list"):
        AllowList.from_json(text)
