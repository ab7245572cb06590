"""Every mistake in a fleet file becomes one line that names field, value and fix."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.config import ApiConfig, FleetConfig, load_fleet, load_profile
from bessai.config.load import parse
from bessai.errors import ConfigError
from tests.config.files import DELETE, FLEET, Change, Folder, changed

BATTERY = ("sites", 1, "battery")


def mistake(folder: Folder, change: Change) -> str:
    with pytest.raises(ConfigError) as caught:
        folder.load(change)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_correct_file_loads_with_cautious_defaults(folder: Folder) -> None:
    fleet = folder.load()
    battery = fleet.sites[0].battery
    assert [site.id for site in fleet.sites] == ["a", "b"]
    assert (battery.soc_min_pct, battery.soc_max_pct) == (10.0, 95.0)
    assert fleet.simulation is None
    assert fleet.api.is_loopback
    assert fleet.sites[0].max_age_s == 10.0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {("sites", 1, "hots"): "x"},
            "fleet.yaml: sites[1].hots: unknown field; did you mean 'host'?",
        ),
        (
            {(*BATTERY, "soc_min"): 5},
            "fleet.yaml: sites[1].battery.soc_min: unknown field; did you mean 'soc_min_pct'?",
        ),
        (
            {("zzz",): 1},
            "fleet.yaml: zzz: unknown field; known fields: id, market, api, simulation, sites",
        ),
        (
            {("api",): {"prot": 1}},
            "fleet.yaml: api.prot: unknown field; did you mean 'port'?",
        ),
        (
            {("sites", 1, "id"): "a"},
            "fleet.yaml: sites[1].id: 'a' is already used by sites[0]; give each site its own id",
        ),
        (
            {("sites", 1, "battery"): DELETE},
            "fleet.yaml: sites[1].battery: is required; add it",
        ),
        (
            {(*BATTERY, "max_charge_kw"): DELETE},
            "fleet.yaml: sites[1].battery.max_charge_kw: is required; add it",
        ),
        (
            {(*BATTERY, "max_charge_kw"): 5.5},
            "sites[1].battery.max_charge_kw: is outside what profile small allows; got 5.5; "
            "set at most 5",
        ),
        (
            {(*BATTERY, "soc_min_pct"): 4},
            "sites[1].battery.soc_min_pct: is outside what profile small allows; got 4; "
            "set at least 5",
        ),
        (
            {(*BATTERY, "temperature_max_c"): 60},
            "sites[1].battery.temperature_max_c: is outside what profile small allows; got 60; "
            "set at most 55",
        ),
        (
            {("sites", 0, "profile"): "smal"},
            "sites[0].profile: is not a known device profile; got 'smal'; "
            "use one of small, or add devices/smal.yaml",
        ),
        (
            {("sites", 1, "host"): "192.0.2.1", ("sites", 1, "port"): 502},
            "sites[1].host: is the inverter of sites[0] already; got 192.0.2.1:502, unit 1; "
            "give each site its own host, port or unit_id",
        ),
    ],
)
def test_a_mistake_is_one_line_with_field_value_and_fix(
    folder: Folder, change: Change, text: str
) -> None:
    assert mistake(folder, change) == text


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({("sites", 0, "port"): 70000}, ["sites[0].port", "65535", "got 70000"]),
        ({("sites", 0, "id"): "Has Space"}, ["sites[0].id", "got 'Has Space'"]),
        ({("sites", 0, "cycle_s"): 0.1}, ["sites[0].cycle_s", "0.2", "got 0.1"]),
        ({("sites", 0, "max_age_s"): 11}, ["sites[0].max_age_s", "10", "got 11"]),
        ({("sites", 0, "unit_id"): 300}, ["sites[0].unit_id", "255", "got 300"]),
        ({("sites", 0, "host"): ""}, ["sites[0].host", "got ''"]),
        ({(*BATTERY, "max_charge_kw"): "lots"}, ["max_charge_kw", "number", "got 'lots'"]),
        ({(*BATTERY, "max_charge_kw"): 0}, ["max_charge_kw", "greater than 0", "got 0"]),
        ({(*BATTERY, "max_charge_kw"): float("inf")}, ["max_charge_kw", "finite", "got inf"]),
        ({(*BATTERY, "max_charge_kw"): float("nan")}, ["max_charge_kw", "got nan"]),
        ({(*BATTERY, "soc_min_pct"): 96}, ["sites[1].battery", "soc_min_pct 96 must be below"]),
        ({(*BATTERY, "temperature_min_c"): 50}, ["temperature_min_c 50 must be below"]),
        ({("sites",): []}, ["sites", "at least 1"]),
        ({("sites",): "a"}, ["sites", "got 'a'"]),
        ({("simulation",): {"start": "2024-01-01"}}, ["simulation.start", "got '2024-01-01'"]),
        ({("simulation",): {"start": "2024-01-01T00:00"}}, ["simulation.start", "timezone"]),
        (
            {("simulation",): {"start": "2024-01-01T00:00Z", "speed": 0}},
            ["simulation.speed", "got 0"],
        ),
        (
            {("simulation",): {"start": "2024-01-01T00:00Z"}},
            ["sites[0].host", "'192.0.2.1'", "never touches a real inverter", "use 127.0.0.1"],
        ),
        ({("market",): {"publication_delay_h": -1}}, ["market.publication_delay_h", "got -1"]),
    ],
)
def test_a_wrong_value_is_named_with_its_field(
    folder: Folder, change: Change, parts: list[str]
) -> None:
    text = mistake(folder, change)
    assert [part for part in parts if part not in text] == []


@pytest.mark.parametrize(
    "change",
    [
        {("sites", 1, "host"): "192.0.2.1", ("sites", 1, "port"): 1502},
        {("sites", 1, "host"): "192.0.2.1", ("sites", 1, "unit_id"): 2},
        {
            ("sites", 0, "host"): "127.0.0.1",
            ("sites", 1, "host"): "127.0.0.1",
            ("simulation",): {"start": "2024-01-01T00:00Z"},
        },
    ],
)
def test_one_host_may_hold_several_inverters(folder: Folder, change: Change) -> None:
    assert len(folder.load(change).sites) == 2


def test_more_mistakes_are_counted(folder: Folder) -> None:
    text = mistake(folder, {("sites", 0, "hots"): 1, ("sites", 1, "hots"): 1, ("zzz",): 1})
    assert "(2 more after this one)" in text


def test_one_mistake_in_the_only_site_is_one_mistake(folder: Folder) -> None:
    only_site: Change = {("sites", 1): DELETE, ("sites", 0, "hots"): 1}
    assert "more after this one" not in mistake(folder, only_site)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sites: [", "is not valid YAML"),
        ("a: b: c", "is not valid YAML"),
        ("\tid: x", "is not valid YAML"),
        ("", "fleet.yaml: Input should be"),
        ("- a", "fleet.yaml: Input should be"),
        ("just words", "fleet.yaml: Input should be"),
    ],
)
def test_a_file_that_is_no_fleet_gets_one_line(folder: Folder, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        folder.load_text(text)
    assert expected in str(caught.value)
    assert "fleet.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_yaml_mistake_names_the_line(folder: Folder) -> None:
    with pytest.raises(ConfigError, match=r"fleet\.yaml: is not valid YAML: line 3, column 10: "):
        folder.load_text("id: x\nsites:\n  - id: a: b\n")


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file; check the path"):
        load_fleet(tmp_path / "nowhere.yaml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_fleet(tmp_path)


def test_a_file_that_is_not_utf8_cannot_be_read(folder: Folder) -> None:
    folder.fleet_file.write_bytes(b"id: \xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_fleet(folder.fleet_file)


def test_a_broken_profile_is_named_by_its_file(folder: Folder) -> None:
    folder.write_profile("broken", {("telemetry", "soc_pct"): "nothing"})
    text = mistake(folder, {("sites", 0, "profile"): "broken"})
    assert text.startswith(
        "broken.yaml: telemetry.soc_pct uses point 'nothing', which is not defined"
    )


def test_a_device_that_cannot_tell_its_temperature_must_be_accepted_by_name(
    folder: Folder,
) -> None:
    folder.write_profile("blind", {("telemetry", "temperature_c"): DELETE})
    change: Change = {("sites", 0, "profile"): "blind"}
    assert mistake(folder, change) == (
        "sites[0].accept_missing: profile blind cannot tell temperature_c; got []; "
        "add temperature_c to accept that this check is left to the device itself"
    )
    accepted = folder.load(change | {("sites", 0, "accept_missing"): ["temperature_c"]})
    assert accepted.sites[0].limits().not_offered == {"temperature_c"}
    refused = mistake(folder, {("sites", 0, "accept_missing"): ["soc_pct"]})
    assert refused.startswith("fleet.yaml: sites[0].accept_missing[0]")


def test_a_device_without_dead_man_must_be_accepted_by_name(folder: Folder) -> None:
    folder.write_profile("careless", {("dead_man",): None})
    change: Change = {("sites", 0, "profile"): "careless"}
    assert mistake(folder, change) == (
        "sites[0].accept_no_dead_man: profile careless has no dead-man timer on the device; "
        "got false; set it to true to accept that a crash leaves the last command in force"
    )
    fleet = folder.load(change | {("sites", 0, "accept_no_dead_man"): True})
    assert fleet.sites[0].accept_no_dead_man


def test_no_ramp_where_each_power_wears_memory_out(folder: Folder) -> None:
    steps = [{"point": "forced_power", "value": "power"}, {"point": "command", "value": 1}]
    worn: Change = {
        ("points", "forced_power", "persistence"): "unknown",
        ("programs", "charge", "steps"): steps,
    }
    folder.write_profile("worn", worn)
    change: Change = {("sites", 0, "profile"): "worn", ("sites", 0, "ramp_kw_per_s"): 0.1}
    assert mistake(folder, change) == (
        "sites[0].ramp_kw_per_s: profile worn writes each power to memory that may wear out; "
        "got 0.1; remove it: a ramp takes many writes"
    )
    change = {("sites", 0, "profile"): "worn", ("sites", 0, "cycle_s"): 0.5}
    site, profile = folder.load(change).sites[0], load_profile("worn")
    assert profile.power_wears
    assert site.limits(profile).ramp_kw_per_s == 2 * site.limits().ramp_kw_per_s


def test_a_loaded_fleet_is_frozen_and_pickles(folder: Folder) -> None:
    fleet = folder.load()
    with pytest.raises(ValueError, match="frozen"):
        fleet.id = "other"
    assert pickle.loads(pickle.dumps(fleet)) == fleet


def test_a_connection_without_limits_has_none_and_a_zero_is_kept(folder: Folder) -> None:
    open_site, closed_site = folder.load({("sites", 1, "export_limit_kw"): 0}).sites
    assert open_site.limits().export_limit_kw == math.inf
    assert closed_site.limits().export_limit_kw == 0.0
    assert closed_site.limits().import_limit_kw == math.inf
    assert closed_site.limits().ramp_kw_per_s == 4.0
    assert closed_site.limits().capacity_kwh is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("bess.example.com", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert ApiConfig(host=host).is_loopback is loopback


@given(
    st.dictionaries(
        st.text(max_size=8) | st.sampled_from(["id", "sites", "market", "api"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
            max_leaves=6,
        ),
        max_size=5,
    )
)
def test_any_document_loads_or_fails_with_one_config_error(data: dict[str, object]) -> None:
    caught = ""
    try:
        parse(FleetConfig, data, "fleet.yaml")
    except ConfigError as error:
        caught = str(error)
    assert not caught or caught.startswith("fleet.yaml")


@given(st.sampled_from(["hosts", "hst", "prot", "unit", "profil", "batery", "cycle"]))
def test_a_typo_in_a_site_gets_a_suggestion(typo: str) -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        parse(FleetConfig, changed(FLEET, {("sites", 0, typo): 1}), "fleet.yaml")


def test_a_price_file_is_found_beside_the_fleet_file_from_anywhere(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    fleet = folder.load({("market",): {"source": "csv", "path": "prices/north.csv"}})
    assert fleet.market.path == str((folder.path / "prices/north.csv").resolve())
    assert fleet.market.node is None
