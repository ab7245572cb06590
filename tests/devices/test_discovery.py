"""Units behind a connection: found, refused, silent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bessai.config import load_profile
from bessai.config.profile import Space
from bessai.devices import ModbusInverter
from bessai.devices.mbap import ClientId, ModbusServer
from bessai.devices.pdu import ExceptionCode, exception_answer
from bessai.errors import DeviceMoved, DeviceTimeout
from bessai.model import SiteId
from bessai.model.outcome import Applied, Rejected
from bessai.sim.bank import HOLDING
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.spec import InverterSpec
from bessai.sim.wire import Wire
from tests.support.simulated import HandClock, client_of, fast_profile, hosted, simulated

METER_UNIT = 200


class MeterUnit:
    """A simulated Fronius whose meter unit is ``there``, ``refused`` or ``silent``."""

    def __init__(self, inverter: SimulatedInverter, meter: str) -> None:
        self.meter = meter
        self._device = Wire(inverter, lambda: None)

    async def answer(self, unit_id: int, pdu: bytes, client: ClientId) -> bytes | None:
        if unit_id == METER_UNIT and self.meter == "silent":
            return None
        if unit_id == METER_UNIT and self.meter == "refused":
            return exception_answer(pdu[0], ExceptionCode.GATEWAY_NO_ANSWER)
        return await self._device.answer(unit_id, pdu, client)


def spec_of(profile: str) -> InverterSpec:
    return InverterSpec(
        site_id="north",
        profile=profile,
        capacity_kwh=10.0,
        max_charge_kw=3.0,
        max_discharge_kw=3.0,
    )


@pytest.fixture(params=["there", "refused", "silent"])
async def device(request: pytest.FixtureRequest) -> AsyncIterator[tuple[MeterUnit, int]]:
    handler = MeterUnit(simulated(HandClock(), spec=spec_of("fronius_gen24")), request.param)
    server = ModbusServer(handler)
    yield handler, await server.start()
    await server.stop()


async def test_a_unit_that_is_not_there_costs_its_points_only(
    device: tuple[MeterUnit, int],
) -> None:
    handler, port = device
    profile = fast_profile("fronius_gen24", deadline_s=0.3)
    driver = ModbusInverter(SiteId("north"), "127.0.0.1", port, 1, profile, now=HandClock())
    await driver.connect()
    telemetry = await driver.read_telemetry()
    assert telemetry.soc_pct is not None
    there = handler.meter == "there"
    assert (telemetry.grid_power_kw is not None) is there
    assert ("grid_power_kw" in driver.profile.telemetry) is there
    await driver.close()


class Rebuilt(SimulatedInverter):
    """A device whose chain of models is another one from some moment on."""

    moved = False

    def read(self, address: int, count: int, space: Space = HOLDING) -> list[int] | int | None:
        words = super().read(address, count, space)
        if self.moved and isinstance(words, list):
            return [705 if word == 704 else word for word in words]
        return words


async def test_a_sunspec_map_that_is_rebuilt_is_never_written_to_by_its_old_addresses() -> None:
    clock = HandClock()
    device = Rebuilt(spec_of("sunspec"), load_profile("sunspec"), 1.0, now=clock)
    async with hosted(device) as host:
        driver = client_of(host, clock)
        await driver.connect()
        assert isinstance(await driver.apply_power(1.0), Applied)
        device.moved = True
        clock.at_s += fast_profile("sunspec").connection.slow_s
        with pytest.raises(DeviceMoved, match="another SunSpec map"):
            await driver.read_telemetry()
        assert isinstance(await driver.apply_power(2.0), Rejected)
        device.moved = False
        await driver.connect()
        assert (await driver.read_telemetry()).commanded_kw == pytest.approx(1.0)
        await driver.close()


async def test_silence_under_a_wrong_unit_id_says_what_to_check() -> None:
    async with hosted(simulated(HandClock())) as host:
        profile = fast_profile(deadline_s=0.3)
        driver = ModbusInverter(
            SiteId("north"), "127.0.0.1", host.port, 77, profile, now=HandClock()
        )
        with pytest.raises(DeviceTimeout, match=r"no answer within 0\.3 s; check the unit id"):
            await driver.connect()
