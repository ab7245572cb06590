"""What a probe doubts: laws between points, ranges, and names that nobody knows."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.config import DeviceProfile, load_profile
from bessai.config.profile import Check, Point
from bessai.devices.checks import check_laws, implausible_values
from bessai.devices.codec import RegisterImage, encode_number, encode_raw, marker
from bessai.devices.reading import Reading

POINTS = {
    "volts": {"address": 0, "type": "f32", "unit": "V"},
    "amps": {"address": 2, "type": "f32", "unit": "A"},
    "power": {"address": 4, "type": "f32", "unit": "W"},
    "power_kw": {"address": 6, "type": "f32", "unit": "kW"},
    "soc": {"address": 8, "type": "u16", "unit": "%", "not_available": 0xFFFF},
    "share": {"address": 9, "type": "i16", "unit": "%", "minimum": 0, "maximum": 100},
    "frequency": {"address": 10, "type": "u16", "gain": 100, "unit": "Hz"},
    "heat": {"address": 11, "type": "i16", "gain": 10, "unit": "degC", "not_available": 0x7FFF},
    "state": {"address": 12, "type": "u16", "enum": {0: "off", 1: "on"}},
    "alarm": {"address": 13, "type": "bitfield16", "bits": {0: "arc"}},
}
U_I_P = {
    "name": "U x I = P",
    "left": [{"points": ["volts", "amps"]}],
    "right": [{"points": ["power"]}],
    "tolerance": 50,
    "tolerance_pct": 10,
}


def profile_with(*checks: Mapping[str, object]) -> DeviceProfile:
    base = load_profile("deye")
    update = {
        "points": {name: Point.model_validate(point) for name, point in POINTS.items()},
        "telemetry": {"soc_pct": base.telemetry["soc_pct"]},
        "checks": tuple(Check.model_validate(check) for check in checks or (U_I_P,)),
    }
    return base.model_copy(update=update)


def reading_of(profile: DeviceProfile, **values: float) -> Reading:
    image = RegisterImage()
    for name, value in values.items():
        image.put(profile.points[name], encode_number(profile.points[name], value, name=name))
    return Reading(profile.points, image)


def raw_reading(profile: DeviceProfile, **raws: int) -> Reading:
    image = RegisterImage()
    for name, raw in raws.items():
        image.put(profile.points[name], encode_raw(profile.points[name], raw))
    return Reading(profile.points, image)


@given(volts=st.floats(40, 1000), amps=st.floats(-100, 100), flipped=st.booleans())
def test_a_wrong_sign_breaks_the_law_whenever_there_is_enough_power_to_tell(
    volts: float, amps: float, flipped: bool
) -> None:
    profile = profile_with()
    power = volts * amps * (-1 if flipped else 1)
    (law,) = check_laws(profile, reading_of(profile, volts=volts, amps=amps, power=power))
    assert law.ok is (not flipped or not law.telling)


def test_a_law_without_one_of_its_values_is_neither_kept_nor_broken() -> None:
    profile = profile_with()
    (law,) = check_laws(profile, reading_of(profile, volts=400.0, power=4000.0))
    assert law.left is None
    assert law.right == 4000.0
    assert law.ok is None
    assert not law.telling


def test_watts_and_kilowatts_are_compared_as_one() -> None:
    law = {
        "name": "twice the same",
        "left": [{"points": ["power"]}, {"points": ["power_kw"], "factor": -1}],
        "right": [{"points": ["power_kw"]}],
    }
    profile = profile_with(law, law | {"unit": "kW", "tolerance": 0.1})
    reading = reading_of(profile, power=6000.0, power_kw=3.0)
    watts, kilowatts = check_laws(profile, reading)
    assert (watts.left, watts.right, watts.ok) == (3000.0, 3000.0, True)
    assert (kilowatts.left, kilowatts.right, kilowatts.ok) == (3.0, 3.0, True)


def test_a_law_of_magnitudes_does_not_mind_the_sign_but_the_size() -> None:
    profile = profile_with(U_I_P | {"magnitude": True})
    (good,) = check_laws(profile, reading_of(profile, volts=400.0, amps=-10.0, power=4000.0))
    (wrong,) = check_laws(profile, reading_of(profile, volts=400.0, amps=-10.0, power=400.0))
    assert (good.ok, wrong.ok) == (True, False)


@pytest.mark.parametrize(
    ("raws", "name", "shown", "reason"),
    [
        ({"soc": 101}, "soc_pct", "101 %", "outside 0 to 100 %"),
        ({"share": -3}, "share", "-3 %", "outside 0 to 100 %"),
        ({"frequency": 500}, "frequency", "5 Hz", "outside 45 to 65 Hz"),
        ({"heat": 3000}, "heat", "300 degC", "outside -40 to 120 degC"),
        ({"state": 7}, "state", "unknown(7)", "values"),
        ({"alarm": 0b101}, "alarm", "unknown(bit 2)", "bits"),
    ],
)
def test_what_can_hardly_be_is_named(
    raws: dict[str, int], name: str, shown: str, reason: str
) -> None:
    profile = profile_with()
    (found,) = implausible_values(profile, raw_reading(profile, **raws))
    assert (found.name, found.shown) == (name, shown)
    assert reason in found.reason


def test_ordinary_values_raise_no_doubt() -> None:
    profile = profile_with()
    reading = raw_reading(profile, soc=50, share=100, frequency=4998, heat=-50, state=1, alarm=1)
    assert implausible_values(profile, reading) == ()


def test_what_the_device_does_not_have_raises_no_doubt() -> None:
    profile = profile_with()
    image = RegisterImage()
    for name in ("volts", "soc", "heat"):
        words = marker(profile.points[name])
        assert words is not None
        image.put(profile.points[name], words)
    assert implausible_values(profile, Reading(profile.points, image)) == ()
