from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from bessai.config import load_profile, profile_path
from bessai.config.profile import REGISTERS_PER_TYPE, PointType, Table, WordOrder
from bessai.config.schema import main, profile_schema
from bessai.errors import ConfigError
from tests.config.files import DELETE, PROFILE, STEP, Change, Folder, profile

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "registry" / "devices").glob("*.yaml"))
SCHEMA_FILE = ROOT / "registry" / "schema" / "device_profile.schema.json"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({("programs", "hold"): DELETE}, "programs lacks hold"),
        ({("programs",): {"charge": {"steps": STEP}}}, "programs lacks discharge, hold, release"),
        ({("commanded",): []}, "commanded is required with programs"),
        ({("programs",): {}, ("capabilities",): ["forced_control"]}, "programs is empty"),
        ({("telemetry", "soc_pct"): "x"}, "telemetry.soc_pct uses point 'x', which is not defined"),
        ({("ready", "battery_status"): ["walking"]}, "ready.battery_status: 'walking' is no state"),
        ({("ready", "battery_status"): []}, "ready.battery_status is required"),
        ({("telemetry", "soc"): "soc"}, "telemetry.soc is not a telemetry field"),
        ({("telemetry", "alarms_1"): {"sum": [{"point": "soc"}]}}, "alarms_1 is no number"),
        ({("telemetry", "soc_pct"): {"any_of": ["soc"], "max_of": ["soc"]}}, "exactly one of"),
        ({("telemetry", "soc_pct"): {"product": ["soc"]}}, "product takes two points"),
        ({("programs", "hold", "steps", 0, "point"): "x"}, "programs.hold uses point 'x'"),
        ({("programs", "hold", "steps", 0, "percent_of"): "x"}, "programs.hold uses point 'x'"),
        ({("programs", "hold", "steps", 0, "value"): "watts"}, "programs.hold.steps[0].value"),
        ({("identification", "model"): ["x"]}, "identification uses point 'x'"),
        ({("identification", "model"): []}, "identification.model"),
        ({("guards",): [{"first": 1, "last": 2, "requires": "x", "equals": 1}]}, "guards uses"),
        ({("points", "soc", "scale_factor"): "x"}, "scale_factor uses point 'x'"),
        ({("points", "soc", "device"): "meter"}, "is of device 'meter'"),
        ({("points", "soc", "model"): 103}, "is of model 103; add it to sunspec.models"),
        ({("points", "command", "persistence"): "read_only"}, "writes read-only point 'command'"),
        (
            {("points", "command", "persistence"): "stored"},
            "program 'charge' renews nothing that restarts the dead-man",
        ),
        (
            {
                ("points", "command", "persistence"): "unknown",
                ("programs", "charge", "steps", 0, "renew"): True,
                ("dead_man",): None,
            },
            "renews unknown point 'command'; commands are renewed for ever",
        ),
        (
            {("dead_man", "restarted_by"): ["forced_power"]},
            "program 'charge' renews nothing that restarts the dead-man",
        ),
        (
            {("programs", "hold", "steps", 0, "value"): "dead_man", ("dead_man",): None},
            "uses dead_man, but the profile has none",
        ),
        (
            {
                ("points", "other"): {"address": 9, "type": "u16", "persistence": "command"},
                ("programs", "hold", "steps", 0, "point"): "other",
            },
            "program 'hold' must end with a point of commanded, not 'other'",
        ),
        ({("points", "energy", "count"): 1}, "points.energy: count must be 2 for type u32, got 1"),
        ({("points", "model", "count"): DELETE}, "count is required for a string"),
        ({("points", "soc", "sign"): 0}, "points.soc: sign must be 1 or -1, got 0"),
        ({("points", "soc", "gain"): 0}, "points.soc.gain: Input should be greater than 0"),
        ({("points", "soc", "address"): 65536}, "points.soc.address"),
        ({("points", "energy", "address"): 65535}, "2 registers from 65535 leave the address"),
        ({("points", "soc", "readable"): False}, "neither readable nor writable"),
        (
            {("points", "command", "table"): "input"},
            "input registers cannot be written; use table: holding",
        ),
        ({("points", "soc", "type"): "u63"}, "points.soc.type"),
        ({("points", "soc", "adress"): 1}, "points.soc.adress: unknown field"),
        ({("programs", "hold", "steps"): []}, "programs.hold.steps"),
        ({("dead_man", "period_s"): 0}, "dead_man.period_s"),
        ({("limits", "soc_max_pct"): 101}, "limits.soc_max_pct"),
        ({("connection", "max_block"): 126}, "connection.max_block"),
        ({("connection", "ports"): [0]}, "port 0 is not 1 to 65535"),
        ({("connection", "unit_ids"): [256]}, "unit_ids must hold unit ids 0 to 255"),
        (
            {("connection", "keep_alive"): {"point": "command", "value": 1, "every_s": 15}},
            "keep_alive waits for a login",
        ),
        (
            {("simulation",): {"values": {"soc": 1}, "absent": ["soc"]}},
            "point 'soc' is shown twice",
        ),
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


def test_defaults_and_markers_reach_every_point_that_does_not_say_otherwise() -> None:
    points = profile(
        {
            ("point_defaults",): {"table": "input", "word_order": "little", "source": "manual"},
            ("markers",): {"u16": 0xFFFF},
            ("points", "soc", "source"): "page 7",
            ("points", "energy", "table"): "holding",
            ("points", "plain"): {"address": 9, "type": "u16", "not_available": None},
        }
    ).points
    assert (points["soc"].table, points["soc"].source) == (Table.INPUT, "page 7")
    assert (points["energy"].table, points["energy"].word_order) == (
        Table.HOLDING,
        WordOrder.LITTLE,
    )
    assert points["command"].table is Table.HOLDING, "what can be written is a holding register"
    assert (points["soc"].not_available, points["plain"].not_available) == (0xFFFF, None)


def test_a_family_without_programs_is_a_monitor() -> None:
    assert not profile({("programs",): {}}).controllable
    assert profile().controllable


def test_an_unknown_sunspec_model_is_named(folder: Folder) -> None:
    folder.write_profile("strange", {("sunspec",): {"models": [9999]}})
    with pytest.raises(ConfigError, match=r"sunspec\.models: is not a known SunSpec model"):
        load_profile("strange")


def test_a_new_family_is_one_new_file(folder: Folder) -> None:
    folder.write_profile("brand_new", {("title",): "Nobody has heard of it yet"})
    assert load_profile("brand_new").title == "Nobody has heard of it yet"
    fleet = folder.load({("sites", 0, "profile"): "brand_new"})
    assert fleet.sites[0].profile == "brand_new"


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
