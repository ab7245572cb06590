"""Login by challenge and response: both sides prove the password, neither sends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.config.profile import (
    MAIN,
    Connection,
    KeepAlive,
    Persistence,
    Point,
    PointType,
    Space,
    Table,
)
from bessai.devices.connection import ModbusConnection
from bessai.devices.logins import Credentials, huawei, load_login
from bessai.devices.mbap import ClientId, ModbusServer
from bessai.devices.pdu import exception_answer
from bessai.errors import ConfigError, DeviceBusy, DeviceError, ProtocolError
from tests.support.modbus_raw import HOST, Bank, serving, until

RIGHT = Credentials("installer", "00000a")
HEARTBEAT = Point(address=49999, type=PointType.U16, persistence=Persistence.VOLATILE)
SETTINGS = Connection(
    login="huawei",
    keep_alive=KeepAlive(point="session_heartbeat", value=1, every_s=0.02),
    request_deadline_s=20.0,
    busy_wait_s=0.0,
)


EXPECTED_MAC = "e53e898f42478c564818689b929ac641b7828eb3808c0170e158e6fea8aee999"


class Device(Bank):
    """Wants a login before a write, and can be made to misbehave."""

    def __init__(self) -> None:
        super().__init__()
        self.challenge = bytes(range(16))
        self.open_to: set[ClientId] = set()
        self.refuse_with: int | None = None
        self.pretends = False
        self.logins = 0

    async def answer(self, unit_id: int, pdu: bytes, client: ClientId) -> bytes | None:
        if pdu[0] == huawei.FUNCTION:
            return self._log_in(pdu, client)
        if pdu[0] in {6, 16} and client not in self.open_to:
            return exception_answer(pdu[0], 0x80)
        return await super().answer(unit_id, pdu, client)

    def _log_in(self, pdu: bytes, client: ClientId) -> bytes:
        if self.refuse_with is not None:
            return exception_answer(pdu[0], self.refuse_with)
        if pdu == huawei.challenge_request():
            return huawei.challenge_answer(self.challenge)
        self.logins += 1
        request = huawei.read_login(pdu)
        if self.pretends:
            return bytes((huawei.FUNCTION, huawei.LOGIN, 34, 0, 32)) + bytes(32)
        answer = huawei.login_answer(request, RIGHT, self.challenge)
        if huawei.read_result(answer) is not None:
            self.open_to.add(client)
        return answer

    def heartbeats(self) -> int:
        return self.seen.count((1, b"\x06\xc3\x4f\x00\x01"))


@pytest.fixture
async def device() -> Device:
    return Device()


@pytest.fixture
async def server(device: Device) -> AsyncIterator[ModbusServer]:
    async with serving(ModbusServer(device)) as running:
        yield running


def link_to(server: ModbusServer, credentials: Credentials | None = RIGHT) -> ModbusConnection:
    return ModbusConnection(
        HOST, server.port, {MAIN: 1}, SETTINGS, credentials=credentials, keep_alive=HEARTBEAT
    )


async def test_a_write_is_taken_after_the_login(server: ModbusServer, device: Device) -> None:
    link = link_to(server)
    await link.connect()
    await link.write(MAIN, 5, (7,))
    assert device.words[5] == 7
    link.close()


async def test_without_credentials_nothing_is_tried(server: ModbusServer, device: Device) -> None:
    link = link_to(server, None)
    await link.connect()
    assert device.logins == 0
    assert await link.read(Space(MAIN, Table.HOLDING), 5, 1) == (0,)
    with pytest.raises(DeviceError, match="exception 128"):
        await link.write(MAIN, 5, (7,))
    link.close()


async def test_the_session_is_kept_alive_until_the_link_is_closed(
    server: ModbusServer, device: Device
) -> None:
    link = link_to(server)
    await link.connect()
    await until(lambda: device.heartbeats() >= 3)
    link.close()
    beats = device.heartbeats()
    await asyncio.sleep(0.1)
    assert device.heartbeats() == beats


async def test_a_refused_keep_alive_is_told_once_and_goes_on(
    server: ModbusServer, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    link = link_to(server)
    await link.connect()
    beat = b"\x06\xc3\x4f\x00\x01"
    device.canned[beat] = exception_answer(6, 0x80)
    await until(lambda: device.heartbeats() >= 3)
    assert caplog.text.count("keep-alive refused") == 1
    del device.canned[beat]
    await until(lambda: "keep-alive accepted again" in caplog.text)
    link.close()


async def test_a_link_that_breaks_ends_the_keep_alive(server: ModbusServer, device: Device) -> None:
    link = link_to(server)
    await link.connect()
    await until(lambda: device.heartbeats() >= 1)
    server.drop_clients()
    await until(lambda: not link.connected)
    await asyncio.sleep(0.05)
    seen = device.heartbeats()
    await link.connect()
    await until(lambda: device.heartbeats() > seen)
    link.close()


@pytest.mark.parametrize(
    "wrong", [Credentials("installer", "secret-pw"), Credentials("user", "00000a")]
)
async def test_wrong_credentials_are_told_without_the_secret_and_not_tried_again(
    server: ModbusServer, device: Device, wrong: Credentials
) -> None:
    link = link_to(server, wrong)
    for _ in range(3):
        with pytest.raises(DeviceError, match=r"credentials\.user and credentials\.password") as e:
            await link.connect()
        assert wrong.password not in str(e.value)
        assert not link.connected
    assert device.logins == 1, "a device locks the account after a few wrong ones"
    await until(lambda: server.clients == 0)


async def test_a_device_that_only_pretends_to_know_the_password_is_found_out(
    server: ModbusServer, device: Device
) -> None:
    device.pretends = True
    with pytest.raises(DeviceError, match="does not prove that it knows the password"):
        await link_to(server).connect()


async def test_a_device_without_that_login_says_so(server: ModbusServer, device: Device) -> None:
    device.refuse_with = 1
    with pytest.raises(DeviceError, match=r"refuses the login .* exception 1 "):
        await link_to(server).connect()


async def test_a_busy_device_may_be_asked_again_at_once(
    server: ModbusServer, device: Device
) -> None:
    link = link_to(server)
    device.refuse_with = 6
    with pytest.raises(DeviceBusy):
        await link.connect()
    device.refuse_with = None
    await link.connect()
    assert link.connected
    link.close()


def test_settings_that_do_not_fit_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match="has no login"):
        ModbusConnection(HOST, 1, {MAIN: 1}, Connection(), credentials=RIGHT)
    with pytest.raises(ConfigError, match="session_heartbeat"):
        ModbusConnection(HOST, 1, {MAIN: 1}, SETTINGS, credentials=RIGHT)
    with pytest.raises(ConfigError, match=r"connection\.login.*use one of huawei"):
        load_login("nobody")


def test_the_password_is_in_no_text() -> None:
    secret = Credentials("installer", "secret-pw")
    assert "secret-pw" not in f"{secret} {secret!r}"


def test_mac_is_hmac_sha256_under_the_hash_of_the_password() -> None:
    """Computed with ``openssl dgst -sha256 -mac HMAC -macopt hexkey:SHA256(00000a)``."""
    assert huawei.mac("00000a", bytes(range(16))).hex() == EXPECTED_MAC


@given(user=st.text(max_size=40), password=st.text(max_size=20), nonces=st.binary(min_size=32))
def test_both_sides_understand_each_other(user: str, password: str, nonces: bytes) -> None:
    ours, theirs = nonces[:16], nonces[16:32]
    secret = Credentials(user, password)
    assert huawei.read_challenge(huawei.challenge_answer(theirs)) == theirs
    sent = huawei.LoginRequest(ours, user, huawei.mac(password, theirs))
    received = huawei.read_login(huawei.login_request(sent))
    assert received == sent
    proof = huawei.read_result(huawei.login_answer(received, secret, theirs))
    assert proof == huawei.mac(password, ours)
    other = Credentials(user, password + "x")
    assert huawei.read_result(huawei.login_answer(received, other, theirs)) is None


@given(st.binary(max_size=80))
def test_no_bytes_break_the_parsers(data: bytes) -> None:
    for subfunction in (huawei.CHALLENGE, huawei.LOGIN):
        pdu = bytes((huawei.FUNCTION, subfunction)) + data
        for parse in (huawei.read_challenge, huawei.read_login, huawei.read_result):
            try:
                parse(pdu)
            except ProtocolError:
                continue


async def test_an_answer_that_is_no_challenge_is_told(server: ModbusServer, device: Device) -> None:
    device.challenge = b"short"
    with pytest.raises(DeviceError, match="the challenge is too short"):
        await link_to(server).connect()
