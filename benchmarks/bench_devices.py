"""Requests, latency and CPU of a control cycle's reads, against raw clients for the same registers.

One simulated Huawei inverter in a process of its own; each contender connects to it in turn and
runs a cycle per virtual second. Run ``python benchmarks/bench_devices.py``; prints medians over
several rounds.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pymodbus.client import AsyncModbusTcpClient
from pyModbusTCP.client import ModbusClient

from bessai.config import DeviceProfile, load_profile
from bessai.config.profile import Space
from bessai.devices import ModbusInverter
from bessai.devices.codec import Registers
from bessai.devices.telemetry import poll_points
from bessai.model import SiteId
from bessai.units import MonotonicS

HOST, UNIT_ID = "127.0.0.1", 1
CYCLES, ROUNDS = 60, 9
Read = tuple[int, int]
"""First register and number of registers."""


@dataclass
class Result:
    requests: float
    cycle_ms: list[float] = field(default_factory=list)
    round_cpu_ms: list[float] = field(default_factory=list)

    @property
    def cpu_ms(self) -> float:
        return statistics.median(self.round_cpu_ms)

    def line(self, name: str) -> str:
        cuts = statistics.quantiles(self.cycle_ms, n=100)
        return (
            f"{name:28}{self.requests:10.2f}{statistics.median(self.cycle_ms):10.2f}"
            f"{cuts[98]:10.2f}{self.cpu_ms:10.3f}"
        )


class VirtualClock:
    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> MonotonicS:
        return MonotonicS(self.at_s)


@contextmanager
def simulator() -> Iterator[int]:
    """Port of a simulated inverter, started as a user starts it."""
    what = ("--profile", "huawei_sun2000", "--host", HOST, "--port", "0")
    command = [sys.executable, "-P", "-m", "bessai", "sim", "inverter", *what]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.search(rf"listening on {HOST}:(\d+)", process.stdout.readline())
            assert found, "the simulator did not start"
            yield int(found[1])
        finally:
            process.terminate()


def without_pauses(profile: DeviceProfile) -> DeviceProfile:
    quick = {"wait_after_connect_s": 0.0, "request_gap_s": 0.0}
    return profile.model_copy(update={"connection": profile.connection.model_copy(update=quick)})


async def timed(result: Result, cycle: Callable[[int], Awaitable[object]]) -> None:
    began_cpu = time.process_time()
    for number in range(CYCLES):
        began = time.perf_counter()
        await cycle(number)
        result.cycle_ms.append((time.perf_counter() - began) * 1000)
    result.round_cpu_ms.append((time.process_time() - began_cpu) * 1000 / CYCLES)


async def with_driver(port: int, cycle: Callable[[ModbusInverter], Awaitable[None]]) -> None:
    """Run cycles on a connected driver whose clock moves by one second each."""
    clock = VirtualClock()
    profile = without_pauses(load_profile("huawei_sun2000"))
    inverter = ModbusInverter(SiteId("bench"), HOST, port, UNIT_ID, profile, now=clock)
    await inverter.connect()

    async def one(_number: int) -> None:
        clock.at_s += 1.0
        telemetry = await inverter.read_telemetry()
        assert telemetry.soc_pct is not None

    try:
        await cycle(inverter)
        await timed(RESULTS["driver"], one)
    finally:
        await inverter.close()


def main() -> None:
    raise NotImplementedError


if __name__ == "__main__":
    main()
