"""Client program for ``tools/interop_huawei_solar.py``; it runs where huawei-solar is installed.

Nothing imports this file: its text is handed to another Python interpreter. It drives a Huawei
inverter through the public interface of huawei-solar 3 only, and prints one line per step.

Usage: PYTHON - HOST PORT UNIT_ID [PASSWORD]
"""

from __future__ import annotations

import asyncio
import sys

import huawei_solar as hs
from huawei_solar import register_names as rn

POLLED = [
    rn.STATE_1,
    rn.ALARM_1,
    rn.DEVICE_STATUS,
    rn.INPUT_POWER,
    rn.ACTIVE_POWER,
    rn.GRID_FREQUENCY,
    rn.ACCUMULATED_YIELD_ENERGY,
    rn.STORAGE_RUNNING_STATUS,
    rn.STORAGE_STATE_OF_CAPACITY,
    rn.STORAGE_CHARGE_DISCHARGE_POWER,
    rn.STORAGE_RATED_CAPACITY,
    rn.STORAGE_MAXIMUM_CHARGE_POWER,
    rn.STORAGE_TOTAL_CHARGE,
    rn.METER_STATUS,
    rn.POWER_METER_ACTIVE_POWER,
    rn.GRID_EXPORTED_ENERGY,
    rn.ACTIVE_POWER_PERCENTAGE_DERATING,
    rn.STORAGE_WORKING_MODE_SETTINGS,
    rn.STORAGE_MAXIMUM_CHARGING_POWER,
    rn.STORAGE_FORCIBLE_CHARGE_DISCHARGE_SETTING_MODE,
    rn.STORAGE_HUAWEI_LUNA2000_TIME_OF_USE_CHARGING_AND_DISCHARGING_PERIODS,
    rn.ACTIVE_POWER_CONTROL_MODE,
]
"""Of each block that Home Assistant polls at least one register."""


def say(step: str, *found: object) -> None:
    """One line of the transcript."""
    print(f"{step:<18}", *found, flush=True)


def expect(condition: bool, what: str) -> None:
    """End the run where something is not as expected."""
    if not condition:
        raise SystemExit(f"not as expected: {what}")


async def refused(device: hs.HuaweiSolarDevice, name: rn.RegisterName, value: int) -> str:
    """What the library raises when the device refuses; a write that is taken ends the run."""
    try:
        await device.set(name, value)
    except hs.HuaweiSolarException as error:
        return f"{type(error).__name__}: {error}"
    raise SystemExit(f"not as expected: {name} took {value}")


async def find(host: str, port: int, unit_id: int) -> hs.SUN2000Device:
    """Connect, ask who is there, and let the library detect the device."""
    client = hs.create_tcp_client(host, port, unit_id=unit_id, timeout=5)
    await client.connect()
    listed = await hs.get_device_infos(client.for_unit_id(0))
    say("device list", listed)
    expect(len(listed) == 1, "one device is listed")
    device = await hs.create_device_instance(client)
    say("detected", type(device).__name__, device.model_name, device.serial_number)
    say("versions", device.firmware_version, device.software_version)
    say("battery", device.battery_1_type.name, device.battery_2_type.name)
    say("meter", device.power_meter_online, device.power_meter_type)
    expect(isinstance(device, hs.SUN2000Device), "a SUN2000 is detected")
    expect(device.serial_number == listed[0].esn, "list and registers name the same device")
    return device


async def poll(device: hs.SUN2000Device) -> None:
    """Read in the blocks that the library makes."""
    found = await device.batch_update(POLLED)
    for name, result in found.items():
        say("poll", name, result.value, result.unit or "")
    expect(len(found) == len(POLLED), "every register is polled")
    expect(found[rn.DEVICE_STATUS].value == "On-grid", "on grid")


async def power_w(device: hs.SUN2000Device) -> int:
    """Power of the battery, + while charging."""
    return (await device.get(rn.STORAGE_CHARGE_DISCHARGE_POWER)).value


async def command(
    device: hs.SUN2000Device, mode: int, power_register: rn.RegisterName, watts: int
) -> None:
    """Power, minutes, mode, and the command last."""
    await device.set(power_register, watts)
    await device.set(rn.STORAGE_FORCED_CHARGING_AND_DISCHARGING_PERIOD, 2)
    await device.set(rn.STORAGE_FORCIBLE_CHARGE_DISCHARGE_SETTING_MODE, 0)
    await device.set(rn.STORAGE_FORCIBLE_CHARGE_DISCHARGE_WRITE, mode)


async def control(device: hs.SUN2000Device) -> None:
    """Forced charge and discharge, stop, and a power that the battery does not take."""
    before = (await device.get(rn.STORAGE_STATE_OF_CAPACITY)).value
    await command(device, 1, rn.STORAGE_FORCIBLE_CHARGE_POWER, 3000)
    say("forced charge", await power_w(device), "W, + is charge")
    expect(await power_w(device) == 3000, "the battery charges with 3000 W")
    for _ in range(50):
        after = (await device.get(rn.STORAGE_STATE_OF_CAPACITY)).value
        if after > before:
            break
        await asyncio.sleep(0.2)
    say("state of charge", before, "->", after, "%")
    expect(after > before, "the state of charge rises")
    await command(device, 2, rn.STORAGE_FORCIBLE_DISCHARGE_POWER, 2000)
    say("forced discharge", await power_w(device), "W")
    expect(await power_w(device) == -2000, "the battery discharges with 2000 W")
    await device.set(rn.STORAGE_FORCIBLE_CHARGE_DISCHARGE_WRITE, 0)
    say("stopped", await power_w(device), "W")
    expect(await power_w(device) == 0, "the battery rests")
    too_much = await refused(device, rn.STORAGE_MAXIMUM_CHARGING_POWER, 9999)
    say("too much power", too_much)


async def log_in(device: hs.SUN2000Device, password: str) -> None:
    """No permission before, a wrong password, the right one, and the heartbeat."""
    allowed = await device.has_write_permission()
    say("without login", "may write:", allowed)
    expect(not allowed, "no permission without login")
    try:
        await device.login("installer", password + "x")
    except hs.InvalidCredentials:
        say("wrong password", "refused")
    else:
        raise SystemExit("not as expected: a wrong password is taken")
    expect(await device.login("installer", password), "the login is accepted")
    say("logged in", "heartbeat", await device.client.heartbeat())


async def main(host: str, port: str, unit_id: str, password: str | None = None) -> None:
    """All steps; log in first where there is a password."""
    device = await find(host, int(port), int(unit_id))
    try:
        if password is not None:
            await log_in(device, password)
        allowed = await device.has_write_permission()
        say("write probe", allowed)
        expect(allowed, "the time zone can be written back")
        await poll(device)
        await control(device)
    finally:
        await device.stop()
    say("done", "all steps as expected")


asyncio.run(main(*sys.argv[1:]))
