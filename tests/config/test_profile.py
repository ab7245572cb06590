from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from bessai.config import load_profile, profile_path
from bessai.config.profile import REGISTERS_PER_TYPE, PointType, ReadBlock
from bessai.config.schema import main, profile_schema
from bessai.errors import ConfigError
from tests.config.files import DELETE, PROFILE, Change, Folder, profile

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "registry" / "devices").glob("*.yaml"))
SCHEMA_FILE = ROOT / "registry" / "schema" / "device_profile.schema.json"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({("programs", "hold"): DELETE}, "programs lacks hold"),
        ({("programs",): {}}, "programs lacks charge, discharge, hold, release"),
        ({("telemetry", "forced_charge_kw"): DELETE}, "telemetry lacks forced_charge_kw"),
        (
            {("telemetry",): {}},
            "telemetry lacks forced_command, forced_charge_kw, forced_discharge_kw",
        ),
        ({("telemetry", "soc_pct"): "x"}, "point 'x' is used but not defined"),
        ({("programs", "hold", "steps", 0, "point"): "x"}, "point 'x' is used but not defined"),
        ({("identification", "model_point"): "x"}, "point 'x' is used but not defined"),
        (
            {("telemetry_blocks", 0, "requires"): "x", ("telemetry_blocks", 0, "equals"): 1},
            "point 'x' is used but not defined",
        ),
        ({("telemetry_blocks", 0, "address"): 201}, "point 'soc' lies in no telemetry block"),
        (
            {("telemetry_blocks", 0, "count"): 3, ("telemetry", "energy_kwh"): "energy"},
            "point 'energy' lies in no telemetry block",
        ),
        (
            {("points", "command", "persistence"): "read_only"},
            "writes read-only point 'command'",
        ),
        (
            {("points", "command", "persistence"): "stored"},
            "writes stored point 'command'; commands are renewed for ever",
        ),
        (
            {("points", "command", "persistence"): "unknown"},
            "writes unknown point 'command'",
        ),
        (
            {("programs", "hold", "steps", 0, "point"): "forced_power"},
            "must write telemetry.forced_command last",
        ),
        ({("telemetry_blocks", 0, "equals"): 1}, "requires and equals belong together"),
        ({("telemetry_blocks", 0, "requires"): "soc"}, "requires and equals belong together"),
        ({("points", "energy", "count"): 1}, "points.energy: count must be 2 for type u32, got 1"),
        ({("points", "soc", "sign"): 0}, "points.soc: sign must be 1 or -1, got 0"),
        ({("points", "soc", "gain"): 0}, "points.soc.gain: Input should be greater than 0"),
        ({("points", "soc", "address"): 65536}, "points.soc.address"),
        ({("points", "soc", "type"): "u64"}, "points.soc.type"),
        ({("points", "soc", "adress"): 1}, "points.soc.adress: unknown field"),
        ({("programs", "hold", "steps"): []}, "programs.hold.steps"),
        ({("dead_man",): {"period_s": 0}}, "dead_man.period_s"),
        ({("limits", "soc_max_pct"): 101}, "limits.soc_max_pct"),
        ({("identification", "model_prefixes"): []}, "identification.model_prefixes"),
        ({("telemetry_blocks", 0, "count"): 126}, "telemetry_blocks[0].count"),
    ],
)
def test_a_wrong_profile_is_refused_before_any_register_is_touched(
    change: Change, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        profile(change)
    assert text in str(caught.value)
    assert str(caught.value).startswith("small.yaml")


def test_no_dead_man_must_be_said() -> None:
    assert profile({("dead_man",): None}).dead_man is None
    with pytest.raises(ConfigError, match="dead_man: is required"):
        profile({("dead_man",): DELETE})


def test_every_fixed_type_has_a_length() -> None:
    assert set(PointType) - set(REGISTERS_PER_TYPE) == {PointType.STRING}


@pytest.mark.parametrize(
    ("address", "count", "covered"),
    [(202, 2, True), (200, 4, True), (202, 1, False), (203, 2, False), (201, 2, False)],
)
def test_a_block_covers_a_point_only_as_a_whole(address: int, count: int, covered: bool) -> None:
    energy = profile().points["energy"]
    assert ReadBlock(address=address, count=count).covers(energy) is covered


def test_profiles_come_from_the_named_registry(folder: Folder) -> None:
    assert profile_path("small") == folder.path / "registry" / "devices" / "small.yaml"
    assert load_profile("small") == profile()


@pytest.mark.parametrize("name", ["../devices/small", "small.yaml", "", "SMALL", "/etc/passwd"])
def test_only_a_known_name_is_a_profile(folder: Folder, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a known device profile"):
        load_profile(name)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_profiles_load_and_are_called_like_their_file(path: Path) -> None:
    assert load_profile(path.stem).name == path.stem


def test_the_schema_file_is_current() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == profile_schema(), "run `make docs`"


def test_the_generator_writes_a_file_or_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "schema.json"
    assert main([str(target)]) == 0
    assert main([]) == 0
    assert target.read_text(encoding="utf-8") == capsys.readouterr().out == profile_schema()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_profiles_match_the_schema(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    # JSON knows text keys only; YAML's integer keys of enumerations become text there.
    jsonschema.validate(json.loads(json.dumps(document)), json.loads(profile_schema()))


def test_the_schema_refuses_an_unknown_field() -> None:
    schema = json.loads(profile_schema())
    jsonschema.validate(PROFILE, schema)
    with pytest.raises(jsonschema.ValidationError, match="colour"):
        jsonschema.validate(PROFILE | {"colour": "red"}, schema)
