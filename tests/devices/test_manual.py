"""A value that a person types, on its way to registers."""

from __future__ import annotations

import pytest

from bessai.config import load_profile
from bessai.config.profile import Persistence
from bessai.devices.codec import RegisterImage
from bessai.devices.manual import point_write, wear_warning
from bessai.devices.reading import Reading
from bessai.errors import DeviceError

HUAWEI, FRONIUS = load_profile("huawei_sun2000"), load_profile("fronius_gen24")
NOTHING = Reading(HUAWEI.points, RegisterImage())


@pytest.mark.parametrize(
    ("name", "text", "registers"),
    [
        ("max_charging_power", "3000", (0, 3000)),
        ("charge_cutoff_soc", "95.5", (955,)),
        ("working_mode", "2", (2,)),
        ("working_mode", "0x2", (2,)),
        ("working_mode", HUAWEI.points["working_mode"].enum[2].upper(), (2,)),
    ],
)
def test_numbers_names_and_raw_values_become_registers(
    name: str, text: str, registers: tuple[int, ...]
) -> None:
    assert point_write(HUAWEI, name, text, NOTHING).registers == registers


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("soc", "30", ("soc", "read-only")),
        ("max_chargin_power", "3000", ("no point", "max_charging_power")),
        ("max_charging_power", "lots", ("max_charging_power", "a number in W", "'lots'")),
        ("max_charging_power", "-1", ("max_charging_power", "-1")),
        ("max_charging_power", "nan", ("max_charging_power", "nan")),
        ("charge_cutoff_soc", "120", ("charge_cutoff_soc", "120")),
        ("working_mode", "42", ("working_mode", "one of its names", "2 (")),
    ],
)
def test_what_a_point_does_not_take_is_refused_in_one_line(
    name: str, text: str, parts: tuple[str, ...]
) -> None:
    with pytest.raises(DeviceError) as refused:
        point_write(HUAWEI, name, text, NOTHING)
    assert "\n" not in str(refused.value)
    for part in parts:
        assert part in str(refused.value)


def test_a_scaled_point_waits_for_its_scale_factor() -> None:
    name = "m124.OutWRte"
    scale = FRONIUS.points[FRONIUS.points[name].scale_factor or ""]
    image = RegisterImage()
    with pytest.raises(DeviceError, match="scale factor"):
        point_write(FRONIUS, name, "50", Reading(FRONIUS.points, image))
    image.put(scale, (0x10000 - 2,))
    assert point_write(FRONIUS, name, "50", Reading(FRONIUS.points, image)).registers == (5000,)


def test_only_memory_that_may_wear_out_is_warned_of() -> None:
    point = HUAWEI.points["max_charging_power"]
    for persistence in Persistence:
        warning = wear_warning(point.model_copy(update={"persistence": persistence}))
        assert (warning is not None) is persistence.budgeted
