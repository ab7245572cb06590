"""``bessai devices watch``: the telemetry of one device, as a site would see it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bessai.cli.devices_target import Target, control_time, end_of_command, wait_for_end
from bessai.cli.tables import DASH, number
from bessai.control.link import Backoff
from bessai.devices import ModbusInverter
from bessai.errors import DeviceError
from bessai.model import Telemetry

Show = Callable[[Telemetry | None, str], None]


def run_watch(target: Target, every_s: float, for_s: float | None, console: Console) -> None:
    """Read and show until the time is over or a signal comes.

    Raises:
        DeviceError: the device cannot be reached at the start, or is another one.
    """
    asyncio.run(_watch(target, every_s, for_s, console))


def telemetry_line(telemetry: Telemetry) -> str:
    """The values that a person follows, in one line."""
    t = telemetry
    command = "none" if t.commanded_kw is None else number(t.commanded_kw, "kW", 2, sign=True)
    parts = (
        f"SoC {number(t.soc_pct, '%')}",
        f"battery {number(t.active_power_kw, 'kW', 2, sign=True)}",
        f"grid {number(t.grid_power_kw, 'kW', 2, sign=True)}",
        f"PV {number(t.pv_power_kw, 'kW', 2)}",
        f"command {command}",
        f"battery {t.battery_status or DASH}, inverter {t.inverter_status or DASH}",
    )
    return "  ".join(parts) + (f"  alarms {', '.join(t.alarms)}" if t.alarms else "")


async def _watch(target: Target, every_s: float, for_s: float | None, console: Console) -> None:
    device = target.driver()
    with end_of_command() as stop, _screen(console) as show:
        try:
            identity = await device.connect()
            title = f"{identity.model} {identity.serial_number} at {target.address}"
            console.print(Text(title, style="bold"), soft_wrap=True)
            end_s = None if for_s is None else control_time() + for_s
            await _follow(device, target, every_s, end_s, stop, show)
        finally:
            await device.close()


async def _follow(
    device: ModbusInverter,
    target: Target,
    every_s: float,
    end_s: float | None,
    stop: asyncio.Event,
    show: Show,
) -> None:
    """Read for ever; a device that is lost is looked for again."""
    habits = target.profile.connection
    backoff, failures = Backoff(habits.reconnect_min_s, habits.reconnect_max_s), 0
    while not stop.is_set() and (end_s is None or control_time() < end_s):
        started_s = control_time()
        try:
            if failures:
                await device.connect()
            show(await device.read_telemetry(), "")
            failures, wait_s = 0, every_s - (control_time() - started_s)
        except DeviceError as error:
            failures += 1
            wait_s = backoff.wait_s(failures, random.random())  # noqa: S311 - spreads reconnects
            show(None, f"{error}; next try in {wait_s:.0f} s")
        left_s = wait_s if end_s is None else min(wait_s, end_s - control_time())
        await wait_for_end(stop, left_s)


@contextmanager
def _screen(console: Console) -> Iterator[Show]:
    """A table that stays in place in a terminal; one line per read elsewhere."""
    if not console.is_terminal:

        def say(telemetry: Telemetry | None, trouble: str) -> None:
            text = trouble if telemetry is None else telemetry_line(telemetry)
            console.print(Text(text), soft_wrap=True)

        yield say
        return
    with Live(console=console, auto_refresh=False) as live:

        def draw(telemetry: Telemetry | None, trouble: str) -> None:
            shown = Text(trouble, "red") if telemetry is None else _table(telemetry)
            live.update(shown, refresh=True)

        yield draw


def _table(telemetry: Telemetry) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, text in _rows(telemetry):
        table.add_row(Text(name, style="dim"), Text(text))
    return table


def _rows(t: Telemetry) -> Iterator[tuple[str, str]]:
    yield "state of charge", number(t.soc_pct, "%")
    yield "state of health", number(t.soh_pct, "%")
    yield "capacity", number(t.capacity_kwh, "kWh", 2)
    yield "battery power, + discharge", number(t.active_power_kw, "kW", 3, sign=True)
    yield "grid power, + export", number(t.grid_power_kw, "kW", 3, sign=True)
    yield "PV power", number(t.pv_power_kw, "kW", 3)
    yield "forced command", number(t.commanded_kw, "kW", 3, sign=True)
    yield "may charge with", number(t.charge_limit_kw, "kW", 2)
    yield "may discharge with", number(t.discharge_limit_kw, "kW", 2)
    yield "battery temperature", number(t.temperature_c, "degC")
    yield "exported, imported", f"{_energy(t.exported_wh)}, {_energy(t.imported_wh)}"
    yield "battery", t.battery_status or DASH
    yield "inverter", t.inverter_status or DASH
    yield "alarms", ", ".join(t.alarms) or "none"
    yield "not available", ", ".join(t.missing) or "none"


def _energy(energy_wh: int | None) -> str:
    return DASH if energy_wh is None else f"{energy_wh / 1000:.2f} kWh"
