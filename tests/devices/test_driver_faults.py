"""What the driver does about each fault that the simulator can make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bessai.config import load_profile
from bessai.config.profile import Space
from bessai.devices import ModbusInverter
from bessai.devices.pdu import ExceptionCode
from bessai.errors import DeviceBusy, DeviceError, DeviceTimeout
from bessai.model.outcome import Applied, PartiallyApplied, Rejected
from bessai.sim.bank import HOLDING
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.server import HostedInverter
from bessai.sim.spec import Fault
from tests.support.simulated import SPEC, HandClock, client_of, fast_profile, hosted, simulated

SLOW_S = fast_profile().connection.slow_s


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def host(clock: HandClock) -> AsyncIterator[HostedInverter]:
    async with hosted(simulated(clock)) as device:
        yield device


@pytest.fixture
async def driver(host: HostedInverter, clock: HandClock) -> AsyncIterator[ModbusInverter]:
    profile = fast_profile(deadline_s=0.4)
    quick = profile.connection.model_copy(update={"busy_wait_s": 0.01})
    device = client_of(host, clock, profile.model_copy(update={"connection": quick}))
    await device.connect()
    yield device
    await device.close()


async def heals(driver: ModbusInverter, host: HostedInverter) -> None:
    """After the fault a new connection serves as before."""
    await host.set_fault(Fault.NONE)
    await driver.connect()
    assert (await driver.read_telemetry()).soc_pct is not None
    assert isinstance(await driver.apply_power(1.0), Applied)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("dead", DeviceTimeout),
        ("hang", DeviceTimeout),
        ("half_open", DeviceTimeout),
        ("drop", DeviceTimeout),
        ("delay:0.8", DeviceTimeout),
        ("wrong_transaction_id", DeviceTimeout),
        ("busy", DeviceBusy),
        ("reboot:0.2", DeviceTimeout),
    ],
)
async def test_a_read_that_fails_says_why_and_heals(
    driver: ModbusInverter, host: HostedInverter, fault: str, error: type[DeviceError]
) -> None:
    await host.set_fault(Fault.parse(fault))
    with pytest.raises(error):
        await driver.read_telemetry()
    await heals(driver, host)


@pytest.mark.parametrize("fault", ["stale_frame", "delay:0.1", "busy_storm:0.3"])
async def test_what_a_driver_can_bear_costs_no_reading(
    driver: ModbusInverter, host: HostedInverter, clock: HandClock, fault: str
) -> None:
    await host.set_fault(Fault.parse(fault))
    for _ in range(5):
        clock.at_s += 1.0
        assert (await driver.read_telemetry()).soc_pct == 50.0


async def test_a_stale_answer_is_never_taken_for_the_right_one(
    driver: ModbusInverter, host: HostedInverter, clock: HandClock
) -> None:
    await host.set_fault(Fault.parse("stale_frame"))
    assert await driver.apply_power(2.0) == Applied(2.0, 3)
    for _ in range(8):
        clock.at_s += 1.0
        telemetry = await driver.read_telemetry()
        assert (telemetry.commanded_kw, telemetry.active_power_kw) == (2.0, 2.0)


async def test_half_open_costs_one_deadline_and_a_new_connection(
    driver: ModbusInverter, host: HostedInverter
) -> None:
    await host.set_fault(Fault.parse("half_open"))
    with pytest.raises(DeviceTimeout, match="no answer within"):
        await driver.read_telemetry()
    await driver.connect()
    assert (await driver.read_telemetry()).soc_pct == 50.0, "new connections work all along"


async def test_a_refused_write_changes_nothing(
    driver: ModbusInverter, host: HostedInverter
) -> None:
    await host.set_fault(Fault.parse("write_failure"))
    outcome = await driver.apply_power(2.0)
    assert isinstance(outcome, Rejected)
    assert "exception 4 (device failure)" in outcome.error
    assert (await driver.read_telemetry()).commanded_kw is None


async def test_a_write_that_is_swallowed_is_found_by_reading_back(
    driver: ModbusInverter, host: HostedInverter
) -> None:
    await host.set_fault(Fault.parse("write_ignored"))
    outcome = await driver.apply_power(2.0)
    assert isinstance(outcome, PartiallyApplied)
    assert "reads back 0 instead of 2000" in outcome.error
    await host.set_fault(Fault.NONE)
    assert await driver.apply_power(2.0) == Applied(2.0, 3)


async def test_a_busy_write_is_not_sent_twice(driver: ModbusInverter, host: HostedInverter) -> None:
    await host.set_fault(Fault.BUSY)
    outcome = await driver.apply_power(2.0)
    assert isinstance(outcome, Rejected)
    assert "busy" in outcome.error


async def test_a_battery_that_does_not_follow_is_visible(
    driver: ModbusInverter, host: HostedInverter, clock: HandClock
) -> None:
    await host.set_fault(Fault.parse("no_effect"))
    assert isinstance(await driver.apply_power(2.0), Applied)
    clock.at_s += 10.0
    telemetry = await driver.read_telemetry()
    assert (telemetry.commanded_kw, telemetry.active_power_kw) == (2.0, 0.0)


async def test_a_reboot_ends_the_command_and_the_driver_sees_it(
    driver: ModbusInverter, host: HostedInverter
) -> None:
    assert isinstance(await driver.apply_power(2.0), Applied)
    await host.set_fault(Fault.parse("reboot:0.1"))
    with pytest.raises(DeviceTimeout):
        await driver.read_telemetry()
    async with asyncio.timeout(5.0):
        while True:
            try:
                await driver.connect()
                break
            except DeviceTimeout:
                await asyncio.sleep(0.05)
    assert (await driver.read_telemetry()).commanded_kw is None


async def test_an_alarm_reaches_telemetry_by_its_name(
    driver: ModbusInverter, host: HostedInverter, clock: HandClock
) -> None:
    await host.set_fault(Fault.parse("alarm:alarm_2:3"))
    clock.at_s += SLOW_S
    assert (await driver.read_telemetry()).alarms == ("2063 overtemperature",)


class OldFirmware(SimulatedInverter):
    """Answers exception 2 for a block that touches a register it does not have."""

    lacks = frozenset({37048, 47246})
    requests = 0

    def read(self, address: int, count: int, space: Space = HOLDING) -> list[int] | int | None:
        type(self).requests += 1
        if self.lacks & set(range(address, address + count)):
            return int(ExceptionCode.ILLEGAL_ADDRESS)
        return super().read(address, count, space)


async def test_registers_that_a_firmware_lacks_cost_nothing_else(clock: HandClock) -> None:
    old = OldFirmware(SPEC, load_profile("huawei_sun2000"), 1.0, now=clock)
    async with hosted(old) as host:
        driver = client_of(host, clock)
        await driver.connect()
        telemetry = await driver.read_telemetry()
        assert telemetry.missing == ("max_discharge_power_now",)
        assert telemetry.charge_limit_kw == 5.0, "its neighbour in the same block is read"
        OldFirmware.requests = 0
        for _ in range(10):
            clock.at_s += 1.0
            await driver.read_telemetry()
        assert OldFirmware.requests <= 60, "what was learned is remembered"
        outcome = await driver.apply_power(1.0)
        assert isinstance(outcome, PartiallyApplied), "a command register cannot be read back"
        await driver.close()
