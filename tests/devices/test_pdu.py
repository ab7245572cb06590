"""Requests as the standard reads them, and answers that a client we did not write understands."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.mei_message import ReadDeviceInformationResponse

from bessai.devices.pdu import (
    MAX_PDU_BYTES,
    CustomRequest,
    ExceptionCode,
    IdentificationRequest,
    MaskWriteRequest,
    ReadRequest,
    ReadWriteRequest,
    Refused,
    Request,
    WriteRequest,
    exception_answer,
    identification_answer,
    parse_request,
    read_answer,
    write_answer,
)
from bessai.errors import ProtocolError

FUNCTION, ADDRESS, VALUE = (
    ExceptionCode.ILLEGAL_FUNCTION,
    ExceptionCode.ILLEGAL_ADDRESS,
    ExceptionCode.ILLEGAL_VALUE,
)
words = st.integers(0, 0xFFFF)


def pdu_of(function: int, *fields: int, tail: bytes = b"") -> bytes:
    return bytes((function,)) + struct.pack(f">{len(fields)}H", *fields) + tail


def write_pdu(address: int, count: int, byte_count: int, data: bytes) -> bytes:
    return pdu_of(0x10, address, count, tail=bytes((byte_count,)) + data)


@pytest.mark.parametrize(
    ("pdu", "expected"),
    [
        (pdu_of(3, 37760, 30), ReadRequest("holding", 37760, 30)),
        (pdu_of(4, 5000, 1), ReadRequest("input", 5000, 1)),
        (pdu_of(3, 0, 125), ReadRequest("holding", 0, 125)),
        (pdu_of(3, 65535, 1), ReadRequest("holding", 65535, 1)),
        (pdu_of(6, 47100, 2), WriteRequest(47100, (2,), single=True)),
        (
            write_pdu(47247, 2, 4, b"\0\0\x13\x88"),
            WriteRequest(47247, (0, 5000), single=False),
        ),
        (write_pdu(0, 123, 246, bytes(246)), WriteRequest(0, (0,) * 123, single=False)),
        (pdu_of(0x16, 4, 0xF2, 0x25), MaskWriteRequest(4, 0xF2, 0x25)),
        (
            pdu_of(0x17, 3, 6, 14, 3, tail=b"\x06\0\xff\0\xff\0\xff"),
            ReadWriteRequest(3, 6, 14, (255, 255, 255)),
        ),
        (b"\x2b\x0e\x03\x87", IdentificationRequest(3, 0x87)),
        (b"\x41\x24\x01\x00", CustomRequest(0x41, b"\x24\x01\x00")),
        (b"\x41", CustomRequest(0x41, b"")),
    ],
)
def test_a_valid_request_becomes_a_value(pdu: bytes, expected: Request) -> None:
    assert parse_request(pdu) == expected


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (b"", FUNCTION),
        (pdu_of(1, 0, 1), FUNCTION),
        (pdu_of(2, 0, 1), FUNCTION),
        (pdu_of(5, 0, 0xFF00), FUNCTION),
        (pdu_of(15, 0, 1, tail=b"\1\1"), FUNCTION),
        (b"\x07", FUNCTION),
        (b"\x42\x00", FUNCTION),
        (b"\x83\x02", FUNCTION),
        (b"\x2b\x0d\x01\x00", FUNCTION),
        (pdu_of(3, 0, 0), VALUE),
        (pdu_of(3, 0, 126), VALUE),
        (pdu_of(4, 65535, 126), VALUE),
        (pdu_of(3, 0), VALUE),
        (pdu_of(3, 0, 1, tail=b"\0"), VALUE),
        (pdu_of(3, 65535, 2), ADDRESS),
        (pdu_of(6, 0), VALUE),
        (pdu_of(6, 0, 1, 2), VALUE),
        (write_pdu(0, 0, 0, b""), VALUE),
        (write_pdu(0, 124, 248, bytes(247)), VALUE),
        (write_pdu(0, 124, 248, bytes(248)), VALUE),
        (write_pdu(0, 2, 2, bytes(2)), VALUE),
        (write_pdu(0, 2, 4, bytes(2)), VALUE),
        (write_pdu(0, 1, 2, bytes(4)), VALUE),
        (pdu_of(0x10, 0, 1), VALUE),
        (write_pdu(65535, 2, 4, bytes(4)), ADDRESS),
        (pdu_of(0x16, 4, 0xF2), VALUE),
        (pdu_of(0x17, 0, 0, 0, 1, tail=b"\2\0\0"), VALUE),
        (pdu_of(0x17, 0, 126, 0, 1, tail=b"\2\0\0"), VALUE),
        (pdu_of(0x17, 0, 1, 0, 0, tail=b"\0"), VALUE),
        (pdu_of(0x17, 0, 1, 0, 122, tail=bytes((244,)) + bytes(244)), VALUE),
        (pdu_of(0x17, 0, 1, 0, 1, tail=b"\4\0\0"), VALUE),
        (pdu_of(0x17, 0, 1), VALUE),
        (pdu_of(0x17, 65535, 2, 0, 1, tail=b"\2\0\0"), ADDRESS),
        (pdu_of(0x17, 0, 1, 65535, 2, tail=b"\4\0\0\0\0"), ADDRESS),
        (pdu_of(0x17, 65535, 2, 0, 122, tail=bytes((244,)) + bytes(244)), VALUE),
        (b"\x2b", VALUE),
        (b"\x2b\x0e\x01", VALUE),
        (b"\x2b\x0e\x00\x00", VALUE),
        (b"\x2b\x0e\x05\x00", VALUE),
    ],
)
def test_a_wrong_request_is_refused_with_the_code_of_the_standard(
    pdu: bytes, code: ExceptionCode
) -> None:
    function = pdu[0] if pdu else 0
    refused = parse_request(pdu)
    assert refused == Refused(function, code)
    assert isinstance(refused, Refused)
    assert refused.answer() == bytes((function | 0x80, code))


def test_a_custom_function_is_known_only_where_it_is_registered() -> None:
    assert parse_request(b"\x64\x01", frozenset({0x64})) == CustomRequest(0x64, b"\x01")
    assert parse_request(b"\x41\x24", frozenset()) == Refused(0x41, FUNCTION)


likely = st.builds(
    lambda function, body: bytes((function,)) + body,
    st.sampled_from([3, 4, 6, 0x10, 0x16, 0x17, 0x2B, 0x41]),
    st.binary(max_size=24),
)


@given(st.binary(max_size=300) | likely)
def test_any_bytes_are_a_request_within_the_standard_or_refused_in_two_bytes(pdu: bytes) -> None:
    match parse_request(pdu):
        case Refused() as refused:
            answer = refused.answer()
            assert len(answer) == 2
            assert answer[0] == 0x80 | (pdu[0] if pdu else 0)
            assert answer[1] in (1, 2, 3)
        case ReadRequest() as read:
            assert 1 <= read.count <= 125
            assert read.address + read.count <= 65536
        case WriteRequest() as write:
            assert 1 <= len(write.words) <= 123
            assert write.address + len(write.words) <= 65536
        case ReadWriteRequest() as both:
            assert 1 <= both.read_count <= 125
            assert 1 <= len(both.words) <= 121
        case other:
            assert other.function == pdu[0]


@given(st.integers(0, 65536 - 123), st.lists(words, min_size=1, max_size=123))
def test_written_words_come_through_unchanged(address: int, values: list[int]) -> None:
    data = struct.pack(f">{len(values)}H", *values)
    request = parse_request(write_pdu(address, len(values), len(data), data))
    assert request == WriteRequest(address, tuple(values), single=False)
    assert write_answer(request) == pdu_of(0x10, address, len(values))


@given(st.lists(words, min_size=1, max_size=125))
def test_read_words_are_what_pymodbus_decodes(values: list[int]) -> None:
    decoded = DecodePDU(is_server=False).decode(read_answer(3, values))
    assert decoded is not None
    assert decoded.registers == values


@given(words, words, words)
def test_a_mask_changes_only_the_bits_that_the_and_mask_clears(
    word: int, and_mask: int, or_mask: int
) -> None:
    masked = MaskWriteRequest(0, and_mask, or_mask).masked(word)
    assert masked & and_mask == word & and_mask
    assert masked & ~and_mask == or_mask & ~and_mask


def test_writes_echo_what_the_standard_says() -> None:
    assert write_answer(WriteRequest(1, (3,), single=True)) == pdu_of(6, 1, 3)
    assert write_answer(MaskWriteRequest(4, 0xF2, 0x25)) == pdu_of(0x16, 4, 0xF2, 0x25)
    assert exception_answer(6, ExceptionCode.NO_PERMISSION) == b"\x86\x80"


@pytest.mark.parametrize("values", [[65536], [-1], [0] * 126])
def test_words_that_no_answer_can_carry_are_an_error(values: list[int]) -> None:
    with pytest.raises(ProtocolError):
        read_answer(3, values)


BASIC = {0: b"Maker", 1: b"Product", 2: b"V1"}


def identify(code: int, object_id: int, objects: dict[int, bytes]) -> bytes:
    return identification_answer(IdentificationRequest(code, object_id), objects)


def test_basic_identification_lists_three_objects() -> None:
    assert identify(1, 0, {**BASIC, 0x87: b"\1"}) == (
        b"\x2b\x0e\x01\x83\x00\x00\x03" + b"\0\x05Maker" + b"\1\x07Product" + b"\2\x02V1"
    )


def test_the_device_list_of_huawei_begins_at_the_object_that_was_asked_for() -> None:
    objects = {**BASIC, 0x87: b"\1", 0x88: b"1=SUN2000-10KTL-M1;2=V100;5=1"}
    assert identify(3, 0x87, objects) == (
        b"\x2b\x0e\x03\x83\x00\x00\x02" + b"\x87\1\1" + b"\x88\x1d1=SUN2000-10KTL-M1;2=V100;5=1"
    )


def test_a_full_frame_is_filled_to_the_last_byte_and_not_beyond() -> None:
    assert len(identify(1, 0, {0: bytes(121), 1: bytes(121)})) == MAX_PDU_BYTES
    split = identify(1, 0, {0: bytes(121), 1: bytes(122)})
    assert split[:7] == b"\x2b\x0e\x01\x81\xff\x01\x01"
    assert len(split) == 7 + 2 + 121


def test_one_object_comes_alone() -> None:
    assert identify(4, 1, BASIC) == b"\x2b\x0e\x04\x81\x00\x00\x01" + b"\1\x07Product"


def test_an_unknown_object_restarts_a_stream_and_fails_alone() -> None:
    assert identify(1, 9, BASIC) == identify(1, 0, BASIC)
    assert identify(4, 9, BASIC) == b"\xab\x02"


def test_a_device_without_objects_does_not_know_the_function() -> None:
    assert identify(1, 0, {}) == b"\xab\x01"
    assert identify(1, 0, {0x87: b"\1"}) == b"\xab\x02"


@pytest.mark.parametrize("objects", [{0: bytes(245)}, {256: b""}])
def test_an_object_that_fits_in_no_answer_is_an_error(objects: dict[int, bytes]) -> None:
    with pytest.raises(ProtocolError, match="object"):
        identify(4, next(iter(objects)), objects)


@given(
    st.dictionaries(st.integers(0, 255), st.binary(max_size=244), min_size=1, max_size=12),
    st.sampled_from([(1, 2), (2, 0x7F), (3, 0xFF)]),
)
def test_a_stream_tells_every_object_once_in_frames_that_fit(
    objects: dict[int, bytes], level: tuple[int, int]
) -> None:
    code, last = level
    expected = {key: value for key, value in objects.items() if key <= last}
    found: dict[int, bytes] = {}
    next_object = min(expected, default=0)
    for _ in range(len(expected)):
        answer = identify(code, next_object, objects)
        assert len(answer) <= MAX_PDU_BYTES
        decoded = DecodePDU(is_server=False).decode(answer)
        assert isinstance(decoded, ReadDeviceInformationResponse)
        assert decoded.number_of_objects == len(decoded.information) > 0
        assert not found.keys() & decoded.information.keys()
        found |= decoded.information
        if not decoded.more_follows:
            break
        next_object = decoded.next_object_id
    assert found == expected
