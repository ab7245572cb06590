"""Contract of the driver: every answer of a real Modbus TCP server, good and bad."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from bessai.config.profile import MAIN, Space, Table
from bessai.devices import ModbusInverter
from bessai.devices.connection import ModbusConnection
from bessai.errors import DeviceBusy, DeviceError, DeviceTimeout, RegisterRejected
from bessai.model import SiteId, Telemetry
from bessai.model.outcome import Applied, PartiallyApplied, Rejected
from bessai.ports import SiteDevice
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.server import LOOPBACK, HostedInverter
from bessai.sim.spec import Fault
from tests.support.simulated import SPEC, HandClock, client_of, fast_profile, hosted, simulated

HOLDING = Space(MAIN, Table.HOLDING)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def host(clock: HandClock) -> AsyncIterator[HostedInverter]:
    hosted = HostedInverter(simulated(clock, minute_s=1.0))
    await hosted.start()
    yield hosted
    await hosted.stop()


@pytest.fixture
async def device(host: HostedInverter, clock: HandClock) -> AsyncIterator[ModbusInverter]:
    driver = client_of(host, clock)
    await driver.connect()
    yield driver
    await driver.close()


@pytest.fixture
async def hasty(host: HostedInverter, clock: HandClock) -> AsyncIterator[ModbusInverter]:
    driver = client_of(host, clock, fast_profile(deadline_s=0.4))
    await driver.connect()
    yield driver
    await driver.close()


async def test_it_is_a_site_device_and_knows_what_answers(
    host: HostedInverter, clock: HandClock
) -> None:
    driver: SiteDevice = client_of(host, clock)
    identity = await driver.connect()
    assert identity.model == "SUN2000-10KTL-M1"
    assert identity.serial_number.startswith("SIM")
    assert identity.firmware == "V100R001C00SPC174"
    await driver.close()


async def test_reads_every_field(device: ModbusInverter, clock: HandClock) -> None:
    telemetry = await device.read_telemetry()
    assert telemetry == Telemetry(
        site_id=SiteId("north"),
        measured_at=clock(),
        soc_pct=50.0,
        capacity_kwh=10.0,
        active_power_kw=0.0,
        grid_power_kw=0.0,
        temperature_c=20.0,
        charge_limit_kw=5.0,
        discharge_limit_kw=5.0,
        exported_wh=0,
        imported_wh=0,
        battery_status="standby",
        inverter_status="on-grid",
        commanded_kw=None,
        pv_power_kw=0.0,
    )


@pytest.mark.parametrize("power_kw", [3.0, -4.35, 0.0, 5.0, -5.0])
async def test_command_is_held_and_followed(
    device: ModbusInverter, clock: HandClock, power_kw: float
) -> None:
    outcome = await device.apply_power(power_kw)
    assert isinstance(outcome, Applied)
    assert outcome.power_kw == power_kw
    telemetry = await device.read_telemetry()
    assert telemetry.commanded_kw == power_kw
    assert telemetry.active_power_kw == telemetry.grid_power_kw == power_kw


async def test_energy_counters_are_whole_watt_hours(
    device: ModbusInverter, host: HostedInverter
) -> None:
    host.inverter.exported_kwh, host.inverter.imported_kwh = 12.349, 1234.5
    telemetry = await device.read_telemetry()
    assert (telemetry.exported_wh, telemetry.imported_wh) == (12_340, 1_234_500)


async def test_only_changed_registers_and_the_command_are_written(
    device: ModbusInverter,
) -> None:
    await device.read_telemetry()
    assert await device.apply_power(3.0) == Applied(3.0, 3)
    assert await device.apply_power(3.0) == Applied(3.0, 1)
    assert await device.apply_power(2.0) == Applied(2.0, 2)
    assert await device.apply_power(-2.0) == Applied(-2.0, 2)
    assert await device.apply_power(0.0) == Applied(0.0, 2)
    assert await device.release() == Applied(0.0, 1)


async def test_after_a_failed_read_every_register_is_written(
    device: ModbusInverter, host: HostedInverter
) -> None:
    await device.read_telemetry()
    assert await device.apply_power(3.0) == Applied(3.0, 3)
    await host.set_fault(Fault.BUSY)
    with pytest.raises(DeviceBusy):
        await device.read_telemetry()
    await host.set_fault(Fault.NONE)
    assert await device.apply_power(3.0) == Applied(3.0, 4)


async def test_power_is_rounded_towards_zero(device: ModbusInverter) -> None:
    outcome = await device.apply_power(2.9999)
    assert isinstance(outcome, Applied)
    assert outcome.power_kw == 2.999
    assert (await device.read_telemetry()).commanded_kw == 2.999


async def test_release_returns_the_device_to_itself(device: ModbusInverter) -> None:
    await device.apply_power(3.0)
    assert isinstance(await device.release(), Applied)
    telemetry = await device.read_telemetry()
    assert telemetry.commanded_kw is None
    assert telemetry.active_power_kw == 0.0


async def test_dead_man_ends_a_command_and_a_renewal_keeps_it(
    device: ModbusInverter, clock: HandClock
) -> None:
    await device.apply_power(0.0)
    clock.at_s += 1.5
    await device.apply_power(0.0)
    clock.at_s += 1.5
    assert (await device.read_telemetry()).commanded_kw == 0.0
    clock.at_s += 0.6
    assert (await device.read_telemetry()).commanded_kw is None


async def test_power_above_the_devices_limit_is_narrowed_to_it(device: ModbusInverter) -> None:
    assert await device.apply_power(6.0) == Applied(5.0, 3)
    assert (await device.read_telemetry()).commanded_kw == 5.0


async def test_power_above_the_profile_never_reaches_the_device(device: ModbusInverter) -> None:
    outcome = await device.apply_power(-10.5)
    assert isinstance(outcome, Rejected)
    assert "power_kw" in outcome.error
    assert isinstance(await device.apply_power(float("nan")), Rejected)


async def test_busy_is_told_apart_and_heals(device: ModbusInverter, host: HostedInverter) -> None:
    await host.set_fault(Fault.BUSY)
    with pytest.raises(DeviceBusy, match="exception 6"):
        await device.read_telemetry()
    assert isinstance(await device.apply_power(1.0), Rejected)
    await host.set_fault(Fault.NONE)
    assert (await device.read_telemetry()).soc_pct == 50.0


async def test_dead_device_times_out_and_comes_back_on_its_port(
    device: ModbusInverter, host: HostedInverter
) -> None:
    port = host.port
    await host.set_fault(Fault.DEAD)
    with pytest.raises(DeviceTimeout):
        await device.read_telemetry()
    with pytest.raises(DeviceTimeout, match="cannot be reached"):
        await device.connect()
    assert isinstance(await device.apply_power(1.0), Rejected)
    await host.set_fault(Fault.NONE)
    assert host.port == port
    await device.connect()
    assert (await device.read_telemetry()).soc_pct == 50.0


async def test_hanging_device_costs_one_deadline_and_the_link(
    hasty: ModbusInverter, host: HostedInverter
) -> None:
    await host.set_fault(Fault.HANG)
    started = asyncio.get_running_loop().time()
    with pytest.raises(DeviceTimeout, match=r"no answer within 0\.4 s"):
        await hasty.read_telemetry()
    assert asyncio.get_running_loop().time() - started < 2.0
    with pytest.raises(DeviceTimeout, match="not connected"):
        await hasty.read_telemetry()
    await host.set_fault(Fault.NONE)
    await hasty.connect()
    assert (await hasty.read_telemetry()).soc_pct == 50.0


async def test_unanswered_write_counts_as_possibly_done(
    hasty: ModbusInverter, host: HostedInverter
) -> None:
    await host.set_fault(Fault.HANG)
    outcome = await hasty.apply_power(1.0)
    assert isinstance(outcome, PartiallyApplied)
    assert (outcome.writes, outcome.failed_point) == (1, "forced_discharge_power")
    await host.set_fault(Fault.NONE)
    await hasty.connect()
    assert (await hasty.read_telemetry()).commanded_kw is None


async def test_garbage_is_none_and_missing(
    device: ModbusInverter, host: HostedInverter, clock: HandClock
) -> None:
    await host.set_fault(Fault.GARBAGE)
    clock.at_s += fast_profile().connection.slow_s
    telemetry = await device.read_telemetry()
    assert telemetry.soc_pct is telemetry.active_power_kw is telemetry.temperature_c is None
    assert telemetry.battery_status is telemetry.inverter_status is None
    assert {"soc", "battery_power", "unit1_temperature + unit2_temperature"} <= set(
        telemetry.missing
    )


async def test_offline_meter_is_not_read(host: HostedInverter, clock: HandClock) -> None:
    await host.set_fault(Fault.METER_OFFLINE)
    device = client_of(host, clock)
    await device.connect()
    telemetry = await device.read_telemetry()
    assert telemetry.soc_pct == 50.0
    assert telemetry.grid_power_kw is telemetry.exported_wh is telemetry.imported_wh is None
    assert set(telemetry.missing) == {
        "meter_active_power",
        "meter_exported_energy",
        "meter_imported_energy",
    }


async def test_a_meter_that_goes_offline_costs_one_connection_and_no_more(
    device: ModbusInverter, host: HostedInverter, clock: HandClock
) -> None:
    assert (await device.read_telemetry()).grid_power_kw == 0.0
    await host.set_fault(Fault.METER_OFFLINE)
    with pytest.raises(DeviceTimeout, match="closed the connection"):
        await device.read_telemetry()
    await device.connect()
    for _ in range(12):
        clock.at_s += 1.0
        assert (await device.read_telemetry()).grid_power_kw is None
    await host.set_fault(Fault.NONE)
    assert (await device.read_telemetry()).grid_power_kw == 0.0


async def test_reading_an_offline_meter_would_cost_the_link(host: HostedInverter) -> None:
    await host.set_fault(Fault.METER_OFFLINE)
    link = ModbusConnection(LOOPBACK, host.port, {MAIN: 1}, fast_profile().connection)
    await link.connect()
    with pytest.raises(DeviceTimeout, match="closed the connection"):
        await link.read(HOLDING, 37113, 2)
    assert not link.connected


async def test_second_client_takes_the_connection(
    device: ModbusInverter, host: HostedInverter, clock: HandClock
) -> None:
    second = client_of(host, clock)
    await second.connect()
    with pytest.raises(DeviceTimeout):
        await device.read_telemetry()
    assert (await second.read_telemetry()).soc_pct == 50.0
    await second.close()


async def test_alarms_and_unknown_states_have_names(
    device: ModbusInverter, host: HostedInverter, clock: HandClock
) -> None:
    host.inverter.bank.put("alarm_1", 1 << 7)
    host.inverter.bank.put("device_status", 0x0777)
    clock.at_s += fast_profile().connection.slow_s
    telemetry = await device.read_telemetry()
    assert telemetry.alarms == ("2032 grid loss",)
    assert telemetry.inverter_status == "unknown(1911)"


async def test_another_device_is_refused_and_let_go(host: HostedInverter, clock: HandClock) -> None:
    host.inverter.bank.put_text("model_name", "SG10RT")
    driver = client_of(host, clock)
    with pytest.raises(DeviceError, match=r"is no SUN2000 or .*; got 'SG10RT'"):
        await driver.connect()
    with pytest.raises(DeviceTimeout, match="not connected"):
        await driver.read_telemetry()


class Clamping(SimulatedInverter):
    """Takes any discharge power but keeps 1 kW at most, and ends forced mode at once."""

    keep_command = True

    def write(self, address: int, words: Sequence[int], device: str = MAIN) -> int | None:
        if address == 47249:
            words = [0, min(words[1], 1000)]
        if address == 47100 and not self.keep_command:
            words = [0]
        return super().write(address, words, device)


@pytest.fixture
async def clamping(clock: HandClock) -> AsyncIterator[HostedInverter]:
    hosted = HostedInverter(Clamping(SPEC, fast_profile(), 1.0, now=clock))
    await hosted.start()
    yield hosted
    await hosted.stop()


async def test_a_value_that_reads_back_otherwise_is_not_applied(
    clamping: HostedInverter, clock: HandClock
) -> None:
    driver = client_of(clamping, clock)
    await driver.connect()
    outcome = await driver.apply_power(3.0)
    assert isinstance(outcome, PartiallyApplied)
    assert outcome.failed_point == "forced_discharge_power"
    assert "reads back 1000 instead of 3000" in outcome.error
    # What was read back is what the device holds: the next command writes the register again.
    assert await driver.apply_power(0.5) == Applied(0.5, 2)
    Clamping.keep_command = False
    outcome = await driver.apply_power(0.5)
    assert isinstance(outcome, PartiallyApplied)
    assert outcome.failed_point == "forced_command"
    Clamping.keep_command = True
    await driver.close()


async def test_foreign_write_is_seen_and_undone(clock: HandClock) -> None:
    async with hosted(simulated(clock)) as host:
        device = client_of(host, clock)
        await device.connect()
        await _foreign_write(device, host, clock)
        await device.close()


async def _foreign_write(device: ModbusInverter, host: HostedInverter, clock: HandClock) -> None:
    await device.apply_power(2.0)
    assert host.inverter.write(47249, [0, 4000]) is None
    clock.at_s += fast_profile().connection.slow_s
    assert (await device.read_telemetry()).commanded_kw == 4.0
    assert await device.apply_power(2.0) == Applied(2.0, 2)
    assert host.inverter.write(47100, [1]) is None
    assert (await device.read_telemetry()).commanded_kw == 0.0, "the mode is seen at once"


async def test_exceptions_of_a_hole_are_rejections(host: HostedInverter) -> None:
    link = ModbusConnection(LOOPBACK, host.port, {MAIN: 1}, fast_profile().connection)
    await link.connect()
    with pytest.raises(RegisterRejected, match=r"exception 2 \(illegal address\)"):
        await link.read(HOLDING, 33000, 2)
    assert link.connected
    link.close()


async def test_the_link_is_as_slow_as_the_device_likes_it(host: HostedInverter) -> None:
    pauses = {"wait_after_connect_s": 0.15, "request_gap_s": 0.1}
    link = ModbusConnection(
        LOOPBACK, host.port, {MAIN: 1}, fast_profile().connection.model_copy(update=pauses)
    )
    loop = asyncio.get_running_loop()
    began = loop.time()
    await link.connect()
    connected = loop.time()
    for _ in range(3):
        await link.read(HOLDING, 30000, 1)
    link.close()
    assert connected - began >= 0.15
    assert loop.time() - connected >= 0.2


async def test_requests_of_one_link_never_overlap(
    device: ModbusInverter, host: HostedInverter
) -> None:
    reads = [device.read_telemetry() for _ in range(4)]
    assert {t.soc_pct for t in await asyncio.gather(*reads)} == {50.0}


async def test_cancelled_read_leaves_a_usable_link(
    device: ModbusInverter, host: HostedInverter
) -> None:
    await host.set_fault(Fault.HANG)
    task = asyncio.create_task(device.read_telemetry())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await host.set_fault(Fault.NONE)
    await device.connect()
    assert (await device.read_telemetry()).soc_pct == 50.0


async def test_close_twice_is_harmless(device: ModbusInverter) -> None:
    await device.close()
    await device.close()
    with pytest.raises(DeviceTimeout):
        await device.read_telemetry()


async def test_a_host_name_that_cannot_be_is_a_device_error(clock: HandClock) -> None:
    driver = ModbusInverter(SiteId("north"), "..", 502, 1, fast_profile(), now=clock)
    with pytest.raises(DeviceError, match="host"):
        await driver.connect()
