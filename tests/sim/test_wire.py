"""What goes over the wire: identification, exceptions, units, login, and each fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bessai.config import load_profile
from bessai.config.profile import MAIN, Space, Table
from bessai.devices.logins import Credentials
from bessai.devices.logins.huawei import (
    LoginRequest,
    challenge_request,
    login_request,
    mac,
    read_challenge,
    read_result,
)
from bessai.devices.mbap import frame
from bessai.errors import ConfigError
from bessai.sim.bank import HOLDING
from bessai.sim.faults import Fault
from bessai.sim.huawei import SESSION_S
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.server import HostedInverter
from bessai.sim.spec import InverterSpec
from tests.support.modbus_raw import until
from tests.support.simulated import SPEC, HandClock, RawRegisters, hosted, registers_of, simulated

SOC = b"\x03" + (37760).to_bytes(2, "big") + b"\x00\x01"
SOC_IS_50 = b"\x03\x02\x01\xf4"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def host(clock: HandClock) -> AsyncIterator[HostedInverter]:
    async with hosted(simulated(clock)) as one:
        yield one


@pytest.fixture
async def link(host: HostedInverter) -> AsyncIterator[RawRegisters]:
    registers = await registers_of(host)
    yield registers
    await registers.raw.close()


def family(name: str, **more: object) -> SimulatedInverter:
    spec = InverterSpec.model_validate({**SPEC.model_dump(), "profile": name, **more})
    return SimulatedInverter(spec, load_profile(name), 1.0, now=HandClock())


async def silent(link: RawRegisters, pdu: bytes, unit_id: int = 1, seconds: float = 0.2) -> bool:
    """Whether nothing comes back while the connection stays open."""
    link.raw.writer.write(frame(9, unit_id, pdu))
    try:
        async with asyncio.timeout(seconds):
            assert await link.raw.reader.read(1) != b"", "the connection was closed"
    except TimeoutError:
        return True
    return False


async def test_a_client_that_connects_reads_all_it_asks_for(link: RawRegisters) -> None:
    """The blocks that Huawei clients are known to read."""
    blocks = [
        (30000, 15), (30015, 50), (30071, 1), (37200, 1), (47000, 1), (47089, 1), (47954, 1),
        (37100, 1), (37125, 1), (42900, 1), (43006, 1),
        (32000, 20), (32064, 52), (37000, 26), (37046, 4), (37066, 4), (37100, 38), (37758, 30),
        (40125, 3), (47075, 28), (47246, 52), (47415, 4),
    ]  # fmt: skip
    for address, count in blocks:
        assert isinstance(await link.read(HOLDING, address, count), tuple), address
    (zone,) = await link.words(link.host.inverter.profile.points["time_zone"])
    assert await link.write(43006, [zone]) is None
    assert await link.read(HOLDING, 37200, 1) == (0,)


async def test_huawei_lists_its_devices(link: RawRegisters) -> None:
    for unit_id in (0, 1, 255):
        answer = await link.raw.ask(b"\x2b\x0e\x03\x87", unit_id=unit_id)
        assert answer[:4] == b"\x2b\x0e\x03\x83"
        assert answer[4:7] == b"\x00\x00\x02"
        assert answer[7:10] == b"\x87\x01\x01"
        assert answer[10] == 0x88
        fields = dict(part.split("=") for part in answer[12:].decode().split(";"))
        assert fields["1"] == "SUN2000-10KTL-M1"
        assert fields["4"].startswith("SIM")
        assert fields["5"] == "1"


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (b"\x01\x00\x00\x00\x01", 1),  # coils
        (b"\x16\x00\x00\x00\x00\x00\x00", 1),  # mask write: no inverter documents it
        (b"\x64", 1),
        (b"\x03\x93\x80\x00\x00", 3),  # no registers
        (b"\x03\x93\x80\x00\x7e", 3),  # 126 registers
        (b"\x10\xb8\x7f\x00\x02\x02\x00\x00", 3),  # byte count and register count differ
        (b"\x03\xff\xff\x00\x02", 2),  # beyond the last address
        (b"\x04\x93\x80\x00\x01", 2),  # no input registers on this device
        (b"\x2b\x0e\x04\x05", 2),
        (b"\x41\x05\x01\xf8", 3),  # file transfer
    ],
)
async def test_wrong_requests_get_the_exception_of_the_standard(
    link: RawRegisters, pdu: bytes, code: int
) -> None:
    assert await link.raw.ask(pdu) == bytes((pdu[0] | 0x80, code))


async def test_a_family_without_login_does_not_know_function_65() -> None:
    async with hosted(family("goodwe_et")) as host:
        link = await registers_of(host)
        assert await link.raw.ask(challenge_request(), unit_id=247) == b"\xc1\x01"
        await link.raw.close()


async def test_a_device_hears_only_its_own_unit_id(link: RawRegisters) -> None:
    assert await link.raw.ask(SOC, unit_id=0) == SOC_IS_50
    assert await silent(link, SOC, unit_id=7)
    assert await link.raw.ask(SOC, unit_id=1) == SOC_IS_50


async def test_a_gateway_answers_for_the_units_behind_it() -> None:
    async with hosted(family("victron_gx")) as host:
        link = await registers_of(host)
        battery = Space("battery", Table.HOLDING)
        assert await link.read(battery, 266, 1) == (500,)
        assert await link.read(HOLDING, 266, 1) == 2
        assert await link.raw.ask(b"\x03\x01\x0a\x00\x01", unit_id=99) == b"\x83\x0b"
        await link.raw.close()


async def test_a_sunspec_device_carries_its_chain() -> None:
    inverter = family("sunspec")
    async with hosted(inverter) as host:
        link = await registers_of(host)
        for faults in ((), (Fault.GARBAGE,)):
            await host.set_fault(*faults)
            assert await link.read(HOLDING, 40000, 2) == (0x5375, 0x6E53)
            models, at = [], 40002
            while True:
                header = await link.read(HOLDING, at, 2)
                assert isinstance(header, tuple)
                if header[0] == 0xFFFF:
                    break
                models.append(header[0])
                at += 2 + header[1]
            assert models[:3] == [1, 103, 120]
            assert {701, 702, 704, 713, 802} <= set(models)
        await link.raw.close()


async def test_one_client_only_where_the_device_has_one_connection(host: HostedInverter) -> None:
    first = await registers_of(host)
    assert await first.raw.ask(SOC) == SOC_IS_50
    second = await registers_of(host)
    assert await second.raw.ask(SOC) == SOC_IS_50
    assert await first.raw.ended()
    await second.raw.close()
    await first.raw.close()


async def log_in(link: RawRegisters, user: str, password: str) -> bool:
    challenge = read_challenge(await link.raw.ask(challenge_request()))
    request = LoginRequest(bytes(16), user, mac(password, challenge))
    proof = read_result(await link.raw.ask(login_request(request)))
    assert proof in (None, mac(password, bytes(16)))
    return proof is not None


async def test_writes_need_a_login_where_it_is_asked_for(clock: HandClock) -> None:
    host = HostedInverter(simulated(clock), credentials=Credentials("installer", "sesame"))
    await host.start()
    link = await registers_of(host)
    assert await link.write(43006, [0]) == 0x80
    assert await link.read(HOLDING, 43006, 1) == (0,)
    assert not await log_in(link, "installer", "wrong")
    assert not await log_in(link, "somebody", "sesame")
    assert await link.write(43006, [0]) == 0x80
    assert await log_in(link, "installer", "sesame")
    assert await link.write(43006, [0]) is None
    for _ in range(3):
        clock.at_s += SESSION_S / 2
        assert await link.write(49999, [1]) is None
    clock.at_s += SESSION_S + 1
    assert await link.write(43006, [0]) == 0x80
    await link.raw.close()
    other = await registers_of(host)
    assert await other.write(43006, [0]) == 0x80
    await other.raw.close()
    await host.stop()


async def test_a_login_works_where_nobody_asks_for_it(link: RawRegisters) -> None:
    assert await log_in(link, "installer", "00000a")
    assert await link.write(43006, [0]) is None


def test_a_login_that_the_family_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="goodwe_et has no login"):
        HostedInverter(family("goodwe_et"), credentials=Credentials("installer", "sesame"))


async def test_busy_answers_exception_6(host: HostedInverter, link: RawRegisters) -> None:
    await host.set_fault(Fault.BUSY)
    assert await link.raw.ask(SOC) == b"\x83\x06"
    assert await link.write(43006, [0]) == 6
    await host.set_fault()
    assert await link.raw.ask(SOC) == SOC_IS_50


async def test_a_busy_storm_lets_a_share_through(host: HostedInverter, link: RawRegisters) -> None:
    await host.set_fault(Fault.parse("busy_storm:0.5"))
    answers = [await link.raw.ask(SOC) for _ in range(60)]
    assert 15 <= answers.count(b"\x83\x06") <= 45
    assert answers.count(SOC_IS_50) == 60 - answers.count(b"\x83\x06")


async def test_drop_closes_at_every_nth_request(host: HostedInverter) -> None:
    await host.set_fault(Fault.parse("drop:3"))
    for _ in range(2):
        link = await registers_of(host)
        assert await link.raw.ask(SOC) == SOC_IS_50
        assert await link.raw.ask(SOC) == SOC_IS_50
        link.raw.writer.write(frame(3, 1, SOC))
        assert await link.raw.ended()
        await link.raw.close()


async def test_delay_answers_late_and_the_write_counts_at_once(
    host: HostedInverter, link: RawRegisters
) -> None:
    await host.set_fault(Fault.parse("delay:0.3"))
    write = b"\x06" + (47100).to_bytes(2, "big") + b"\x00\x01"
    assert await silent(link, write, seconds=0.1)
    assert host.inverter.bank.number("forced_command") == 1
    assert (await link.raw.receive())[2] == write


async def test_hang_never_answers_and_healing_closes(
    host: HostedInverter, link: RawRegisters
) -> None:
    await host.set_fault(Fault.HANG)
    assert await silent(link, SOC)
    await host.set_fault(Fault.NONE)
    assert await link.raw.ended()
    again = await registers_of(host)
    assert await again.raw.ask(SOC) == SOC_IS_50
    await again.raw.close()


async def test_half_open_forgets_the_present_connections() -> None:
    async with hosted(family("sma")) as host:
        present = await registers_of(host)
        soc = b"\x03\x78\x7d\x00\x02"
        assert await present.raw.ask(soc, unit_id=3) == b"\x03\x04\x00\x00\x00\x32"
        await host.set_fault(Fault.parse("half_open"))
        assert await silent(present, soc, unit_id=3)
        later = await registers_of(host)
        assert await later.raw.ask(soc, unit_id=3) == b"\x03\x04\x00\x00\x00\x32"
        assert await silent(present, soc, unit_id=3)
        await later.raw.close()
        await present.raw.close()


async def test_a_stale_frame_comes_before_the_right_one(
    host: HostedInverter, link: RawRegisters
) -> None:
    await host.set_fault(Fault.parse("stale_frame"))
    assert await link.raw.ask(SOC, transaction_id=20) == SOC_IS_50
    link.raw.writer.write(frame(21, 1, b"\x03\x92\x7b\x00\x02"))
    assert await link.raw.receive() == (20, 1, SOC_IS_50)
    assert (await link.raw.receive())[0] == 21


async def test_a_wrong_transaction_id_is_far_from_the_right_one(
    host: HostedInverter, link: RawRegisters
) -> None:
    await host.set_fault(Fault.parse("wrong_transaction_id"))
    link.raw.writer.write(frame(7, 1, SOC))
    answered, _, pdu = await link.raw.receive()
    assert pdu == SOC_IS_50
    assert abs(answered - 7) > 1000


async def test_garbage_reads_not_available(host: HostedInverter, link: RawRegisters) -> None:
    await host.set_fault(Fault.GARBAGE)
    assert await link.raw.ask(SOC) == b"\x03\x02\xff\xff"


async def test_an_offline_meter_costs_the_connection(
    host: HostedInverter, link: RawRegisters
) -> None:
    await host.set_fault(Fault.METER_OFFLINE)
    assert await link.read(HOLDING, 37100, 1) == (0,)
    link.raw.writer.write(frame(3, 1, b"\x03\x90\xf9\x00\x02"))
    assert await link.raw.ended()
    await host.set_fault(Fault.NONE)
    again = await registers_of(host)
    assert await again.read(HOLDING, 37100, 38) != 2
    await again.raw.close()


async def test_write_faults_over_the_wire(host: HostedInverter, link: RawRegisters) -> None:
    await host.set_fault(Fault.parse("write_failure"))
    assert await link.write(47100, [1]) == 4
    await host.set_fault(Fault.parse("write_ignored"))
    assert await link.write(47100, [1]) is None
    assert await link.read(HOLDING, 47100, 1) == (0,)


async def test_several_faults_act_together(host: HostedInverter, link: RawRegisters) -> None:
    await host.set_fault(
        Fault.GARBAGE, Fault.parse("write_failure"), Fault.parse("alarm:alarm_1:7")
    )
    assert await link.raw.ask(SOC) == b"\x03\x02\xff\xff"
    assert await link.write(47100, [1]) == 4
    assert await link.read(HOLDING, 32008, 1) == (128,)
    await host.set_fault()
    assert await link.raw.ask(SOC) == SOC_IS_50
    assert await link.read(HOLDING, 32008, 1) == (0,)


async def test_a_reboot_is_gone_for_a_while_and_forgets_the_command(
    host: HostedInverter, link: RawRegisters
) -> None:
    port = host.port
    assert await link.write(47249, [0, 1000]) is None
    assert await link.write(47083, [2]) is None
    assert await link.write(47100, [2]) is None
    await host.set_fault(Fault.parse("reboot:0.3"))
    assert await link.raw.ended()
    with pytest.raises(ConnectionRefusedError):
        await registers_of(host)
    await until(lambda: not list(host.inverter.faults))
    again = await registers_of(host)
    assert host.port == port
    assert await again.read(HOLDING, 47100, 1) == (0,)
    assert host.inverter.power_kw == 0.0
    await again.raw.close()


async def test_healing_ends_a_reboot_at_once(host: HostedInverter) -> None:
    await host.set_fault(Fault.parse("reboot:60"))
    await host.set_fault(Fault.NONE)
    link = await registers_of(host)
    assert await link.raw.ask(SOC) == SOC_IS_50
    await link.raw.close()


async def test_a_fault_that_cannot_be_changes_nothing(
    host: HostedInverter, link: RawRegisters
) -> None:
    await host.set_fault(Fault.BUSY)
    with pytest.raises(ConfigError, match="no such bit"):
        await host.set_fault(Fault.parse("alarm:soc:0"))
    assert await link.raw.ask(SOC) == b"\x83\x06"


async def test_the_main_unit_wins_where_a_given_id_is_also_of_another() -> None:
    inverter = family("victron_gx", unit_id=225)
    assert inverter.units[225] == MAIN
