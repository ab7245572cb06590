"""What the registers of each family mean: signs, states, commands and what a write costs.

The tables here are read off the sources that the profiles cite, not off the profiles.
"""

from __future__ import annotations

import pytest

from bessai.config import DeviceProfile, load_profile, profile_path
from bessai.config.profile import Persistence
from bessai.devices.codec import RegisterImage, encode_number, encode_raw, raw_value
from bessai.devices.program import power_command, release_command
from bessai.devices.reading import Reading
from bessai.devices.sunspec import chain_layout
from bessai.errors import ConfigError
from tests.config.files import profile as profile_with

NAMES = sorted(path.stem for path in profile_path("x").parent.glob("*.yaml"))

PACKS = {f"unit{unit}_pack{pack}" for unit in (1, 2) for pack in (1, 2, 3)}
TURNED = {
    "deye": {"grid_power"},
    "fronius_gen24": {"meter.W", "meter.WphA", "meter.WphB", "meter.WphC"},
    "huawei_sun2000": {
        *("unit1_power", "unit1_bus_current", "unit2_power", "unit2_bus_current"),
        *("battery_power", "bus_current"),
        *(f"{pack}_{value}" for pack in PACKS for value in ("power", "current")),
    },
    "solaredge": {"battery1_power"},
    "sungrow_sh": {"meter_power"},
    "victron_gx": {
        *("grid_l1_power", "grid_l2_power", "grid_l3_power"),
        *("grid_l1_power_wide", "grid_l2_power_wide", "grid_l3_power_wide"),
        *("battery_power", "battery_current", "vebus_charge_power"),
        *("grid_setpoint", "grid_setpoint_coarse", "grid_setpoint_override"),
        *("vebus_input_power", "vebus_input_current", "vebus_dc_current"),
        *("ac_power_setpoint", "ac_power_setpoint_l1"),
        *("ac_power_setpoint_l2", "ac_power_setpoint_l3"),
        *("bms_power", "bms_power_narrow", "bms_current", "bms_consumed_charge"),
        *("meter_l1_power", "meter_l1_power_narrow", "meter_l1_current"),
        *("meter_l2_power", "meter_l3_power"),
    },
}
"""Points of which the device counts charging, import, or the flow into itself as positive."""

BATTERY_OF_RAW = [
    ("deye", {"battery_power": 1000}, 1.0),
    ("goodwe_et", {"battery_power": 1000}, 1.0),
    ("huawei_sun2000", {"battery_power": 1000}, -1.0),
    ("sma", {"ac_power_total": 1000}, 1.0),
    ("sma_smart_energy", {"battery_charge_power": 1000, "battery_discharge_power": 0}, -1.0),
    ("sungrow_sh", {"battery_power_signed": 1000}, 1.0),
    ("victron_gx", {"battery_power": 1000}, -1.0),
    ("fronius_gen24", {"m160.3.DCW": 1000, "m160.4.DCW": 0}, -1.0),
    ("sunspec", {"m701.W": 1000}, 1.0),
]
GRID_OF_RAW = [
    ("deye", {"grid_power": 1000}, -1.0),
    ("goodwe_et", {"meter_power_total": 1000}, 1.0),
    ("huawei_sun2000", {"meter_active_power": 1000}, 1.0),
    ("sma", {"meter_import_power": 1000, "meter_export_power": 0}, -1.0),
    ("sma_smart_energy", {"meter_import_power": 1000, "meter_export_power": 0}, -1.0),
    ("sungrow_sh", {"export_power": 1000}, 1.0),
    ("victron_gx", {"grid_l1_power": 1000, "grid_l2_power": 0, "grid_l3_power": 0}, -1.0),
    ("fronius_gen24", {"meter.W": 1000}, -1.0),
    ("solaredge", {"m203.W": 1000}, 1.0),
]
COMMANDS = [
    ("goodwe_et", -2.0, {"ems_power_limit": 2000, "ems_mode": 11}),
    ("goodwe_et", 2.0, {"ems_power_limit": 2000, "ems_mode": 12}),
    ("goodwe_et", 0.0, {"ems_mode": 8}),
    ("sma", -2.0, {"active_power_setpoint": -2000, "setpoint_enable": 802}),
    ("sma", 2.0, {"active_power_setpoint": 2000, "setpoint_enable": 802}),
    ("sma", 0.0, {"active_power_setpoint": 0, "setpoint_enable": 802}),
    ("victron_gx", -2.0, {"hub4_mode": 3, "ac_power_setpoint": 2000}),
    ("victron_gx", 2.0, {"hub4_mode": 3, "ac_power_setpoint": -2000}),
    ("victron_gx", 0.0, {"hub4_mode": 3, "ac_power_setpoint": 0}),
    (
        "sungrow_sh",
        -2.0,
        {"charge_power": 2000, "charge_cmd": 0xAA, "external_ems_heartbeat": 60, "ems_mode": 3},
    ),
    (
        "sungrow_sh",
        2.0,
        {"charge_power": 2000, "charge_cmd": 0xBB, "external_ems_heartbeat": 60, "ems_mode": 3},
    ),
    ("sungrow_sh", 0.0, {"charge_cmd": 0xCC, "external_ems_heartbeat": 60, "ems_mode": 3}),
    (
        "fronius_gen24",
        -2.0,
        {
            "m124.ChaGriSet": 1,
            "m124.InOutWRte_RvrtTms": 60,
            "m124.InWRte": 2000,
            "m124.OutWRte": -2000,
            "m124.StorCtl_Mod": 3,
        },
    ),
    (
        "fronius_gen24",
        2.0,
        {
            "m124.InOutWRte_RvrtTms": 60,
            "m124.OutWRte": 2000,
            "m124.InWRte": -2000,
            "m124.StorCtl_Mod": 3,
        },
    ),
    (
        "sunspec",
        -2.0,
        {
            "m704.WSetMod": 1,
            "m704.WSetRvrt": 0,
            "m704.WSetEnaRvrt": 1,
            "m704.WSet": -2000,
            "m704.WSetRvrtTms": 60,
            "m704.WSetEna": 1,
        },
    ),
]
"""Raw values in the order of the writes; Fronius in hundredths of a percent of 10 kW."""

RELEASES = [
    ("goodwe_et", {"ems_mode": 1}),
    ("huawei_sun2000", {"forced_command": 0}),
    ("sma", {"setpoint_enable": 803}),
    ("victron_gx", {"hub4_mode": 1}),
    ("sungrow_sh", {"charge_cmd": 0xCC, "ems_mode": 0}),
    ("solaredge", {"command_mode": 7, "storage_control_mode": 1}),
    ("fronius_gen24", {"m124.ChaGriSet": 0, "m124.StorCtl_Mod": 0}),
    ("sunspec", {"m704.WSetRvrtTms": 0, "m704.WSetEna": 0}),
]
READY = [
    ("goodwe_et", "battery_mode", {1, 2, 3, 4, 5}, {0}),
    ("goodwe_et", "work_mode", {1}, {0, 2, 3, 4, 5}),
    ("huawei_sun2000", "running_status", {1, 2}, {0, 3}),
    ("huawei_sun2000", "device_status", {0x0200, 0x0201, 0x0202, 0x0401}, {0x0100, 0x0203, 0x0300}),
    ("sma", "health", {307, 455}, {35, 303, 1392}),
    ("victron_gx", "battery_state", {0, 1, 2}, {3}),
    ("victron_gx", "vebus_state", {3, 4, 5, 8, 252}, {0, 1, 2, 244}),
    (
        "sungrow_sh",
        "system_state",
        {0x0000, 0x0040, 0x0080, 0x8100, 0x0800, 0x4000},
        {0x0001, 0x0008, 0x0100, 0x1000, 0x1200, 0x1500, 0x2500, 0x5500, 0x8000},
    ),
    ("solaredge", "battery1_status", {1, 3, 4, 6, 7, 10}, {0, 2, 5}),
    ("solaredge", "m103.St", {4, 5}, {1, 2, 3, 6, 7, 8}),
    ("fronius_gen24", "m124.ChaSt", {2, 3, 4, 5, 6}, {1, 7}),
    ("fronius_gen24", "m103.St", {4, 5}, {1, 2, 3, 6, 7, 8}),
    ("sunspec", "m802.State", {3, 4, 5}, {1, 2, 6, 99}),
    ("sunspec", "m713.Sta", {0, 1}, {2}),
    ("sunspec", "m701.InvSt", {3, 4}, {0, 1, 2, 5, 6}),
]
"""Raw states of a healthy device, and of one that must not be used."""

RENEWABLE = {
    "fronius_gen24": {"m124.StorCtl_Mod", "m124.InWRte", "m124.OutWRte"},
    "huawei_sun2000": {
        *("forced_command", "forced_period", "forced_target_mode"),
        *("forced_charge_power", "forced_discharge_power", "session_heartbeat"),
    },
    "sma": {"active_power_setpoint", "setpoint_enable"},
    "solaredge": {
        *("command_timeout", "command_mode", "charge_limit", "discharge_limit"),
        "dynamic_active_power_limit",
    },
    "sungrow_sh": {"external_ems_heartbeat"},
    "sunspec": {"m704.WSetRvrtTms", "m704.WSetEna"},
    "victron_gx": {
        *("grid_setpoint_override", "ac_power_setpoint", "ac_power_setpoint_l1"),
        *("ac_power_setpoint_l2", "ac_power_setpoint_l3"),
    },
}
"""Registers of which a source says that they are kept in RAM, or that drivers renew them."""


def device_of(name: str) -> DeviceProfile:
    return chain_layout(load_profile(name))[0]


def image_of(profile: DeviceProfile) -> RegisterImage:
    """As the simulated twin begins: its constants, and 0 elsewhere."""
    image = RegisterImage()
    shown = {n: v for n, v in profile.simulation.values.items() if not isinstance(v, str)}
    for point in profile.points.values():
        image.put(point, encode_raw(point, 0))
    for name in sorted(shown, key=lambda name: profile.points[name].scale_factor is not None):
        gain = Reading(profile.points, image).gain(name)
        words = encode_number(profile.points[name], shown[name], name=name, gain=gain)
        image.put(profile.points[name], words)
    return image


def telemetry_of(name: str, key: str, raw: dict[str, int]) -> float | None:
    profile = device_of(name)
    image = image_of(profile)
    for point, value in raw.items():
        image.put(profile.points[point], encode_raw(profile.points[point], value))
    return Reading(profile.points, image).value(profile.telemetry[key], "kW")


def without_limits(profile: DeviceProfile) -> DeviceProfile:
    kept = {k: v for k, v in profile.telemetry.items() if not k.endswith("_limit_kw")}
    return profile.model_copy(update={"telemetry": kept})


@pytest.mark.parametrize("name", NAMES)
def test_signs_are_turned_where_the_device_counts_the_other_way(name: str) -> None:
    turned = {point for point, p in load_profile(name).points.items() if p.sign == -1}
    assert turned == TURNED.get(name, set())


@pytest.mark.parametrize(("name", "raw", "expected_kw"), BATTERY_OF_RAW)
def test_battery_power_is_positive_while_discharging(
    name: str, raw: dict[str, int], expected_kw: float
) -> None:
    assert telemetry_of(name, "active_power_kw", raw) == pytest.approx(expected_kw)


@pytest.mark.parametrize(("name", "raw", "expected_kw"), GRID_OF_RAW)
def test_grid_power_is_positive_while_exporting(
    name: str, raw: dict[str, int], expected_kw: float
) -> None:
    assert telemetry_of(name, "grid_power_kw", raw) == pytest.approx(expected_kw)


@pytest.mark.parametrize(("name", "power_kw", "expected"), COMMANDS)
def test_a_command_is_these_writes_in_this_order(
    name: str, power_kw: float, expected: dict[str, int]
) -> None:
    profile = device_of(name)
    reading = Reading(profile.points, image_of(profile))
    writes = power_command(without_limits(profile), power_kw, reading).writes
    found = [(write.name, raw_value(write.point, write.registers)) for write in writes]
    assert found == list(expected.items())


@pytest.mark.parametrize(("name", "expected"), RELEASES)
def test_a_release_is_these_writes_in_this_order(name: str, expected: dict[str, int]) -> None:
    profile = device_of(name)
    writes = release_command(profile, Reading(profile.points, image_of(profile))).writes
    found = [(write.name, raw_value(write.point, write.registers)) for write in writes]
    assert found == list(expected.items())


@pytest.mark.parametrize(("name", "point", "healthy", "unusable"), READY)
def test_a_healthy_device_is_used_and_another_is_not(
    name: str, point: str, healthy: set[int], unusable: set[int]
) -> None:
    profile = load_profile(name)
    key = next(key for key, value in profile.telemetry.items() if point in value.any_of)
    ready = dict(profile.ready)[key]
    states = profile.points[point].enum
    assert {raw for raw in healthy if states[raw] not in ready} == set()
    assert {raw for raw in unusable if states.get(raw, "unknown") in ready} == set()


@pytest.mark.parametrize("name", NAMES)
def test_only_registers_with_a_source_may_be_renewed_for_ever(name: str) -> None:
    free = {
        point
        for point, p in load_profile(name).points.items()
        if p.persistence in (Persistence.VOLATILE, Persistence.COMMAND)
    }
    assert free == RENEWABLE.get(name, set())


def test_a_register_that_says_why_the_battery_rests_is_no_alarm() -> None:
    telemetry = load_profile("goodwe_et").telemetry
    alarms = {p for key, v in telemetry.items() if key.startswith("alarms_") for p in v.points}
    assert alarms == {"error_codes", "bms_error_low"}


@pytest.mark.parametrize(
    ("name", "earliest_end_s"), [("victron_gx", 10.0), ("sma", 60.0), ("huawei_sun2000", 120.0)]
)
def test_a_command_is_renewed_before_the_quickest_device_ends_it(
    name: str, earliest_end_s: float
) -> None:
    dead_man = load_profile(name).dead_man
    assert dead_man is not None
    assert dead_man.renewal_s <= earliest_end_s / 2
    assert dead_man.renewal_s <= dead_man.period_s / 2


def test_a_renewal_that_comes_once_per_period_is_refused() -> None:
    known = profile_with({}).dead_man
    assert known is not None
    half_s = known.period_s / 2
    renewed = profile_with({("dead_man", "renew_s"): half_s / 2}).dead_man
    assert renewed is not None
    assert (known.renewal_s, renewed.renewal_s) == (half_s, half_s / 2)
    with pytest.raises(ConfigError, match="more than half of period_s"):
        profile_with({("dead_man", "renew_s"): half_s + 1.0})


@pytest.mark.parametrize("raw", [0xFF7FFFFF, 0x7FC00000, 0xFF800000])
def test_a_solaredge_float_that_is_not_there_is_no_number(raw: int) -> None:
    """Lowest float, NaN, infinity."""
    profile = load_profile("solaredge")
    floats = [
        n for n, p in profile.points.items() if n.startswith("battery1_") and p.unit and p.is_float
    ]
    image = RegisterImage()
    for name in floats:
        image.put(profile.points[name], (raw & 0xFFFF, raw >> 16))
    reading = Reading(profile.points, image)
    assert {name: reading.number(name) for name in floats} == dict.fromkeys(floats)
