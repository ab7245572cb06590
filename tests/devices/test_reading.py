"""A reading is kept over many polls: what it worked out once must fit whatever comes later."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.config.profile import MAIN, Point, PointType, Space, Table, WordOrder
from bessai.devices.codec import RegisterImage, decode_number, raw_value
from bessai.devices.reading import Reading

HOLDING = Space(MAIN, Table.HOLDING)
NUMBERS = st.sampled_from([k for k in PointType if k is not PointType.STRING])
WORDS = st.lists(st.integers(0, 0xFFFF), min_size=4, max_size=4)


def point(kind: PointType = PointType.U16, **fields: Any) -> Point:
    return Point.model_validate({"address": 100, "type": kind, **fields})


@given(NUMBERS, st.sampled_from(WordOrder), WORDS, WORDS)
def test_every_read_is_decoded_anew_and_as_the_codec_does(
    kind: PointType, order: WordOrder, first: list[int], second: list[int]
) -> None:
    this = point(kind, word_order=order, gain=10, not_available=0xFFFF)
    image = RegisterImage()
    reading = Reading({"it": this}, image)
    assert reading.raw("it") is None
    for words in (first, second):
        image.store(HOLDING, 100, words)
        registers = tuple(words[: this.count])
        assert reading.raw("it") == raw_value(this, registers)
        assert reading.number("it") == decode_number(this, registers)


def test_what_the_image_forgets_is_unknown_again() -> None:
    image = RegisterImage({HOLDING: {100: 1, 101: 2}})
    reading = Reading({"it": point(PointType.U32)}, image)
    assert reading.raw("it") == 0x1_0002
    image.forget(HOLDING, 101, 101)
    assert reading.raw("it") is None
    image.store(HOLDING, 101, (3,))
    assert reading.raw("it") == 0x1_0003


def test_a_scale_factor_is_looked_up_with_each_value() -> None:
    points = {"it": point(scale_factor="sf"), "sf": point(PointType.I16, address=101)}
    image = RegisterImage()
    reading = Reading(points, image)
    image.store(HOLDING, 100, (1234,))
    assert reading.number("it") is None
    image.store(HOLDING, 101, (0xFFFE,))
    assert reading.number("it") == pytest.approx(12.34)
    image.store(HOLDING, 101, (1,))
    assert reading.number("it") == 12_340


def test_an_image_and_its_copy_do_not_share_what_they_learn() -> None:
    image = RegisterImage()
    before = Reading({"it": point()}, image)
    assert before.raw("it") is None
    after = image.copy()
    after.store(HOLDING, 100, (7,))
    assert before.raw("it") is None
    assert Reading({"it": point()}, after).raw("it") == 7
