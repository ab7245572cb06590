"""A probe against simulated devices of every family, over TCP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from bessai.cli.devices_list import known_profiles
from bessai.config import DeviceProfile
from bessai.config.profile import MAIN, Persistence
from bessai.devices.careful import who_of
from bessai.devices.connection import ModbusConnection
from bessai.devices.discovery import discover
from bessai.devices.mbap import ClientId, ModbusServer
from bessai.devices.pdu import ReadRequest, exception_answer, parse_request, read_answer
from bessai.devices.probe import ProbeReport, Where, probe
from bessai.devices.survey import read_everything
from bessai.sim.faults import Fault
from bessai.sim.server import LOOPBACK, HostedInverter
from bessai.sim.spec import InverterSpec
from tests.support.modbus_raw import IDENTITY, serving
from tests.support.simulated import HandClock, client_of, fast_profile, hosted, simulated

NAMES = [profile.name for profile in known_profiles()]
CERTAIN = {name: bool(fast_profile(name).identification.expect) for name in NAMES}
DEADLINE_S = 0.3


def families(*names: str) -> list[DeviceProfile]:
    return [fast_profile(name) for name in names or NAMES]


def spec_of(family: str, **more: float) -> InverterSpec:
    values = {"capacity_kwh": 10.0, "max_charge_kw": 2.0, "max_discharge_kw": 2.0, **more}
    return InverterSpec.model_validate({"site_id": "north", "profile": family, **values})


async def probed(
    port: int, profiles: Sequence[DeviceProfile], unit_ids: tuple[int, ...] = ()
) -> ProbeReport:
    return await probe(Where(LOOPBACK, (port,), unit_ids, DEADLINE_S), profiles)


@pytest.mark.parametrize("family", NAMES)
async def test_a_device_is_found_read_in_full_and_raises_no_doubt(family: str) -> None:
    inverter = simulated(HandClock(), spec=spec_of(family, pv_kw=1.5, load_kw=0.6))
    written = inverter.bank.reading.image.copy()
    async with hosted(inverter) as host:
        report = await probed(host.port, families())
        match, device = report.search.match, report.device
        assert match is not None
        assert device is not None
        assert (match.profile.name, match.unit_id) == (family, host.unit_id)
        assert match.certain is CERTAIN[family]
        assert device.survey.lacking == {}
        assert set(device.profile.points) == set(inverter.profile.points)
        for name, point in device.profile.points.items():
            assert (device.survey.reading.registers(name) is not None) is point.readable, name
        assert [law for law in device.laws if law.ok is False] == []
        assert any(law.ok and law.telling for law in device.laws), "no law had enough power"
        assert device.implausible == ()
    for name, point in inverter.profile.points.items():
        if point.persistence is not Persistence.READ_ONLY:
            assert inverter.bank.registers(name) == written.registers(point), "a probe wrote"


@pytest.mark.parametrize("family", ["huawei_sun2000", "sungrow_sh", "victron_gx"])
async def test_a_profile_with_a_wrong_sign_is_caught_by_its_laws(family: str) -> None:
    good = fast_profile(family)
    (name,) = good.telemetry["active_power_kw"].points
    point = good.points[name]
    flipped = {**good.points, name: point.model_copy(update={"sign": -point.sign})}
    wrong = good.model_copy(update={"points": flipped})
    async with hosted(simulated(HandClock(), spec=spec_of(family))) as host:
        driver = client_of(host, HandClock(), good)
        await driver.connect()
        await driver.apply_power(-2.0)
        await driver.close()
        for profile, broken in ((good, False), (wrong, True)):
            device = (await probed(host.port, [profile])).device
            assert device is not None
            assert bool(device.broken) is broken


async def test_another_unit_id_is_found_where_wrong_ones_are_silent() -> None:
    inverter = simulated(HandClock(), spec=spec_of("sungrow_sh", unit_id=2))
    async with hosted(inverter) as host:
        report = await probed(host.port, families("sungrow_sh", "sma"))
    assert report.search.match is not None
    assert report.search.match.unit_id == 2
    tried = [(attempt.unit_id, attempt.family) for attempt in report.search.attempts]
    assert tried[:2] == [(1, "sungrow_sh"), (3, "sma")], "default unit ids come first"


async def test_a_family_that_anything_fits_yields_to_one_that_is_sure() -> None:
    async with hosted(simulated(HandClock(), spec=spec_of("solaredge"))) as host:
        generic_first = families("sunspec", "solaredge")
        report = await probed(host.port, generic_first)
        alone = await probed(host.port, families("sunspec"))
    assert report.search.match is not None
    assert report.search.match.profile.name == "solaredge"
    assert alone.search.match is not None
    assert not alone.search.match.certain


async def test_a_stranger_is_refused_with_what_it_says_of_itself() -> None:
    async with hosted(simulated(HandClock(), spec=spec_of("sungrow_sh"))) as host:
        report = await probed(host.port, families("huawei_sun2000"), unit_ids=(host.unit_id,))
    assert report.search.match is None
    refusal, name = report.search.attempts
    assert "illegal address" in refusal.result
    assert "calls itself 'Sungrow SH10RT" in name.result


async def test_nothing_there_is_reported_and_no_error() -> None:
    async with hosted(simulated(HandClock())) as host:
        port = host.port
    report = await probed(port, families("huawei_sun2000"))
    assert report.search.match is None
    (attempt,) = report.search.attempts
    assert (attempt.port, attempt.unit_id) == (port, None)
    assert "refuses connections" in attempt.result


async def test_a_silent_device_ends_the_probe_within_its_deadlines() -> None:
    async with hosted(simulated(HandClock())) as host:
        await host.set_fault(Fault.HANG)
        async with asyncio.timeout(20):
            report = await probed(host.port, families("huawei_sun2000"), unit_ids=(0, 1))
    assert report.search.match is None
    assert [attempt.unit_id for attempt in report.search.attempts] == [0, 1]


async def test_a_busy_device_is_said_to_be_busy() -> None:
    async with hosted(simulated(HandClock())) as host:
        await host.set_fault(Fault.BUSY)
        profile = fast_profile()
        report = await probed(host.port, [profile], unit_ids=(1,))
    assert report.search.match is None
    assert "busy" in report.search.attempts[0].result


@contextlib.asynccontextmanager
async def _holey(host: HostedInverter, hole: range) -> AsyncIterator[int]:
    """The device without some registers: a read that touches one is refused as a whole."""

    class Holes:
        async def answer(self, unit_id: int, pdu: bytes, client: ClientId) -> bytes | None:
            match parse_request(pdu):
                case ReadRequest(_, address, count) as request:
                    if range(max(address, hole.start), min(address + count, hole.stop)):
                        return exception_answer(request.function, 2)
                    words = host.inverter.read(address, count)
                    assert not isinstance(words, int)
                    assert words is not None
                    return read_answer(request.function, words)
                case _:
                    return exception_answer(pdu[0], 1)

    async with serving(ModbusServer(Holes())) as server:
        yield server.port


async def test_registers_that_a_firmware_lacks_cost_only_their_own_points() -> None:
    inverter = simulated(HandClock())
    async with hosted(inverter) as host, _holey(host, range(37021, 37023)) as port:
        device = (await probed(port, families("huawei_sun2000"))).device
    assert device is not None
    assert set(device.survey.lacking) == {"unit1_bus_current", "unit1_temperature"}
    assert all("illegal address" in reason for reason in device.survey.lacking.values())
    assert device.survey.reading.number("unit1_bus_voltage") is not None


async def test_guarded_registers_are_left_alone_while_the_meter_is_offline() -> None:
    async with hosted(simulated(HandClock())) as host:
        await host.set_fault(Fault.METER_OFFLINE)
        device = (await probed(host.port, families("huawei_sun2000"))).device
    assert device is not None
    assert "meter_active_power" in device.survey.barred
    assert device.survey.lacking == {}


async def test_a_device_that_dies_during_the_survey_is_read_as_far_as_it_went() -> None:
    profile = fast_profile(deadline_s=DEADLINE_S)
    async with hosted(simulated(HandClock())) as host:
        link = ModbusConnection(LOOPBACK, host.port, {MAIN: 1}, profile.connection)
        await link.connect()
        try:
            found, _ = await discover(link, profile)
            await host.set_fault(Fault.HANG)
            survey = await read_everything(link, found)
        finally:
            link.close()
    reasons = set(survey.lacking.values())
    assert any("gave no answer" in reason for reason in reasons)
    assert any("had stopped answering" in reason for reason in reasons)
    assert survey.requests == 3


def test_the_answer_to_who_are_you_is_read_as_far_as_it_makes_sense() -> None:
    objects = b"".join(bytes((i, len(text))) + text for i, text in IDENTITY.items())
    answer = b"\x2b\x0e\x01\x81\x00\x00\x03" + objects
    assert who_of(answer) == "Maker Product V1"
    assert who_of(b"\xab\x01") == ""
    for cut in range(len(answer)):
        assert "Maker Product V1".startswith(who_of(answer[:cut]))
