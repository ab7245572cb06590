"""Profiles against tables of register facts: addresses, lengths, types and gains are not guesses.

``data/registers_<profile>.csv`` holds the facts of a family, as published sources state them; a
file dropped in there is checked. Optional columns: ``access`` (RO, RW, WO), ``unit`` and ``table``
(holding, input), for families that use the same address in both.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from bessai.config import DeviceProfile, load_profile, profile_path
from bessai.config.profile import Persistence, Point, PointType, Table, WordOrder
from bessai.devices.codec import encode_number, encode_text, marker

DATA = Path(__file__).parent / "data"
FAMILIES = sorted(path.stem.removeprefix("registers_") for path in DATA.glob("registers_*.csv"))
PROFILES = sorted(path.stem for path in profile_path("x").parent.glob("*.yaml"))
STRUCT = "STRUCT"
TYPES = {
    "UINT16": {PointType.U16, PointType.BITFIELD16},
    "INT16": {PointType.I16},
    "UINT32": {PointType.U32, PointType.BITFIELD32},
    "EPOCH32": {PointType.U32},
    "INT32": {PointType.I32},
    "UINT64": {PointType.U64, PointType.BITFIELD64},
    "INT64": {PointType.I64},
    "FLOAT32": {PointType.F32},
    "FLOAT64": {PointType.F64},
    "BITFIELD16": {PointType.BITFIELD16, PointType.U16},
    "BITFIELD32": {PointType.BITFIELD32, PointType.U32},
    "BITFIELD64": {PointType.BITFIELD64, PointType.U64},
    "STRING": {PointType.STRING},
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of a table."""

    name: str
    address: int
    count: int
    type: str
    gain: str
    access: str
    table: str
    unit: str | None

    @classmethod
    def of(cls, row: dict[str, str]) -> Fact:
        return cls(
            row["point"],
            int(row["address"]),
            int(row["count"]),
            row["type"],
            row["gain"] or "1",
            row.get("access") or "",
            row.get("table") or "",
            row.get("unit"),
        )

    def mistakes(self, point: Point) -> Iterator[str]:
        """What a point at this address has otherwise."""
        if self.table and point.table.value != self.table:
            yield f"table {point.table}, not {self.table}"
        if point.count != self.count:
            yield f"count {point.count}, not {self.count}"
        if point.type not in TYPES[self.type.removesuffix("LE")]:
            yield f"type {point.type}, not {self.type}"
        order = WordOrder.LITTLE if self.type.endswith("LE") else WordOrder.BIG
        multiword = point.count > 1 and point.type is not PointType.STRING
        if multiword and point.word_order is not order:
            yield f"word order {point.word_order}, not {order}"
        if self.access == "RO" and point.persistence is not Persistence.READ_ONLY:
            yield f"persistence {point.persistence}, but it cannot be written"
        if self.access in ("RW", "WO") and point.persistence is Persistence.READ_ONLY:
            yield "persistence read_only, but it can be written"
        if self.access == "RW" and not point.readable:
            yield "not readable, but it can be read"
        if self.unit is not None and point.unit != self.unit:
            yield f"unit {point.unit!r}, not {self.unit!r}"
        if self.access == "WO" and point.readable:
            yield "readable, but it can only be written"
        yield from self._gain_mistakes(point)

    def _gain_mistakes(self, point: Point) -> Iterator[str]:
        _, scaled, factor = self.gain.partition("10^-")
        if scaled:
            if point.scale_factor is None or not point.scale_factor.endswith(factor):
                yield f"scale factor {point.scale_factor}, not {factor}"
        elif point.gain != abs(float(self.gain)):
            yield f"gain {point.gain:g}, not {self.gain}"


def facts_of(family: str) -> list[Fact]:
    with (DATA / f"registers_{family}.csv").open(encoding="utf-8", newline="") as file:
        return [Fact.of(row) for row in csv.DictReader(line for line in file if line[0] != "#")]


def profile_of(family: str) -> DeviceProfile:
    names = [name for name in PROFILES if name == family or name.startswith(f"{family}_")]
    assert names, f"data/registers_{family}.csv is of no profile"
    return load_profile(names[0])


def contradictions(facts: list[Fact], points: dict[str, Point]) -> list[str]:
    """One line per point that no fact of its address agrees with."""
    rows: dict[int, list[Fact]] = {}
    for fact in facts:
        if fact.type != STRUCT:
            rows.setdefault(fact.address, []).append(fact)
    found = []
    for name, point in points.items():
        here = [] if point.model is not None else rows.get(point.address, [])
        wrong = [f"{name} at {point.address}: {'; '.join(fact.mistakes(point))}" for fact in here]
        if here and all(any(fact.mistakes(point)) for fact in here):
            found.append(wrong[0])
    return found


def strangers(facts: list[Fact], points: dict[str, Point]) -> list[str]:
    """Points at addresses that no fact names, neither alone nor inside a structure."""
    single = {fact.address for fact in facts if fact.type != STRUCT}
    inside = {
        fact.address + offset
        for fact in facts
        if fact.type == STRUCT
        for offset in range(fact.count)
    }
    return [
        name
        for name, point in points.items()
        if point.model is None and point.address not in single | inside
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_profile_agrees_with_every_fact_about_its_registers(family: str) -> None:
    assert contradictions(facts_of(family), profile_of(family).points) == []


@pytest.mark.parametrize("family", ["huawei_sun2000", "sungrow_sh", "goodwe_et"])
def test_a_profile_invents_no_address_and_leaves_out_no_plain_value(family: str) -> None:
    facts, points = facts_of(family), profile_of(family).points
    assert strangers(facts, points) == []
    carried = {point.address for point in points.values()}
    plain = {fact.address for fact in facts if fact.type != STRUCT}
    assert plain <= carried


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"gain": 1.0}, "gain 1, not 10"),
        ({"type": PointType.I16}, "type i16, not UINT16"),
        ({"count": 2, "type": PointType.U32}, "count 2, not 1"),
        ({"persistence": Persistence.VOLATILE}, "cannot be written"),
        ({"unit": "Wh"}, "unit 'Wh', not '%'"),
    ],
)
def test_a_wrong_point_is_found(change: dict[str, object], complaint: str) -> None:
    point = profile_of("huawei_sun2000").points["soc"]
    wrong = {"soc": point.model_copy(update=change)}
    assert complaint in contradictions(facts_of("huawei_sun2000"), wrong)[0]


def test_a_point_that_can_be_written_and_is_not_is_found() -> None:
    command = profile_of("huawei_sun2000").points["forced_command"]
    wrong = {"forced_command": command.model_copy(update={"persistence": Persistence.READ_ONLY})}
    assert "it can be written" in contradictions(facts_of("huawei_sun2000"), wrong)[0]


def test_a_point_in_the_wrong_table_or_word_order_is_found() -> None:
    facts, power = facts_of("sungrow_sh"), profile_of("sungrow_sh").points["export_power"]
    holding = power.model_copy(update={"table": Table.HOLDING})
    swapped = power.model_copy(update={"word_order": WordOrder.BIG})
    assert "not input" in contradictions(facts, {"export_power": holding})[0]
    assert "word order big" in contradictions(facts, {"export_power": swapped})[0]


def test_a_point_at_an_unknown_address_is_found() -> None:
    point = profile_of("goodwe_et").points["soc"].model_copy(update={"address": 37100})
    assert strangers(facts_of("goodwe_et"), {"soc": point}) == ["soc"]


def test_the_huawei_profile_has_at_least_120_points() -> None:
    assert len(profile_of("huawei_sun2000").points) >= 120


def test_a_huawei_read_bridges_at_most_16_undocumented_registers() -> None:
    profile = profile_of("huawei_sun2000")
    points = sorted(profile.points.values(), key=lambda point: point.address)
    gaps = [after.address - before.end for before, after in pairwise(points)]
    assert max(gap for gap in gaps if gap <= profile.connection.max_gap) <= 16


HUAWEI_CLIENT_BLOCKS = [
    *((30000, 15), (30015, 50), (30071, 1), (37200, 1), (47000, 1), (47089, 1), (47954, 1)),
    *((37100, 1), (37125, 1), (42900, 1), (43006, 1)),
    *((32000, 20), (32064, 52), (37000, 26), (37046, 4), (37066, 4), (37100, 38), (37758, 30)),
    *((40125, 3), (47075, 28), (47246, 52), (47415, 4)),
]
"""What a client reads when it connects and when it polls: the Home Assistant integration."""


def readable_spans(profile: DeviceProfile) -> list[tuple[int, int]]:
    """``(first, end)`` of what the simulated twin answers, gaps bridged."""
    spans: list[tuple[int, int]] = []
    gap = profile.simulation.bridged_gap or 0
    for point in sorted(profile.points.values(), key=lambda point: point.address):
        if spans and point.address - spans[-1][1] <= gap:
            spans[-1] = (spans[-1][0], max(spans[-1][1], point.end))
        else:
            spans.append((point.address, point.end))
    return spans


@pytest.mark.parametrize(("address", "count"), HUAWEI_CLIENT_BLOCKS)
def test_a_huawei_client_can_read_its_blocks_whole(address: int, count: int) -> None:
    spans = readable_spans(profile_of("huawei_sun2000"))
    assert any(first <= address and address + count <= end for first, end in spans)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_simulated_twin_shows_fits_its_registers(family: str) -> None:
    profile = profile_of(family)
    simulation, points = profile.simulation, profile.points
    for name, shown in simulation.values.items():
        if isinstance(shown, str):
            assert points[name].type is PointType.STRING, name
            assert len(shown) <= 2 * points[name].count, name
            assert encode_text(points[name], shown)
        elif points[name].scale_factor is None:
            assert encode_number(points[name], shown, name=name)
    assert [name for name in simulation.absent if marker(points[name]) is None] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_simulated_twin_is_recognised_as_its_family(family: str) -> None:
    profile = profile_of(family)
    texts = []
    for name in profile.identification.model:
        shown = profile.simulation.values[name]
        texts.append(shown if isinstance(shown, str) else profile.points[name].enum[int(shown)])
    model = " ".join(texts)
    expect = profile.identification.expect
    assert not expect or model.startswith(expect)


@pytest.mark.parametrize("family", FAMILIES)
def test_points_of_one_space_do_not_overlap(family: str) -> None:
    points = profile_of(family).points
    spans = sorted((p.space, p.address, p.end, name) for name, p in points.items() if not p.model)
    for (space, _, end, name), (other_space, start, _, other) in pairwise(spans):
        assert space != other_space or end <= start, f"{name} overlaps {other}"
