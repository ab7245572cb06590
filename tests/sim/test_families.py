"""Every family of ``registry/devices`` as a simulated device behind real Modbus TCP."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from bessai.config import DeviceProfile, load_profile
from bessai.config.load import registry_root
from bessai.config.profile import NUMBER_UNITS, Persistence, Product, Space
from bessai.devices.codec import encode_raw, raw_value
from bessai.devices.program import Command, power_command, release_command
from bessai.devices.reading import Reading
from bessai.sim.bank import ILLEGAL_ADDRESS
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.spec import InverterSpec
from tests.support.simulated import HandClock, RawRegisters, hosted, registers_of

FAMILIES = sorted(path.stem for path in Path(registry_root() / "devices").glob("*.yaml"))
CONTROLLABLE = [name for name in FAMILIES if load_profile(name).controllable]
WITH_DEAD_MAN = [name for name in CONTROLLABLE if load_profile(name).dead_man is not None]
PLAUSIBLE = {
    "soc_pct": (50.0, 0.5),
    "soh_pct": (100.0, 0.1),
    "capacity_kwh": (10.0, 0.01),
    "active_power_kw": (-1.0, 0.02),
    "grid_power_kw": (0.0, 0.02),
    "pv_power_kw": (2.0, 0.02),
    "temperature_c": (20.0, 0.1),
    "charge_limit_kw": (5.0, 0.4),  # whole amperes at 360 V
    "discharge_limit_kw": (5.0, 0.4),
    "exported_wh": (12_300.0, 100.0),
    "imported_wh": (4_500.0, 100.0),
}


def spec_of(name: str, **more: object) -> InverterSpec:
    size = {"capacity_kwh": 10.0, "max_charge_kw": 5.0, "max_discharge_kw": 5.0}
    return InverterSpec.model_validate({"site_id": "north", "profile": name, **size, **more})


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@contextlib.asynccontextmanager
async def device(name: str, clock: HandClock, **site: float) -> AsyncIterator[RawRegisters]:
    """A device of a family, and a connection to it."""
    inverter = SimulatedInverter(spec_of(name, **site), load_profile(name), 1.0, now=clock)
    async with hosted(inverter) as host:
        link = await registers_of(host)
        yield link
        await link.raw.close()


@pytest.fixture
async def registers(name: str, clock: HandClock) -> AsyncIterator[RawRegisters]:
    """At a site with 2 kW of sun and 1 kW of load."""
    async with device(name, clock, pv_kw=2.0, load_kw=1.0) as link:
        yield link


@pytest.fixture
async def alone(name: str, clock: HandClock) -> AsyncIterator[RawRegisters]:
    """At a site with nothing but the battery."""
    async with device(name, clock) as link:
        yield link


async def obey(registers: RawRegisters, command: Command) -> None:
    for write in command.writes:
        code = await registers.write(
            write.point.address, write.registers, device=write.point.device
        )
        assert code is None, f"{write.name} answered exception {code}"
        if write.point.readable:
            assert await registers.words(write.point) == write.registers


async def power_kw(registers: RawRegisters) -> float:
    """Battery power as the family's telemetry has it."""
    value = (await registers.reading()).value(profile_of(registers).telemetry[POWER], "kW")
    assert value is not None
    return value


POWER = "active_power_kw"


def profile_of(registers: RawRegisters) -> DeviceProfile:
    return registers.host.inverter.profile


def side(reading: Reading, products: Sequence[Product]) -> float | None:
    """One side of a plausibility check, or None where a point is not available."""
    total = 0.0
    for product in products:
        values = [reading.number(name) for name in product.points]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        total += product.factor * math.prod(known)
    return total


@pytest.mark.parametrize("name", FAMILIES)
async def test_it_is_identified(name: str, registers: RawRegisters) -> None:
    profile, reading = profile_of(registers), await registers.reading()
    known = profile.identification
    model = " ".join(reading.text(point) or "" for point in known.model)
    assert model.strip()
    assert not known.expect or model.startswith(known.expect)
    assert all(reading.text(point) for point in known.points)
    answer = await registers.raw.ask(b"\x2b\x0e\x01\x00", unit_id=registers.host.unit_id)
    assert answer[:3] == b"\x2b\x0e\x01"
    assert profile.title.split()[0].encode() in answer
    assert model.encode() in answer


@pytest.mark.parametrize("name", FAMILIES)
async def test_every_telemetry_field_reads_what_the_site_does(
    name: str, registers: RawRegisters
) -> None:
    device = registers.host.inverter
    device.exported_kwh, device.imported_kwh = 12.3, 4.5
    reading = await registers.reading()
    for key, wanted in device.profile.telemetry.items():
        if key in NUMBER_UNITS:
            expected, tolerance = PLAUSIBLE[key]
            value = reading.value(wanted, NUMBER_UNITS[key])
            assert value == pytest.approx(expected, abs=tolerance), key
        elif key.startswith("alarms_"):
            assert [reading.bits(point) for point in wanted.any_of] == [()] * len(wanted.any_of)
        else:
            states = [reading.enum(point) for point in wanted.any_of]
            assert any(states), key
            assert not any("unknown" in str(state) for state in states), states


@pytest.mark.parametrize("name", FAMILIES)
async def test_its_own_laws_of_physics_hold(name: str, registers: RawRegisters) -> None:
    reading = await registers.reading()
    for check in profile_of(registers).checks:
        left, right = side(reading, check.left), side(reading, check.right)
        if left is None or right is None:
            continue
        if check.magnitude:
            left, right = abs(left), abs(right)
        allowed = check.tolerance + check.tolerance_pct / 100 * max(abs(left), abs(right))
        assert abs(left - right) <= allowed, check.name


@pytest.mark.parametrize("name", FAMILIES)
async def test_no_state_is_one_that_the_profile_does_not_name(
    name: str, registers: RawRegisters
) -> None:
    points, reading = profile_of(registers).points, await registers.reading()
    unknown = {n: reading.enum(n) for n, p in points.items() if p.readable and p.enum}
    assert {n: state for n, state in unknown.items() if "unknown" in str(state)} == {}


@pytest.mark.parametrize("name", FAMILIES)
async def test_holes_answer_exception_2(name: str, registers: RawRegisters) -> None:
    device = registers.host.inverter
    for space, spans in device.bank.spans.items():
        for first, end in spans:
            if first > 0 and not inside(device, space, first - 1):
                assert await registers.read(space, first - 1, 2) == ILLEGAL_ADDRESS
            if end < 65536 and not inside(device, space, end):
                assert await registers.read(space, end - 1, 2) == ILLEGAL_ADDRESS
                assert await registers.read(space, end, 1) == ILLEGAL_ADDRESS


def inside(device: SimulatedInverter, space: Space, address: int) -> bool:
    guarded = any(guard.touches(space, address, 1) for guard in device.profile.guards)
    return guarded or device.bank.read(space, address, 1) is not None


@pytest.mark.parametrize("name", FAMILIES)
async def test_measured_values_cannot_be_written(name: str, registers: RawRegisters) -> None:
    points = profile_of(registers).points.values()
    writable = {
        (p.device, a)
        for p in points
        if p.persistence is not Persistence.READ_ONLY
        for a in range(p.address, p.end)
    }
    for point in points:
        if point.table != "holding" or (point.device, point.address) in writable:
            continue
        code = await registers.write(point.address, (0,) * point.count, device=point.device)
        assert code == ILLEGAL_ADDRESS


@pytest.mark.parametrize("name", CONTROLLABLE)
@pytest.mark.parametrize("wanted_kw", [2.0, -2.0, 0.0])
async def test_the_battery_follows_a_command_until_it_is_released(
    name: str, wanted_kw: float, alone: RawRegisters, clock: HandClock
) -> None:
    inverter = alone.host.inverter
    command = power_command(inverter.profile, wanted_kw, await alone.reading())
    before_kwh = inverter.state.energy_kwh
    await obey(alone, command)
    assert inverter.commanded_kw == pytest.approx(wanted_kw)
    if inverter.profile.command_readable:
        told_kw = (await alone.reading()).commanded_kw(inverter.profile.commanded)
        assert told_kw == pytest.approx(wanted_kw)
    assert await power_kw(alone) == pytest.approx(wanted_kw, abs=0.01)
    clock.at_s += 20.0
    inverter.advance()
    moved_kwh = inverter.state.energy_kwh - before_kwh
    assert moved_kwh * wanted_kw < 0 or moved_kwh == wanted_kw == 0
    await obey(alone, release_command(inverter.profile, await alone.reading()))
    assert await power_kw(alone) == 0.0


@pytest.mark.parametrize("name", WITH_DEAD_MAN)
@pytest.mark.parametrize("wanted_kw", [2.0, -2.0])
async def test_the_dead_man_ends_a_command_that_nobody_renews(
    name: str, wanted_kw: float, alone: RawRegisters, clock: HandClock
) -> None:
    inverter = alone.host.inverter
    dead_man = inverter.profile.dead_man
    assert dead_man is not None
    command = power_command(inverter.profile, wanted_kw, await alone.reading())
    await obey(alone, command)
    for _ in range(3):
        clock.at_s += dead_man.period_s * 0.6
        for write in command.writes:
            if write.renew:
                where = (write.point.address, write.registers, write.point.device)
                assert await alone.write(*where) is None
    assert await power_kw(alone) == pytest.approx(wanted_kw, abs=0.01)
    clock.at_s += dead_man.period_s * 0.99
    assert await power_kw(alone) == pytest.approx(wanted_kw, abs=0.01)
    clock.at_s += dead_man.period_s * 0.02
    assert await power_kw(alone) == 0.0
    for point, raw in dead_man.on_expiry.items():
        known = inverter.profile.points[point]
        held = raw_value(known, inverter.bank.registers(point))
        assert encode_raw(known, held) == encode_raw(known, raw)


@pytest.mark.parametrize("name", sorted(set(CONTROLLABLE) - set(WITH_DEAD_MAN)))
async def test_without_a_dead_man_a_command_stays(
    name: str, alone: RawRegisters, clock: HandClock
) -> None:
    inverter = alone.host.inverter
    await obey(alone, power_command(inverter.profile, -0.5, await alone.reading()))
    clock.at_s += 3 * 60.0
    assert await power_kw(alone) == pytest.approx(-0.5, abs=0.01)


def test_all_families_of_the_registry_are_tested() -> None:
    assert len(FAMILIES) >= 9
    assert "huawei_sun2000" in WITH_DEAD_MAN
