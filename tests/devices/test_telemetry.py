"""Decoding a register image into Telemetry, without any device."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bessai.config import load_profile
from bessai.config.profile import MAIN, Space, Table
from bessai.devices.codec import RegisterImage
from bessai.devices.reading import Reading
from bessai.devices.reduce import without_points
from bessai.devices.telemetry import poll_points, to_telemetry
from bessai.model import SiteId, Telemetry
from bessai.units import MonotonicS


def telemetry_of(words: Mapping[int, int]) -> Telemetry:
    profile = load_profile("huawei_sun2000")
    image = RegisterImage({Space(MAIN, Table.HOLDING): words})
    reading = Reading(profile.points, image)
    return to_telemetry(SiteId("north"), MonotonicS(5.0), profile, reading)


def test_nothing_read_means_nothing_known() -> None:
    telemetry = telemetry_of({})
    assert telemetry.soc_pct is telemetry.commanded_kw is telemetry.exported_wh is None
    assert telemetry.battery_status is telemetry.inverter_status is None
    assert telemetry.alarms == ()
    mapped = load_profile("huawei_sun2000").telemetry.values()
    assert set(telemetry.missing) == {" + ".join(value.points) for value in mapped}


def test_exported_counter_that_runs_backwards_has_no_sign() -> None:
    assert telemetry_of({37119: 0xFFFF, 37120: 0x10000 - 1234}).exported_wh == 12_340


@pytest.mark.parametrize(("command", "expected_kw"), [(0, None), (1, -1.5), (2, 2.5), (7, None)])
def test_commanded_power_follows_the_command_register(
    command: int, expected_kw: float | None
) -> None:
    words = {47100: command, 47247: 0, 47248: 1500, 47249: 0, 47250: 2500}
    assert telemetry_of(words).commanded_kw == expected_kw


def test_hold_is_zero_and_not_minus_zero() -> None:
    held = telemetry_of({47100: 1, 47247: 0, 47248: 0}).commanded_kw
    assert str(held) == "0.0"


def test_charging_is_negative_on_the_battery_and_import_on_the_meter() -> None:
    telemetry = telemetry_of({37765: 0, 37766: 4200, 37113: 0xFFFF, 37114: 0x10000 - 4200})
    assert telemetry.active_power_kw == telemetry.grid_power_kw == -4.2


def test_soc_above_hundred_is_not_available() -> None:
    telemetry = telemetry_of({37760: 1234})
    assert telemetry.soc_pct is None
    assert "soc" in telemetry.missing


def test_alarms_of_all_registers_are_named() -> None:
    telemetry = telemetry_of({32008: 0b1, 32009: 0b1000, 32010: 0x8000})
    assert telemetry.alarms == (
        "2001 High string input voltage",
        "2063 overtemperature",
        "2094 battery discharge capacity low",
    )


@pytest.mark.parametrize("name", ["fronius_gen24", "solaredge", "sunspec"])
def test_a_scale_factor_is_read_as_often_as_what_it_scales(name: str) -> None:
    profile = load_profile(name)
    fast, _ = poll_points(profile)
    scales = {point.scale_factor for point in fast.values() if point.scale_factor is not None}
    assert scales
    assert scales <= fast.keys()


def test_what_nobody_can_guard_any_more_goes_with_its_guard() -> None:
    left = without_points(load_profile("huawei_sun2000"), frozenset({"meter_status"}))
    assert "grid_power_kw" not in left.telemetry
    assert not any(37101 <= point.address <= 37138 for point in left.points.values())
    assert left.controllable
