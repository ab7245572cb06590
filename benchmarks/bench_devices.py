"""What a control cycle reads: requests, latency and CPU, against raw clients and naive drivers.

A simulated Huawei inverter runs in a process of its own; the contenders connect in turn and run
one cycle per virtual second. The raw clients send the very requests of our driver but decode
nothing. Run ``python benchmarks/bench_devices.py``; prints one line per contender, and ratios.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from pymodbus.client import AsyncModbusTcpClient
from pyModbusTCP.client import ModbusClient

from bessai.config import DeviceProfile, load_profile
from bessai.config.profile import Space
from bessai.devices import ModbusInverter
from bessai.devices.codec import Registers
from bessai.devices.connection import ModbusConnection
from bessai.devices.telemetry import poll_points
from bessai.model import SiteId
from bessai.units import MonotonicS

HOST, UNIT_ID = "127.0.0.1", 1
CYCLES, ROUNDS = 60, 15
WARM_UP = 5
"""Cycles after each connect that are not measured: layouts and decoders are made in them."""
Read = tuple[int, int]
Schedule = Sequence[Sequence[Read]]
"""Per cycle: first register and number of registers of each request."""
Cycle = Callable[[int], Awaitable[object]]


@dataclass
class Result:
    requests: float
    cycle_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @property
    def median_cpu_ms(self) -> float:
        return statistics.median(self.cpu_ms)

    def line(self, name: str) -> str:
        p50, p99 = statistics.median(self.cycle_ms), statistics.quantiles(self.cycle_ms, n=100)[98]
        return f"{name:30}{self.requests:10.2f}{p50:10.2f}{p99:10.2f}{self.median_cpu_ms:10.3f}"


class VirtualClock:
    at_s = 0.0

    def __call__(self) -> MonotonicS:
        return MonotonicS(self.at_s)


class Recorder:
    """Notes what goes over a connection."""

    def __init__(self, link: ModbusConnection) -> None:
        self.reads: list[Read] = []
        self._read = link.read

    async def __call__(self, space: Space, address: int, count: int) -> Registers:
        self.reads.append((address, count))
        return await self._read(space, address, count)


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


@asynccontextmanager
async def driver(port: int, profile: DeviceProfile) -> AsyncIterator[tuple[ModbusInverter, Cycle]]:
    clock = VirtualClock()
    inverter = ModbusInverter(SiteId("bench"), HOST, port, UNIT_ID, profile, now=clock)
    await inverter.connect()

    async def cycle(_number: int) -> None:
        clock.at_s += 1.0
        telemetry = await inverter.read_telemetry()
        assert telemetry.soc_pct is not None

    for _ in range(WARM_UP):
        await cycle(0)
    yield inverter, cycle
    await inverter.close()


@asynccontextmanager
async def raw_pymodbus(port: int, schedule: Schedule) -> AsyncIterator[Cycle]:
    client = AsyncModbusTcpClient(HOST, port=port)
    await client.connect()

    async def cycle(number: int) -> None:
        for address, count in schedule[number]:
            answer = await client.read_holding_registers(address, count=count, device_id=UNIT_ID)
            assert len(answer.registers) == count

    for number in range(WARM_UP):
        await cycle(number)
    yield cycle
    client.close()


@asynccontextmanager
async def raw_pymodbustcp(port: int, schedule: Schedule) -> AsyncIterator[Cycle]:
    client = ModbusClient(HOST, port, UNIT_ID)
    client.open()

    async def cycle(number: int) -> None:
        for address, count in schedule[number]:
            words = client.read_holding_registers(address, count)
            assert words is not None
            assert len(words) == count

    for number in range(WARM_UP):
        await cycle(number)
    yield cycle
    client.close()


async def record(port: int, profile: DeviceProfile) -> Schedule:
    """The driver's requests per cycle; the same in each run, for its clock is virtual."""
    async with driver(port, profile) as (inverter, cycle):
        link = inverter._link
        recorder = Recorder(link)
        link.read = recorder  # type: ignore[method-assign, assignment]
        schedule = []
        for number in range(CYCLES):
            await cycle(number)
            schedule.append(tuple(recorder.reads))
            recorder.reads.clear()
    return schedule


async def time_cycles(result: Result, cycle: Cycle) -> None:
    began_cpu = time.process_time()
    for number in range(CYCLES):
        began = time.perf_counter()
        await cycle(number)
        result.cycle_ms.append((time.perf_counter() - began) * 1000)
    result.cpu_ms.append((time.process_time() - began_cpu) * 1000 / CYCLES)


def one_by_one(profile: DeviceProfile, names: Iterable[str]) -> Schedule:
    """What a driver sends that reads each point with a request of its own, in each cycle."""
    reads = [(profile.points[name].address, profile.points[name].count) for name in names]
    return [reads] * CYCLES


def covered(profile: DeviceProfile, schedule: Schedule) -> list[str]:
    """All points that the driver's requests bring along."""
    blocks = {read for cycle in schedule for read in cycle}
    return [
        name
        for name, point in profile.points.items()
        if any(first <= point.address and point.end <= first + n for first, n in blocks)
    ]


def mean_requests(schedule: Schedule) -> float:
    return statistics.mean(map(len, schedule))


async def measure(port: int) -> None:
    profile = without_pauses(load_profile("huawei_sun2000"))
    schedule = await record(port, profile)
    fast, slow = poll_points(profile)
    naive = one_by_one(profile, covered(profile, schedule))
    ours, raw, other = (Result(mean_requests(schedule)) for _ in range(3))
    single = Result(mean_requests(naive))
    for _ in range(ROUNDS):
        async with driver(port, profile) as (_inverter, cycle):
            await time_cycles(ours, cycle)
        async with raw_pymodbus(port, schedule) as cycle:
            await time_cycles(raw, cycle)
        async with raw_pymodbustcp(port, schedule) as cycle:
            await time_cycles(other, cycle)
        async with raw_pymodbus(port, naive) as cycle:
            await time_cycles(single, cycle)

    print(f"{'per cycle of 1 s':30}{'requests':>10}{'p50 ms':>10}{'p99 ms':>10}{'CPU ms':>10}")
    print(ours.line("our driver"))
    print(raw.line("pymodbus, same requests"))
    print(other.line("pyModbusTCP, same requests"))
    print(single.line("pymodbus, point by point"))
    used = len(fast) + len(slow)
    print(
        f"{used} points used, {len(naive[0])} read: point by point takes "
        f"{used / ours.requests:.1f} and {single.requests / ours.requests:.1f} times the requests; "
        f"CPU of ours / raw pymodbus: {ratio(ours.cpu_ms, raw.cpu_ms):.2f}"
    )


def ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """Median of the rounds, each against the other's of the same moment."""
    return statistics.median(a / b for a, b in zip(ours, others, strict=True))


def main() -> None:
    with simulator() as port:
        asyncio.run(measure(port))


if __name__ == "__main__":
    main()
