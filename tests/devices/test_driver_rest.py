"""A command that may not be written never leaves more power in force than was asked for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from bessai.config import load_profile
from bessai.config.profile import MAIN
from bessai.devices import ModbusInverter
from bessai.model.outcome import Applied, PartiallyApplied, Rejected
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.spec import InverterSpec
from tests.support.simulated import HandClock, client_of, hosted

SETTLED_S = 31.0
"""Beyond the least time between two writes of a register that may wear out."""
SPARING = ("goodwe_et", "sungrow_sh", "sunspec")
"""Families whose power is in a register that may wear out."""


class Watched(SimulatedInverter):
    """Notes the command in force after every write, and fails when told."""

    seen: list[float | None]
    fails_after: int | None = None

    def write(self, address: int, words: Sequence[int], device: str = MAIN) -> int | None:
        if self.fails_after is not None and len(self.seen) >= self.fails_after:
            return 4
        refused = super().write(address, words, device)
        self.seen.append(self.commanded_kw)
        return refused


@contextlib.asynccontextmanager
async def rig(name: str) -> AsyncIterator[tuple[Watched, ModbusInverter, HandClock]]:
    clock = HandClock()
    spec = InverterSpec(
        site_id="north",
        profile=name,
        capacity_kwh=10.0,
        max_charge_kw=3.0,
        max_discharge_kw=3.0,
        soc_pct=50.0,
    )
    device = Watched(spec, load_profile(name), 1.0, now=clock)
    device.seen = []
    async with hosted(device) as host:
        driver = client_of(host, clock)
        await driver.connect()
        yield device, driver, clock
        await driver.close()


@pytest.mark.parametrize("name", SPARING)
@pytest.mark.parametrize(("held_kw", "wanted_kw"), [(3.0, 1.0), (-3.0, -1.0), (3.0, -1.0)])
async def test_less_power_too_soon_becomes_rest_until_it_may_be_written(
    name: str, held_kw: float, wanted_kw: float
) -> None:
    async with rig(name) as (device, driver, clock):
        assert isinstance(await driver.apply_power(held_kw), Applied)
        clock.at_s += 5.0
        await driver.read_telemetry()
        outcome = await driver.apply_power(wanted_kw)
        assert isinstance(outcome, PartiallyApplied), outcome
        assert "again in 25 s; the battery rests until then" in outcome.error
        assert device.commanded_kw == 0.0
        clock.at_s += 1.0
        await driver.read_telemetry()
        assert isinstance(await driver.apply_power(wanted_kw), Rejected), "rest is no more than it"
        clock.at_s += SETTLED_S
        await driver.read_telemetry()
        assert isinstance(await driver.apply_power(wanted_kw), Applied)
        assert device.commanded_kw == pytest.approx(wanted_kw, abs=0.01)


@pytest.mark.parametrize("name", SPARING)
async def test_more_power_too_soon_is_refused_and_changes_nothing(name: str) -> None:
    async with rig(name) as (device, driver, clock):
        assert isinstance(await driver.apply_power(1.0), Applied)
        clock.at_s += 5.0
        await driver.read_telemetry()
        before = len(device.seen)
        assert isinstance(await driver.apply_power(3.0), Rejected)
        assert len(device.seen) == before
        assert device.commanded_kw == pytest.approx(1.0)


async def test_with_the_days_budget_spent_less_power_still_becomes_rest() -> None:
    async with rig("goodwe_et") as (device, driver, clock):
        for turn in range(driver.profile.write_budget.per_day):
            assert isinstance(await driver.apply_power(2.0 + 0.1 * (turn % 2)), Applied)
            clock.at_s += SETTLED_S
            await driver.read_telemetry()
        outcome = await driver.apply_power(1.0)
        assert isinstance(outcome, PartiallyApplied)
        assert "times in 24 h" in outcome.error
        assert device.commanded_kw == 0.0


@pytest.mark.parametrize("name", ["goodwe_et", "sungrow_sh", "huawei_sun2000", "solaredge"])
@pytest.mark.parametrize(("held_kw", "wanted_kw"), [(-0.5, 2.0), (2.0, -0.5), (0.5, -2.0)])
async def test_no_write_of_a_command_passes_through_a_power_that_nobody_wanted(
    name: str, held_kw: float, wanted_kw: float
) -> None:
    async with rig(name) as (device, driver, clock):
        assert isinstance(await driver.apply_power(held_kw), Applied)
        clock.at_s += SETTLED_S
        await driver.read_telemetry()
        device.seen.clear()
        assert isinstance(await driver.apply_power(wanted_kw), Applied)
        low, high = min(held_kw, wanted_kw), max(held_kw, wanted_kw)
        assert all(power is not None and low <= power <= high for power in device.seen)
        assert device.seen[-1] == wanted_kw


@pytest.mark.parametrize("writes", [1, 2])
async def test_a_turn_of_direction_that_breaks_off_leaves_no_larger_power(writes: int) -> None:
    async with rig("goodwe_et") as (device, driver, clock):
        assert isinstance(await driver.apply_power(-0.5), Applied)
        clock.at_s += SETTLED_S
        await driver.read_telemetry()
        device.fails_after = len(device.seen) + writes
        assert isinstance(await driver.apply_power(3.0), PartiallyApplied)
        assert device.commanded_kw == 0.0


async def test_a_rest_that_fails_is_not_told_as_one() -> None:
    async with rig("goodwe_et") as (device, driver, clock):
        assert isinstance(await driver.apply_power(3.0), Applied)
        clock.at_s += 5.0
        await driver.read_telemetry()
        device.fails_after = 0
        outcome = await driver.apply_power(1.0)
        assert isinstance(outcome, Rejected)
        assert "exception 4" in outcome.error
        assert device.commanded_kw == pytest.approx(3.0, abs=0.2)
