"""Codec: round trips, invalid markers, unknown names, ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.config.profile import MAIN, Point, PointType, Space, Table, WordOrder
from bessai.devices.codec import (
    RegisterImage,
    convert,
    decode_bits,
    decode_enum,
    decode_number,
    decode_text,
    encode_number,
    encode_text,
    is_available,
    marker,
    raw_value,
)
from bessai.errors import DeviceError

NUMERIC = {
    PointType.U16: (1, 0, 2**16 - 1),
    PointType.I16: (1, -(2**15), 2**15 - 1),
    PointType.U32: (2, 0, 2**32 - 1),
    PointType.I32: (2, -(2**31), 2**31 - 1),
    PointType.U64: (4, 0, 2**64 - 1),
    PointType.I64: (4, -(2**63), 2**63 - 1),
}
SPACE = Space(MAIN, Table.HOLDING)
MARKERS = {
    PointType.U16: (0xFFFF,),
    PointType.I16: (0x7FFF,),
    PointType.U32: (0xFFFF, 0xFFFF),
    PointType.I32: (0x7FFF, 0xFFFF),
    PointType.U64: (0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF),
    PointType.I64: (0x8000, 0, 0, 0),
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
    order = data.draw(st.sampled_from(list(WordOrder)))
    this = point(kind, gain=gain, sign=data.draw(st.sampled_from(signs)), word_order=order)
    raw = data.draw(st.integers(lowest, highest))
    words = tuple((raw >> 16 * shift) & 0xFFFF for shift in reversed(range(this.count)))
    if order is WordOrder.LITTLE:
        words = words[::-1]
    assert raw_value(this, words) == raw
    value = decode_number(this, words)
    assert value is not None
    if abs(raw) < 2**50:  # beyond, a float of 53 bits cannot tell the steps apart
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
    assert convert(4350, "W", "kW") == 4.35
    assert convert(1.5, "kWh", "Wh") == 1500
    assert convert(7, "%", "%") == 7
    with pytest.raises(DeviceError, match="does not convert"):
        convert(1, "W", "kWh")


def test_image_knows_a_point_only_when_all_its_words_were_read() -> None:
    image = RegisterImage()
    image.store(SPACE, 10, [1])
    assert image.registers(point(PointType.U32)) is None
    image.store(Space("meter", Table.HOLDING), 11, [2])
    image.store(Space(MAIN, Table.INPUT), 11, [2])
    assert image.registers(point(PointType.U32)) is None, "another unit, another table"
    image.store(SPACE, 11, [2])
    assert image.registers(point(PointType.U32)) == (1, 2)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(list(WordOrder)))
def test_every_float_survives_in_either_word_order(value: float, order: WordOrder) -> None:
    this = Point.model_validate({"address": 10, "type": "f32", "word_order": order})
    assert decode_number(this, encode_number(this, value, name="x")) == value


@pytest.mark.parametrize("words", [(0x7FC0, 0), (0x7F80, 0), (0xFF80, 0), (0xFFFF, 0xFFFF)])
def test_a_float_that_is_no_number_is_not_available(words: tuple[int, ...]) -> None:
    this = Point.model_validate({"address": 10, "type": "f32"})
    assert not is_available(this, words)
    assert decode_number(this, words) is None


def test_a_swapped_float_of_the_wrong_order_is_another_number() -> None:
    big = Point.model_validate({"address": 10, "type": "f32"})
    little = Point.model_validate({"address": 10, "type": "f32", "word_order": "little"})
    assert encode_number(big, 50.0, name="x") == (0x4248, 0)
    assert encode_number(little, 50.0, name="x") == (0, 0x4248)


def test_an_offset_is_taken_off_the_raw_value() -> None:
    temperature = point(PointType.U16, gain=10, offset=1000, unit="degC")
    assert decode_number(temperature, (1253,)) == 25.3
    assert encode_number(temperature, -5.0, name="x") == (950,)


@pytest.mark.parametrize("kind", [*NUMERIC, PointType.F32, PointType.F64])
def test_a_marker_reads_back_as_not_available(kind: PointType) -> None:
    fields: dict[str, object] = {} if kind in {PointType.F32, PointType.F64} else {
        "not_available": 0x8000
    }  # fmt: skip
    this = Point.model_validate({"address": 10, "type": kind, **fields})
    words = marker(this)
    assert words is not None
    assert not is_available(this, words)
