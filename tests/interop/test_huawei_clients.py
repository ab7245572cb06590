"""What Huawei clients send when they connect, poll and control, sent by clients that are not ours.

Source: the connect flow and the poll blocks of wlcrs/huawei_solar; forced charge with renewals as
evcc's template huawei-sun2000-hybrid.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator

import pytest

from tests.interop.raw_clients import (
    Gone,
    PyModbus,
    PyModbusTcp,
    RawClient,
    Refused,
    connected,
)
from tests.interop.simulator import Simulator, simulator
from tests.support.command import eventually

Kind = type[PyModbus] | type[PyModbusTcp]
BOTH = pytest.mark.parametrize("kind", [PyModbus, PyModbusTcp])
CONNECT = (
    (30000, 15),
    (30015, 50),
    (30071, 1),
    (37200, 1),
    (47000, 1),
    (47089, 1),
    (47954, 1),
    (37100, 1),
    (37125, 1),
    (42900, 1),
    (43006, 1),
)
POLL = (
    (32000, 20),
    (32064, 52),
    (37000, 26),
    (37046, 4),
    (37066, 4),
    (37100, 38),
    (37758, 30),
    (40125, 3),
    (47075, 28),
    (47246, 52),
    (47415, 4),
)
EVCC_BLOCKS = ((37101, 37), (37760, 24))


@pytest.fixture(scope="module")
def huawei() -> Iterator[Simulator]:
    site = ("--soc", "50", "--capacity-kwh", "30", "--pv-kw", "6", "--load-kw", "0.5")
    with simulator("huawei_sun2000", *site, "--speed", "60") as found:
        yield found


def text(words: list[int]) -> str:
    return b"".join(word.to_bytes(2, "big") for word in words).split(b"\0")[0].decode("ascii")


def signed(words: list[int]) -> int:
    return int.from_bytes(b"".join(word.to_bytes(2, "big") for word in words), "big", signed=True)


def power_w(client: RawClient) -> int:
    """Battery power as the device counts it: + while charging."""
    return signed(client.read(37765, 2))


def force_charge(client: RawClient, watts: int, minutes: int) -> None:
    client.write(47247, divmod(watts, 0x10000))
    client.write(47083, (minutes,))
    client.write(47246, (0,))
    client.write(47100, (1,))


@BOTH
def test_the_connect_flow_of_huawei_clients_is_answered(huawei: Simulator, kind: Kind) -> None:
    with connected(kind, huawei) as client:
        objects = client.devices()
        found = {block: client.read(*block) for block in CONNECT}
        assert [len(words) for words in found.values()] == [count for _, count in CONNECT]
        time_zone = found[43006, 1]
        client.write(43006, time_zone)
        assert client.read(43006, 1) == time_zone

    (serial, model) = (text(found[30015, 50]), text(found[30000, 15]))
    assert model == "SUN2000-10KTL-M1"
    assert serial.startswith("SIM")
    assert objects[0x87] == b"\x01", "one device"
    listed = dict(field.split("=") for field in objects[0x88].decode("ascii").split(";"))
    assert (listed["1"], listed["4"], listed["5"], listed["8"]) == (model, serial, "1", "SUN2000")
    assert 1 <= found[30071, 1][0] <= 24, "strings"
    assert found[37200, 1] == [0], "no optimizers, or clients start to transfer files"
    assert found[47000, 1] == [2], "LUNA2000"
    assert found[37100, 1] == [1], "meter online"


@BOTH
def test_every_block_that_clients_poll_is_read_as_a_whole(huawei: Simulator, kind: Kind) -> None:
    with connected(kind, huawei) as client:
        for address, count in (*POLL, *EVCC_BLOCKS):
            assert len(client.read(address, count)) == count
        battery = client.read(37758, 30)
        meter = client.read(37100, 38)
        inverter = client.read(32064, 52)
    assert signed(battery[:2]) == 30_000, "Wh"
    assert signed(battery[7:9]) == 5000, "W, + while charging"
    assert battery[5] * battery[6] / 100 == pytest.approx(5000, rel=0.01), "U x I"
    assert signed(meter[13:15]) == 500, "W, + while exporting"
    assert (signed(inverter[:2]), signed(inverter[16:18])) == (6000, 1000), "PV and AC"


@BOTH
def test_a_forced_charge_lasts_while_it_is_renewed_and_ends_when_told(
    huawei: Simulator, kind: Kind
) -> None:
    with connected(kind, huawei) as client:
        for _ in range(3):
            force_charge(client, 2000, 2)
            assert power_w(client) == 2000
        before = client.read(37760, 1)
        eventually(lambda: client.read(37760, 1) > before)
        client.write(47100, (0,))
        assert power_w(client) == 5000, "its own mode stores what the sun leaves over"


@BOTH
def test_what_the_device_lacks_or_does_not_take_is_refused(huawei: Simulator, kind: Kind) -> None:
    with connected(kind, huawei) as client:
        for address, words, code in ((36000, (0,), 2), (47100, (7,), 3), (47247, (0, 5001), 3)):
            with pytest.raises(Refused, match=f"^{code}$"):
                client.write(address, words)
        with pytest.raises(Refused, match=r"^2$"):
            client.read(36000, 1)


@BOTH
def test_a_second_client_closes_the_connection_of_the_first(huawei: Simulator, kind: Kind) -> None:
    with connected(kind, huawei) as first:
        assert len(first.read(37760, 1)) == 1
        with connected(PyModbusTcp, huawei) as second:
            assert len(second.read(37760, 1)) == 1
            with pytest.raises(Gone):
                first.read(37760, 1)
            assert len(second.read(37760, 1)) == 1


def test_bytes_of_the_device_list_are_those_that_clients_parse(huawei: Simulator) -> None:
    client = PyModbusTcp(huawei)
    answer = client.custom(bytes.fromhex("2b0e0387"))
    client.close()
    assert answer[:7] == bytes.fromhex("2b0e0383000002"), "two objects, and no more"
    assert answer[7:11] == bytes.fromhex("87010188"), "one device, then its text"
    assert len(answer) == 12 + answer[11]
    assert answer[12:].startswith(b"1=SUN2000-10KTL-M1;2=")


def test_a_device_that_wants_a_login_takes_writes_only_after_it() -> None:
    def mac(challenge: bytes) -> bytes:
        return hmac.digest(hashlib.sha256(b"00000a").digest(), challenge, "sha256")

    nonce = bytes(range(16))
    with simulator("huawei_sun2000", "--login") as found:
        client = PyModbusTcp(found)
        with pytest.raises(Refused):
            client.write(47100, (0,))
        answer = client.custom(bytes.fromhex("41240100"))
        assert answer[:3] == bytes.fromhex("412411")
        theirs = answer[3:19]
        content = nonce + b"\x09installer" + b"\x20" + mac(theirs)
        proof = client.custom(bytes((0x41, 0x25, len(content))) + content)
        assert proof == bytes((0x41, 0x25, 34, 0, 32)) + mac(nonce)
        client.write(47100, (0,))
        client.write(49999, (1,))
        client.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_forced_charge_of_one_minute_ends_a_minute_after_the_last_renewal() -> None:
    with simulator("huawei_sun2000", "--soc", "20") as found:
        client = PyModbus(found)
        force_charge(client, 2000, 1)
        for _ in range(3):
            time.sleep(30)
            assert power_w(client) == 2000
            force_charge(client, 2000, 1)
        renewed = time.monotonic()
        while time.monotonic() < renewed + 50:
            assert power_w(client) == 2000
            time.sleep(1)
        eventually(lambda: power_w(client) == 0, 30)
        assert time.monotonic() - renewed == pytest.approx(60, abs=10)
        assert client.read(47100, 1) == [0]
        client.close()
