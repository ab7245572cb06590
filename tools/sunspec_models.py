"""Write ``registry/sunspec/model_<id>.yaml`` from the SunSpec model files that pysunspec2 carries.

``python -m tools.sunspec_models`` rewrites the files; ``--check`` only compares them. Only facts
are taken: names, offsets, types, scale factors, units, enum symbols, bits, access and labels.

Source: https://github.com/sunspec/models, Apache-2.0, as packaged in pysunspec2 1.3.7.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, TypedDict

import yaml

MODELS: Final = (
    *(1, 101, 102, 103, 111, 112, 113, 120, 121, 122, 123, 124, 160, 203, 213),
    *(701, 702, 703, 704, 713, 714, 715, 802, 803),
)
REPEATED: Final = 4
"""How often a group that the device repeats is written out, e.g. the inputs of model 160."""

LENGTH_WITHOUT_PAD: Final = frozenset({1})
"""Models whose trailing pad is optional; devices of the field leave it out (L = 65)."""

TARGET: Final = Path(__file__).resolve().parents[1] / "registry" / "sunspec"

TYPES: Final = {
    "int16": ("i16", "0x8000"),
    "uint16": ("u16", "0xFFFF"),
    "acc16": ("u16", "0"),
    "enum16": ("u16", "0xFFFF"),
    "count": ("u16", "0xFFFF"),
    "bitfield16": ("bitfield16", "0xFFFF"),
    "pad": ("u16", "0x8000"),
    "sunssf": ("i16", "0x8000"),
    "int32": ("i32", "0x80000000"),
    "uint32": ("u32", "0xFFFFFFFF"),
    "acc32": ("u32", "0"),
    "bitfield32": ("bitfield32", "0xFFFFFFFF"),
    "uint64": ("u64", "0xFFFFFFFFFFFFFFFF"),
    "acc64": ("u64", "0"),
    "float32": ("f32", None),
    "string": ("string", None),
}
"""Type and "not implemented" marker of each SunSpec type; a float's marker is NaN.

Source: SunSpec Device Information Model Specification 1.1, basic types.
"""

UNITS: Final = {
    "Pct": "%",
    "C": "degC",
    "Var": "var",
    "Varh": "varh",
    "WH": "Wh",
    "AH": "Ah",
    "Secs": "s",
    "PF": "",
    "cos()": "",
    "ohms": "ohm",
    "%Max/Sec": "%/s",
}
"""Units of the model files that the project spells otherwise."""


class Symbol(TypedDict):
    """One value of an enumeration, or one bit."""

    name: str
    value: int


class _PointKeys(TypedDict):
    name: str
    type: str
    size: int


class RawPoint(_PointKeys, total=False):
    """One point as the model file has it."""

    sf: str | int
    units: str
    access: Literal["R", "RW"]
    symbols: list[Symbol]
    label: str


class _GroupKeys(TypedDict):
    name: str
    points: list[RawPoint]


class RawGroup(_GroupKeys, total=False):
    """Points and further groups; ``count`` says that the device repeats the group."""

    label: str
    count: str | int
    groups: list[RawGroup]


@dataclass(frozen=True, slots=True)
class Placed:
    """A point at its offset from the model's ID register."""

    name: str
    offset: int
    raw: RawPoint


def placed(group: RawGroup, offset: int = 0, prefix: str = "") -> Iterator[Placed]:
    """All points of a group in order, repeated groups ``REPEATED`` times."""
    for raw in group["points"]:
        yield Placed(prefix + raw["name"], offset, raw)
        offset += raw["size"]
    for inner in group.get("groups", []):
        names = (
            [f"{n}." for n in range(1, REPEATED + 1)] if "count" in inner else [inner["name"] + "."]
        )
        for name in names:
            yield from placed(inner, offset, prefix + name)
            offset += _size(inner)


def _size(group: RawGroup) -> int:
    return sum(raw["size"] for raw in group["points"]) + sum(map(_size, group.get("groups", [])))


def model_yaml(model: int, group: RawGroup) -> str:
    """The file of one model."""
    lines = [
        "# Written by `python -m tools.sunspec_models`. Do not edit.",
        f"model: {model}",
        f"title: {_text(group.get('label', group['name']))}",
        "source: SunSpec information models, Apache-2.0, https://github.com/sunspec/models",
        "points:",
    ]
    for point in placed(group):
        if not (model in LENGTH_WITHOUT_PAD and point.raw["type"] == "pad"):
            lines += _point_lines(point)
    return "\n".join(lines) + "\n"


def _point_lines(point: Placed) -> list[str]:
    raw = point.raw
    kind, marker = TYPES[raw["type"]]
    fields = [f"address: {point.offset}", f"type: {kind}"]
    if kind == "string":
        fields.append(f"count: {raw['size']}")
    match raw.get("sf"):
        case str() as name:
            fields.append(f"scale_factor: {name}")
        case int() as exponent:
            fields.append(f"gain: {10.0**-exponent:g}")
    unit = _unit(raw.get("units", ""))
    if unit:
        fields.append(f"unit: {_text(unit)}")
    if raw.get("access") == "RW":
        fields.append("persistence: unknown")
    if marker is not None:
        fields.append(f"not_available: {marker}")
    label = " ".join(raw.get("label", "").split())
    if label and label != raw["name"]:
        fields.append(f"title: {_text(label)}")
    return [
        *_wrapped(f"  {_text(point.name)}: {{{', '.join(fields)}", raw.get("symbols", []), kind)
    ]


def _wrapped(start: str, symbols: list[Symbol], kind: str) -> Iterator[str]:
    if not symbols:
        yield start + "}"
        return
    key = "bits" if kind.startswith("bitfield") else "enum"
    names = ", ".join(f"{symbol['value']}: {_text(symbol['name'])}" for symbol in symbols)
    yield start + ","
    yield f"    {key}: {{{names}}}}}"


def _unit(unit: str) -> str:
    """The project's spelling; what a percentage is of stays with the point's name."""
    unit = unit.strip()
    if unit in UNITS:
        return UNITS[unit]
    if unit.startswith("%"):
        return "%/s" if unit.endswith("/sec") else "%"
    return unit


def _text(text: str) -> str:
    """Plain where YAML reads it back as this very text, else quoted."""
    plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_ ./()-]*", text) is not None
    return text if plain and yaml.safe_load(text) == text else json.dumps(text)


def raw_group(folder: Path, model: int) -> RawGroup:
    """The main group of a model file."""
    data = json.loads((folder / f"model_{model}.json").read_text(encoding="utf-8"))
    group: RawGroup = data["group"]
    return group


def expected_files() -> dict[str, str]:
    """Text of each file, by file name.

    Raises:
        SystemExit: pysunspec2 is not installed.
    """
    found = find_spec("sunspec2")
    if found is None or found.origin is None:
        raise SystemExit("pysunspec2 is not installed; run: pip install pysunspec2==1.3.7")
    folder = Path(found.origin).parent / "models" / "json"
    return {f"model_{m}.yaml": model_yaml(m, raw_group(folder, m)) for m in MODELS}


def main(arguments: list[str]) -> int:
    """Write the files, or name those that differ."""
    files = expected_files()
    if "--check" in arguments:
        paths = [TARGET / name for name in files]
        old = [p for p in paths if not p.is_file() or p.read_text("utf-8") != files[p.name]]
        for path in old:
            sys.stderr.write(f"{path.name} is not current; run: python -m tools.sunspec_models\n")
        return 1 if old else 0
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (TARGET / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
