"""The generated SunSpec models and the profiles built on them, against published tables."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from bessai.config import load_profile
from bessai.config.load import registry_root
from bessai.config.profile import DeviceProfile, Persistence, Point, PointType, WordOrder
from bessai.config.sunspec import with_sunspec_models
from bessai.devices.sunspec import MARKER, chain_layout
from tools.sunspec_models import LENGTH_WITHOUT_PAD, MODELS, TARGET, expected_files

DATA = Path(__file__).parent / "data"
TYPES = {
    "UINT16": {PointType.U16},
    "INT16": {PointType.I16},
    "UINT32": {PointType.U32},
    "INT32": {PointType.I32},
    "UINT64": {PointType.U64},
    "STRING": {PointType.STRING},
    "BITFIELD16": {PointType.BITFIELD16},
    "BITFIELD32": {PointType.BITFIELD32},
    "FLOAT32LE": {PointType.F32},
    "UINT32LE": {PointType.U32},
    "UINT64LE": {PointType.U64},
}
UNITS = {
    "Pct": "%",
    "C": "degC",
    "Var": "var",
    "Varh": "varh",
    "WH": "Wh",
    "AH": "Ah",
    "Secs": "s",
    "cos()": "",
    "% WChaMax/sec": "%/s",
    "% WMax/sec": "%/s",
    "%Max/Sec": "%/s",
    "kWh or %": "",
}

LEFT_OUT = {"point", "m1.Pad", "meter_unit"}
"""The heading, the optional pad of model 1, and a remark."""


class Fact(NamedTuple):
    point: str
    address: int
    registers: int
    type: str
    scale_factor: str
    unit: str
    access: str


def facts(file: str) -> list[Fact]:
    lines = (DATA / file).read_text(encoding="utf-8").splitlines()
    rows = csv.reader(line for line in lines[1:] if not line.startswith("#"))
    return [
        Fact(point, int(address), int(count), *rest)
        for point, address, count, *rest in rows
        if point not in LEFT_OUT
    ]


def name_of(fact: Fact) -> str:
    """The tables name a repeated group, the registry numbers it."""
    return fact.point.replace("m714.Prt.", "m714.1.").replace("m803.string.", "m803.1.")


def all_models() -> dict[str, Point]:
    section = {"sunspec": {"models": list(MODELS)}, "points": {}}
    data = with_sunspec_models(section, registry_root() / "sunspec")
    assert isinstance(data, dict)
    return {name: Point.model_validate(point) for name, point in data["points"].items()}


POINTS = all_models()


def check(fact: Fact, point: Point) -> None:
    """Address, size, type, scale factor and unit are those of the table."""
    assert point.address == fact.address
    assert point.count == fact.registers
    assert point.type in TYPES[fact.type]
    assert point.word_order is (WordOrder.LITTLE if fact.type.endswith("LE") else WordOrder.BIG)
    scale = f"m{point.model}.{fact.scale_factor}" if fact.scale_factor else None
    assert point.scale_factor == scale
    percentage = "%" if fact.unit.startswith("%") else fact.unit  # of what, its name says
    assert point.unit == UNITS.get(fact.unit, percentage)


@pytest.mark.parametrize("fact", facts("sunspec_models.csv"), ids=lambda f: f.point)
def test_a_generated_point_is_that_of_the_table(fact: Fact) -> None:
    point = POINTS[name_of(fact)]

    check(fact, point)
    assert (point.persistence is not Persistence.READ_ONLY) == (fact.access == "RW")


@pytest.mark.parametrize("model", MODELS)
def test_a_model_has_no_holes(model: int) -> None:
    points = sorted((p.address, p.end) for p in POINTS.values() if p.model == model)

    assert points[0] == (0, 1)
    assert [end for _, end in points[:-1]] == [first for first, _ in points[1:]]


def test_each_scale_factor_is_a_point_of_its_model() -> None:
    scaled = {name: p for name, p in POINTS.items() if p.scale_factor is not None}

    assert len(scaled) > 300
    for name, point in scaled.items():
        scale = POINTS[point.scale_factor or ""]
        assert (scale.model, scale.type) == (point.model, PointType.I16), name


def test_the_files_are_those_that_the_tool_writes() -> None:
    if find_spec("sunspec2") is None:
        pytest.skip("pysunspec2 is not installed")

    written = {path.name: path.read_text("utf-8") for path in TARGET.glob("model_*.yaml")}

    assert written == expected_files()


def test_only_model_1_leaves_its_pad_out() -> None:
    assert frozenset({1}) == LENGTH_WITHOUT_PAD
    assert max(p.end for p in POINTS.values() if p.model == 1) - 2 == 65


@pytest.mark.parametrize(
    ("fact", "name"),
    [(f, n) for n in ("fronius_gen24", "solaredge") for f in facts(f"chain_{n}.csv")],
    ids=lambda value: value if isinstance(value, str) else value.point,
)
def test_a_twin_has_its_points_where_the_familys_table_has_them(fact: Fact, name: str) -> None:
    profile, words = chain_layout(load_profile(name))
    if fact.point == "SunS":
        assert (words[fact.address], words[fact.address + 1]) == MARKER
        return
    known = {"m160.battery_charge_DCW": "m160.3.DCW", "m160.battery_discharge_DCW": "m160.4.DCW"}

    point = profile.points[known.get(fact.point, fact.point)]

    check(fact, point)
    if fact.access == "RW":
        assert point.persistence is not Persistence.READ_ONLY


def test_the_meter_of_fronius_is_model_203_at_its_own_unit() -> None:
    profile = load_profile("fronius_gen24")
    meter = {n: p for n, p in profile.points.items() if p.device == "meter"}
    start = meter["meter.model_id"].address

    same = {n: POINTS[n.replace("meter.", "m203.")] for n in meter if model_203(n)}

    assert len(same) > 15
    for name, point in same.items():
        assert meter[name].address == start + point.address
        assert meter[name].type is point.type
        assert meter[name].not_available == point.not_available


def model_203(name: str) -> bool:
    return name.replace("meter.", "m203.") in POINTS


@pytest.mark.parametrize("name", ["sunspec", "fronius_gen24", "solaredge"])
def test_a_command_is_renewed_without_wearing_anything_out(name: str) -> None:
    profile = load_profile(name)

    for label in ("charge", "discharge", "hold"):
        renewed = profile.renewed(profile.programs[label])
        assert all(not profile.points[step.point].persistence.budgeted for step in renewed)


@pytest.mark.parametrize("name", ["sunspec", "fronius_gen24", "solaredge"])
def test_a_twin_shows_a_scale_factor_for_each_scaled_value(name: str) -> None:
    twin, _ = chain_layout(load_profile(name))
    shown = {**twin.simulation.values, **twin.simulation.shows}

    scales = {twin.points[point].scale_factor for point in shown} - {None}

    assert scales <= twin.simulation.values.keys()


@pytest.mark.parametrize("name", ["sunspec", "fronius_gen24", "solaredge"])
def test_a_twin_shows_every_point_that_telemetry_and_checks_use(name: str) -> None:
    twin, _ = chain_layout(load_profile(name))

    shown = {*twin.simulation.values, *twin.simulation.shows, *twin.simulation.states}

    assert needed(twin) <= shown


def needed(profile: DeviceProfile) -> set[str]:
    telemetry = {value.points[0] for value in profile.telemetry.values() if value.any_of}
    sums = {name for value in profile.telemetry.values() if value.sum for name in value.points}
    checks = {name for check_ in profile.checks for name in check_.points}
    held = {name for state in profile.commanded for name in state.points}
    return telemetry | sums | checks | held | set(profile.identification.points)
