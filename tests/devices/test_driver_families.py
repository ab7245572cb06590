"""The driver commands every family's simulated twin over real Modbus TCP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from bessai.config import load_profile, profile_path
from bessai.devices import ModbusInverter
from bessai.model import Telemetry
from bessai.model.outcome import Applied, Rejected
from bessai.sim.server import HostedInverter
from bessai.sim.spec import InverterSpec
from tests.support.simulated import HandClock, client_of, hosted, simulated

NAMES = sorted(path.stem for path in profile_path("x").parent.glob("*.yaml"))
COMMANDED = [name for name in NAMES if load_profile(name).controllable]
SETTLED_S = 31.0
"""Beyond the least time between two writes of a register that may wear out."""


def spec_of(name: str) -> InverterSpec:
    return InverterSpec(
        site_id="north",
        profile=name,
        capacity_kwh=10.0,
        max_charge_kw=3.0,
        max_discharge_kw=3.0,
        soc_pct=50.0,
    )


@dataclass(frozen=True, slots=True)
class Rig:
    """A family's twin, its driver, and the time."""

    host: HostedInverter
    driver: ModbusInverter
    clock: HandClock

    async def after(self, seconds: float) -> Telemetry:
        self.clock.at_s += seconds
        return await self.driver.read_telemetry()


@pytest.fixture(params=NAMES)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    clock = HandClock()
    async with hosted(simulated(clock, spec=spec_of(request.param))) as host:
        driver = client_of(host, clock)
        await driver.connect()
        yield Rig(host, driver, clock)
        await driver.close()


controllable = pytest.mark.parametrize("rig", COMMANDED, indirect=True)


async def test_telemetry_has_every_mapped_field(rig: Rig) -> None:
    telemetry = await rig.driver.read_telemetry()
    assert telemetry.soc_pct == pytest.approx(50.0, abs=0.5)
    assert telemetry.active_power_kw == 0.0
    assert telemetry.commanded_kw is None
    if rig.driver.profile.controllable:
        for power_kw in (-2.0, 2.0):  # a SunSpec counter that stands at 0 is "not available"
            await rig.driver.apply_power(power_kw)
            telemetry = await rig.after(SETTLED_S)
    assert telemetry.missing == ()
    for key in rig.driver.profile.telemetry:
        if not key.startswith("alarms_"):
            assert getattr(telemetry, key) is not None, key
    assert telemetry.alarms == ()


@controllable
@pytest.mark.parametrize("power_kw", [-2.0, 1.5, 0.0])
async def test_a_command_is_held_followed_and_released(rig: Rig, power_kw: float) -> None:
    outcome = await rig.driver.apply_power(power_kw)
    assert isinstance(outcome, Applied), outcome
    assert outcome.power_kw == pytest.approx(power_kw, abs=0.02)
    telemetry = await rig.after(SETTLED_S)
    assert telemetry.commanded_kw == pytest.approx(power_kw, abs=0.02)
    assert telemetry.active_power_kw == pytest.approx(power_kw, abs=0.05)
    assert isinstance(await rig.driver.release(), Applied)
    telemetry = await rig.after(SETTLED_S)
    assert telemetry.commanded_kw is None
    assert telemetry.active_power_kw == 0.0


@controllable
async def test_a_command_turns_from_charge_to_discharge_and_rest(rig: Rig) -> None:
    for power_kw in (-2.0, 2.0, 0.0, -1.0):
        outcome = await rig.driver.apply_power(power_kw)
        assert isinstance(outcome, Applied), (power_kw, outcome)
        telemetry = await rig.after(SETTLED_S)
        assert telemetry.active_power_kw == pytest.approx(power_kw, abs=0.05)


@controllable
async def test_without_renewal_the_device_ends_the_command_and_with_it_never(rig: Rig) -> None:
    dead_man = rig.driver.profile.dead_man
    await rig.driver.apply_power(2.0)
    if dead_man is None:
        telemetry = await rig.after(86_400.0)
        assert telemetry.commanded_kw == pytest.approx(2.0), "nothing ends it: see the profile"
        return
    for _ in range(4):
        telemetry = await rig.after(dead_man.period_s / 2)
        assert telemetry.commanded_kw == pytest.approx(2.0, abs=0.02)
        renewed = await rig.driver.apply_power(2.0)
        assert isinstance(renewed, Applied), renewed
        assert renewed.stored_writes == 0, "a renewal wears nothing out"
    telemetry = await rig.after(dead_man.period_s + 1.0)
    assert telemetry.commanded_kw in (None, 0.0)
    assert telemetry.active_power_kw == 0.0


@controllable
async def test_a_command_that_holds_writes_no_register_that_wears_out(rig: Rig) -> None:
    await rig.driver.apply_power(1.0)
    await rig.after(SETTLED_S)
    outcome = await rig.driver.apply_power(1.0)
    assert isinstance(outcome, Applied)
    assert outcome.stored_writes == 0


@pytest.mark.parametrize("rig", ["goodwe_et"], indirect=True)
async def test_a_budget_refuses_commands_but_never_rest(rig: Rig) -> None:
    per_day = rig.driver.profile.write_budget.per_day
    refused = None
    for turn in range(per_day + 2):
        outcome = await rig.driver.apply_power(1.0 + 0.02 * turn)
        if isinstance(outcome, Rejected):
            refused = outcome
            break
        await rig.after(SETTLED_S)
    assert refused is not None
    assert "times in 24 h" in refused.error
    assert isinstance(await rig.driver.apply_power(0.0), Applied)
    assert isinstance(await rig.driver.release(), Applied)


@pytest.mark.parametrize("rig", ["goodwe_et"], indirect=True)
async def test_a_register_that_wears_out_is_not_written_twice_in_a_hurry(rig: Rig) -> None:
    assert isinstance(await rig.driver.apply_power(1.0), Applied)
    outcome = await rig.driver.apply_power(1.5)
    assert isinstance(outcome, Rejected)
    assert "again in" in outcome.error
    assert (await rig.driver.read_telemetry()).commanded_kw == pytest.approx(1.0)


@pytest.mark.parametrize("rig", [n for n in NAMES if n not in COMMANDED], indirect=True)
async def test_a_monitor_reads_and_is_never_written(rig: Rig) -> None:
    outcome = await rig.driver.apply_power(1.0)
    assert isinstance(outcome, Rejected)
    assert "monitoring only" in outcome.error
