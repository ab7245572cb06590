"""Codec: round trips, invalid markers, unknown names, ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.config.profile import Point, PointType
from bessai.devices.codec import (
    RegisterImage,
    convert,
    decode_bits,
    decode_enum,
    decode_number,
    decode_text,
    encode_number,
    encode_text,
    raw_value,
)
from bessai.errors import DeviceError

NUMERIC = {
    PointType.U16: (1, 0, 2**16 - 1),
    PointType.I16: (1, -(2**15), 2**15 - 1),
    PointType.U32: (2, 0, 2**32 - 1),
    PointType.I32: (2, -(2**31), 2**31 - 1),
}
MARKERS = {
    PointType.U16: (0xFFFF,),
    PointType.I16: (0x7FFF,),
    PointType.U32: (0xFFFF, 0xFFFF),
    PointType.I32: (0x7FFF, 0xFFFF),
}


def point(kind: PointType, **fields: object) -> Point:
    count = NUMERIC[kind][0] if kind in NUMERIC else 1
    return Point.model_validate({"address": 10, "type": kind, "count": count, **fields})


@given(st.data(), st.sampled_from(list(NUMERIC)), st.sampled_from([1.0, 10.0, 100.0, 1000.0]))
def test_every_raw_value_survives_decode_and_encode(
    data: st.DataObject, kind: PointType, gain: float
) -> None:
    _, lowest, highest = NUMERIC[kind]
    signs = [1, -1] if lowest < 0 else [1]
    this = point(kind, gain=gain, sign=data.draw(st.sampled_from(signs)))
    raw = data.draw(st.integers(lowest, highest))
    words = tuple((raw >> 16 * shift) & 0xFFFF for shift in reversed(range(this.count)))
    assert raw_value(this, words) == raw
    value = decode_number(this, words)
    assert value is not None
    assert encode_number(this, value, name="x") == words


@pytest.mark.parametrize("kind", list(NUMERIC))
def test_invalid_marker_is_none_and_never_a_number(kind: PointType) -> None:
    words = MARKERS[kind]
    raw = int.from_bytes(b"".join(word.to_bytes(2, "big") for word in words), "big")
    assert decode_number(point(kind, gain=10, not_available=raw), words) is None
    assert decode_enum(point(kind, not_available=raw), words) is None
    assert decode_number(point(kind), words) is not None


def test_value_outside_the_points_range_is_none() -> None:
    soc = point(PointType.U16, gain=10, minimum=0, maximum=100)
    assert decode_number(soc, (1000,)) == 100.0
    assert decode_number(soc, (1001,)) is None


def test_unknown_enum_and_bit_are_named_not_raised() -> None:
    status = point(PointType.U16, enum={1: "standby"})
    assert decode_enum(status, (1,)) == "standby"
    assert decode_enum(status, (344,)) == "unknown(344)"
    alarm = point(PointType.BITFIELD16, bits={0: "2032 grid loss"})
    assert decode_bits(alarm, (0b1001,)) == ("2032 grid loss", "unknown(bit 3)")


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=20))
def test_text_round_trips_up_to_its_length(text: str) -> None:
    name = point(PointType.STRING, count=5)
    assert decode_text(encode_text(name, text)) == text[:10]


def test_text_ends_at_the_first_nul() -> None:
    assert decode_text((0x5355, 0x4E00, 0x5858)) == "SUN"
    assert decode_text((0xFF53, 0)) == "?S"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(4.35, 435), (4.359, 435), (-4.359, 0x10000 - 435), (0.29, 29), (-0.004, 0)],
)
def test_rounding_is_towards_zero_but_float_noise_costs_nothing(
    value: float, expected: int
) -> None:
    assert encode_number(point(PointType.I16, gain=100), value, name="x") == (expected,)


@pytest.mark.parametrize("value", [-1.0, 65536.0, float("nan"), float("inf")])
def test_what_does_not_fit_is_an_error_that_names_the_point(value: float) -> None:
    with pytest.raises(DeviceError, match=r"forced_period.*register 10") as caught:
        encode_number(point(PointType.U16, unit="min"), value, name="forced_period")
    assert caught.value.value is not None


def test_point_limits_are_enforced_on_encode() -> None:
    with pytest.raises(DeviceError, match="up to 1440 min"):
        encode_number(point(PointType.U16, unit="min", maximum=1440), 1441, name="period")


def test_units_convert_only_within_their_kind() -> None:
    assert convert(point(PointType.U16, unit="W"), 4350, "kW") == 4.35
    assert convert(point(PointType.U16, unit="kWh"), 1.5, "Wh") == 1500
    assert convert(point(PointType.U16, unit="%"), 7, "%") == 7
    with pytest.raises(DeviceError, match="does not convert"):
        convert(point(PointType.U16, unit="W"), 1, "kWh")


def test_image_knows_a_point_only_when_all_its_words_were_read() -> None:
    image = RegisterImage()
    image.store(10, [1])
    assert image.registers(point(PointType.U32)) is None
    image.store(11, [2])
    assert image.registers(point(PointType.U32)) == (1, 2)
