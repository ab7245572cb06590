"""The driver doubts what it knows: old words, lost answers and registers that changed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from bessai.config import load_profile
from bessai.config.profile import MAIN, DeviceProfile, Space
from bessai.devices import ModbusInverter
from bessai.devices.pdu import ExceptionCode
from bessai.devices.poll import ASK_AGAIN_S
from bessai.devices.program import Write, power_command
from bessai.errors import DeviceTimeout, IllegalAddress, RegisterRejected
from bessai.model.outcome import Applied, PartiallyApplied, Rejected
from bessai.sim.bank import HOLDING
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.server import HostedInverter
from bessai.sim.spec import Fault, InverterSpec
from tests.support.simulated import HandClock, client_of, fast_profile, hosted

ACKNOWLEDGED = 5


class Moody(SimulatedInverter):
    """Refuses registers, takes its time over writes or changes its mind, when a test says so."""

    lacks: frozenset[int] = frozenset()
    refuses_reads: range = range(0)
    refuses_writes = 0
    write_takes_s = 0.0
    after_write: tuple[str, int] | None = None
    hand: HandClock

    def read(self, address: int, count: int, space: Space = HOLDING) -> list[int] | int | None:
        if not self.lacks.isdisjoint(range(address, address + count)):
            return int(ExceptionCode.ILLEGAL_ADDRESS)
        if address in self.refuses_reads:
            return int(ExceptionCode.DEVICE_FAILURE)
        return super().read(address, count, space)

    def write(self, address: int, words: Sequence[int], device: str = MAIN) -> int | None:
        if self.refuses_writes:
            return self.refuses_writes
        refused = super().write(address, words, device)
        self.hand.at_s += self.write_takes_s
        if self.after_write is not None:
            self.bank.put_raw(*self.after_write)
        return refused


@contextlib.asynccontextmanager
async def rig(
    name: str, profile: DeviceProfile | None = None
) -> AsyncIterator[tuple[Moody, HostedInverter, ModbusInverter, HandClock]]:
    clock = HandClock()
    spec = InverterSpec(
        site_id="north",
        profile=name,
        capacity_kwh=10.0,
        max_charge_kw=3.0,
        max_discharge_kw=3.0,
        soc_pct=50.0,
    )
    device = Moody(spec, load_profile(name), 1.0, now=clock)
    device.hand = clock
    async with hosted(device) as host:
        driver = client_of(host, clock, profile or fast_profile(name, deadline_s=0.4))
        await driver.connect()
        yield device, host, driver, clock
        await driver.close()


async def test_a_value_that_the_device_refuses_from_now_on_is_not_shown_any_more() -> None:
    async with rig("huawei_sun2000") as (device, _, driver, clock):
        assert (await driver.read_telemetry()).soc_pct == 50.0
        device.lacks = frozenset({37760})
        for _ in range(3):
            clock.at_s += 1.0
            telemetry = await driver.read_telemetry()
            assert telemetry.soc_pct is None
            assert "soc" in telemetry.missing
            assert telemetry.active_power_kw == 0.0, "its neighbours are read on"
        device.lacks = frozenset()
        clock.at_s += ASK_AGAIN_S
        assert (await driver.read_telemetry()).soc_pct == 50.0


async def test_a_value_that_stays_refused_is_asked_for_now_and_then() -> None:
    async with rig("huawei_sun2000") as (device, _, driver, clock):
        device.lacks = frozenset({37760})
        for _ in range(3):
            assert (await driver.read_telemetry()).soc_pct is None
            clock.at_s += ASK_AGAIN_S
        device.lacks = frozenset()
        assert (await driver.read_telemetry()).soc_pct == 50.0


async def test_a_refused_command_leaves_the_one_that_cannot_be_read_in_force() -> None:
    async with rig("sma") as (device, _, driver, clock):
        assert isinstance(await driver.apply_power(2.0), Applied)
        device.refuses_writes = int(ExceptionCode.DEVICE_BUSY)
        assert isinstance(await driver.apply_power(1.0), Rejected)
        assert isinstance(await driver.release(), Rejected)
        clock.at_s += 1.0
        assert (await driver.read_telemetry()).commanded_kw == 2.0


async def test_a_command_cut_off_on_its_way_makes_the_one_in_force_unknown() -> None:
    async with rig("sma", fast_profile("sma")) as (_, host, driver, clock):
        assert isinstance(await driver.apply_power(2.0), Applied)
        await host.set_fault(Fault.parse("delay:1"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await driver.apply_power(-2.0)
        await host.set_fault(Fault.NONE)
        clock.at_s += 1.0
        assert (await driver.read_telemetry()).commanded_kw is None


async def test_a_write_that_is_acknowledged_but_not_done_yet_counts_as_possibly_done() -> None:
    async with rig("sma") as (device, _, driver, _):
        device.refuses_writes = ACKNOWLEDGED
        outcome = await driver.apply_power(1.0)
        assert isinstance(outcome, PartiallyApplied)
        assert "has not done it yet" in outcome.error
        assert (await driver.read_telemetry()).commanded_kw is None


async def test_a_timer_that_counts_down_between_write_and_read_is_no_mismatch() -> None:
    async with rig("sungrow_sh") as (device, _, driver, _):
        device.write_takes_s = 1.2
        assert await driver.apply_power(2.0) == Applied(2.0, 4, 3)


@pytest.mark.parametrize(
    ("left", "held"), [(60, True), (59, True), (30, True), (29, False), (0, False), (61, False)]
)
def test_of_a_timer_at_least_half_must_be_left(left: int, held: bool) -> None:
    point = load_profile("sungrow_sh").points["external_ems_heartbeat"]
    timer = Write("timer", point, (60,), renew=True, counts_down=True)
    assert timer.is_held((left,)) is held
    assert not timer.is_held(None)


async def test_a_timer_that_runs_out_before_it_is_read_back_is_a_mismatch() -> None:
    async with rig("sungrow_sh") as (device, _, driver, _):
        device.write_takes_s = 35.0
        assert isinstance(await driver.apply_power(2.0), PartiallyApplied)


async def test_a_scale_factor_that_changes_with_the_value_is_read_with_it() -> None:
    async with rig("sunspec") as (device, _, driver, clock):
        await driver.apply_power(2.0)
        clock.at_s += 31.0
        assert (await driver.read_telemetry()).active_power_kw == pytest.approx(2.0)
        held = device.bank.number("m701.W_SF")
        device.bank.put_raw("m701.W_SF", int(held) + 1)
        device.bank.put("m701.W", 0.0)
        clock.at_s += 0.5
        assert (await driver.read_telemetry()).active_power_kw == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(
    ("family", "changed"),
    [("sunspec", ("m704.WSet_SF", -1)), ("fronius_gen24", ("m124.WChaMax", 20_000))],
)
async def test_a_command_whose_unit_changed_on_the_device_does_not_count_as_applied(
    family: str, changed: tuple[str, int]
) -> None:
    async with rig(family) as (device, _, driver, clock):
        device.after_write = changed
        outcome = await driver.apply_power(2.0)
        assert isinstance(outcome, PartiallyApplied), outcome
        assert "instead of 2 kW" in outcome.error
        device.after_write = None
        clock.at_s += 31.0
        await driver.read_telemetry()
        again = await driver.apply_power(2.0)
        assert isinstance(again, Applied)
        assert again.power_kw == pytest.approx(2.0, abs=0.02)


async def test_a_release_goes_out_even_where_nothing_can_be_read_before_it() -> None:
    async with rig("goodwe_et") as (device, _, driver, _):
        assert isinstance(await driver.apply_power(2.0), Applied)
        device.refuses_reads = range(47000, 48000)
        with pytest.raises(RegisterRejected):
            await driver.read_telemetry()
        assert isinstance(await driver.apply_power(3.0), Rejected), "power waits for the read"
        assert isinstance(await driver.release(), PartiallyApplied)
        assert not device.forced
        device.refuses_reads = range(0)
        assert await driver.release() == Applied(0.0, 0)


async def test_a_release_after_a_command_cut_off_on_its_way_is_written_whatever_was_known() -> None:
    async with rig("goodwe_et", fast_profile("goodwe_et")) as (device, host, driver, _):
        await host.set_fault(Fault.parse("delay:0.3"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.45):
                await driver.apply_power(2.0)
        assert device.forced
        await host.set_fault(Fault.NONE)
        device.refuses_reads = range(47000, 48000)
        await driver.release()
        assert not device.forced


async def test_after_a_command_cut_off_on_its_way_every_register_is_written() -> None:
    async with rig("huawei_sun2000", fast_profile()) as (_, host, driver, _):
        assert isinstance(await driver.apply_power(3.0), Applied)
        await host.set_fault(Fault.parse("delay:0.3"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await driver.apply_power(2.0)
        await host.set_fault(Fault.NONE)
        assert await driver.apply_power(3.0) == Applied(3.0, 4)


async def test_what_could_not_be_read_back_is_not_known() -> None:
    async with rig("huawei_sun2000") as (device, _, driver, _):
        assert isinstance(await driver.apply_power(2.0), Applied)
        device.refuses_reads = range(47000, 48000)
        outcome = await driver.apply_power(1.0)
        assert isinstance(outcome, PartiallyApplied)
        assert "could not be read back" in outcome.error
        assert driver.reading.commanded_kw(driver.profile.commanded) is None


async def test_a_power_below_the_step_of_the_register_is_a_hold() -> None:
    async with rig("sunspec") as (device, _, driver, _):
        device.bank.put_raw("m704.WSet_SF", 3)
        await driver.connect()
        outcome = await driver.apply_power(0.4)
        assert isinstance(outcome, Applied)
        assert outcome.power_kw == 0.0
        assert power_command(driver.profile, 0.4, driver.reading).to_rest


async def test_a_reconnect_that_fails_leaves_nothing_that_looks_fresh() -> None:
    async with rig("huawei_sun2000") as (_, host, driver, _):
        assert isinstance(await driver.apply_power(2.0), Applied)
        await host.set_fault(Fault.DEAD)
        with pytest.raises(DeviceTimeout):
            await driver.connect()
        assert isinstance(await driver.apply_power(1.0), Rejected)
        await host.set_fault(Fault.NONE)
        await driver.connect()
        assert isinstance(await driver.apply_power(2.0), Applied)


async def test_a_device_without_a_firmware_register_is_known_by_its_model() -> None:
    async with rig("goodwe_et") as (device, _, driver, _):
        point = device.profile.points["firmware_version"]
        device.lacks = frozenset({point.address})
        identity = await driver.connect()
        assert identity.model == "GW10K-ET"
        assert identity.serial_number.startswith("SIM")
        assert identity.firmware == ""
        device.lacks = frozenset({device.profile.points["model_name"].address})
        with pytest.raises(IllegalAddress):
            await driver.connect()


async def test_a_meter_whose_condition_cannot_be_read_any_more_is_not_shown() -> None:
    async with rig("huawei_sun2000") as (device, _, driver, clock):
        assert (await driver.read_telemetry()).grid_power_kw == 0.0
        device.lacks = frozenset({device.profile.points["meter_status"].address})
        for _ in range(2):
            clock.at_s += 1.0
            assert (await driver.read_telemetry()).grid_power_kw is None
