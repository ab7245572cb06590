"""Units behind a connection: found, refused, silent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bessai.devices import ModbusInverter
from bessai.devices.mbap import ClientId, ModbusServer
from bessai.devices.pdu import ExceptionCode, exception_answer
from bessai.model import SiteId
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.spec import InverterSpec
from bessai.sim.wire import Wire
from tests.support.simulated import HandClock, fast_profile, simulated

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


@pytest.fixture(params=["there", "refused", "silent"])
async def device(request: pytest.FixtureRequest) -> AsyncIterator[tuple[MeterUnit, int]]:
    spec = InverterSpec(
        site_id="north",
        profile="fronius_gen24",
        capacity_kwh=10.0,
        max_charge_kw=3.0,
        max_discharge_kw=3.0,
    )
    handler = MeterUnit(simulated(HandClock(), spec=spec), request.param)
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
