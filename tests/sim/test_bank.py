"""Which registers exist, and which writes are taken."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.config.profile import MAIN, Persistence, Point, PointType, Space, Table
from bessai.sim.bank import HOLDING, ILLEGAL_ADDRESS, ILLEGAL_VALUE, RegisterBank

STORED, SECRET = Persistence.STORED, Persistence.VOLATILE
INPUT = Space(MAIN, Table.INPUT)
METER = Space("meter", Table.HOLDING)


def point(address: int, kind: str = "u16", **more: object) -> Point:
    return Point.model_validate({"address": address, "type": kind, **more})


POINTS = {
    "a": point(10),
    "b": point(14, "i32", persistence=STORED, minimum=-5, maximum=5),
    "closed": point(17, persistence=SECRET, readable=False),
    "c": point(20, not_available=0xFFFF),
    "mode": point(21, persistence=STORED, enum={1: "on"}),
    "text": point(22, "string", count=2, persistence=STORED),
    "scaled": point(24, "i16", scale_factor="exponent", persistence=STORED),
    "exponent": point(25, "i16", not_available=0x8000),
    "measured": point(10, table="input", not_available=0xFFFF),
    "far": point(40, device="meter"),
    "wide": point(50, "u32", persistence=STORED),
    "narrow": point(50, persistence=STORED),
}


def bank(gap: int = 3) -> RegisterBank:
    return RegisterBank(POINTS, gap)


@pytest.mark.parametrize(
    ("address", "count", "known"),
    [
        (10, 1, True),
        (10, 6, True),  # over the gap 11 to 13
        (9, 2, False),
        (14, 2, True),
        (15, 3, False),  # 17 can only be written, so the gap 16 to 19 is none
        (16, 1, False),
        (17, 1, False),
        (20, 6, True),
        (25, 2, False),
        (65535, 1, False),
    ],
)
def test_only_points_and_bridged_gaps_can_be_read(address: int, count: int, known: bool) -> None:
    assert (bank().read(HOLDING, address, count) is not None) is known


def test_without_a_bridge_every_gap_is_a_hole() -> None:
    assert bank(0).read(HOLDING, 10, 6) is None
    assert bank(0).read(HOLDING, 14, 2) == [0, 0]


def test_each_unit_and_table_has_its_own_registers() -> None:
    registers = bank()
    registers.put("measured", 7)
    registers.put("far", 9)
    assert registers.read(INPUT, 10, 1) == [7]
    assert registers.read(HOLDING, 10, 1) == [0]
    assert registers.read(METER, 40, 1) == [9]
    assert registers.read(HOLDING, 40, 1) is None
    assert registers.read(Space("battery", Table.HOLDING), 40, 1) is None


@pytest.mark.parametrize(
    ("address", "words", "wanted"),
    [
        (14, [0xFFFF, 0xFFFF], {"b": (0xFFFF, 0xFFFF)}),
        (14, [0, 6], ILLEGAL_VALUE),
        (14, [0], ILLEGAL_VALUE),
        (15, [0], ILLEGAL_ADDRESS),
        (10, [0], ILLEGAL_ADDRESS),
        (14, [0, 1, 0], ILLEGAL_ADDRESS),
        (17, [5], {"closed": (5,)}),
        (21, [1], {"mode": (1,)}),
        (21, [2], ILLEGAL_VALUE),
        (22, [0, 0], ILLEGAL_VALUE),
        (50, [1], {"narrow": (1,)}),
        (50, [0, 1], {"wide": (0, 1)}),
        (11, [0], ILLEGAL_ADDRESS),
    ],
)
def test_a_write_covers_whole_writable_points_with_allowed_values(
    address: int, words: list[int], wanted: object
) -> None:
    assert bank().requested(MAIN, address, words) == wanted


def test_a_scale_factor_decides_what_is_shown() -> None:
    registers = bank()
    registers.put("exponent", -1)
    registers.put("scaled", 12.34)
    assert registers.read(HOLDING, 24, 1) == [123]
    assert registers.number("scaled") == 12.3


def test_garbage_hides_measured_values_only() -> None:
    registers = bank()
    registers.put("a", 3)
    registers.put("c", 4)
    assert registers.read_garbage(HOLDING, 20, 2) == [0xFFFF, 0]
    assert registers.read_garbage(HOLDING, 10, 1) == [3]
    assert registers.read_garbage(INPUT, 10, 1) == [0xFFFF]
    assert registers.read(HOLDING, 20, 1) == [4]


def test_fixed_words_cannot_be_hidden() -> None:
    registers = RegisterBank(
        {"id": point(0, not_available=0xFFFF), "v": point(2)}, 0, {0: 103, 1: 1}
    )
    registers.put_marker("id")
    assert registers.read(HOLDING, 0, 3) == [103, 1, 0]
    assert registers.read_garbage(HOLDING, 0, 3) == [103, 1, 0]


@given(st.sets(st.integers(0, 200), min_size=1, max_size=30), st.integers(0, 8))
def test_a_register_is_readable_if_it_is_a_point_or_in_a_short_gap(
    addresses: set[int], gap: int
) -> None:
    ordered = sorted(addresses)
    readable = set(ordered)
    for low, high in itertools.pairwise(ordered):
        if high - low - 1 <= gap:
            readable |= set(range(low, high))
    registers = RegisterBank({str(a): point(a) for a in ordered}, gap)
    assert {a for a in range(202) if registers.read(HOLDING, a, 1) is not None} == readable
    pairs = {a for a in range(202) if registers.read(HOLDING, a, 2) is not None}
    assert pairs == {a for a in readable if a + 1 in readable}


@pytest.mark.parametrize("kind", [PointType.F32, PointType.U64, PointType.I16])
def test_a_value_that_is_put_is_read_back(kind: PointType) -> None:
    registers = RegisterBank({"p": point(0, kind.value, gain=2, word_order="little")})
    registers.put("p", 21.5)
    assert registers.number("p") == 21.5
