"""One whole control cycle over real TCP: read, safety, arbitration, write, verify.

Simulated Huawei inverters run in a process of their own. The pauses that a real device wants
between requests are switched off; they would be most of the time. Every part is the production
one, built by ``build_site``; only the fleet and the authority answer in process.

Run ``python benchmarks/bench_cycle.py``; prints one line per case. ``p50`` and ``p99`` are those
of the cycle in ms, ``cpu`` is this process's CPU time per cycle in ms, ``sites/core`` is how many
sites at 1 Hz would use one core up.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bessai.control.counters as counted
from bessai.build import SiteSpec, build_site
from bessai.config import BatteryConfig, SiteConfig, load_profile
from bessai.control import SiteLoop
from bessai.control.claims import NoRivals
from bessai.model import FleetReply, Interval, MarketClock, Schedule, ScheduleId, SiteSnapshot
from bessai.sim.spec import ClockSpec, InverterSpec, SimSpec

WARM_UP_S = 4.0
SIM_SITES = 25
FINE_S = tuple(round(0.0001 * n, 4) for n in range(1, 2001))


class Fleet:
    """Answers with a plan that changes power in every step, or never."""

    def __init__(self, step_s: float, powers_kw: tuple[float, ...]) -> None:
        step, start = timedelta(seconds=step_s), datetime.now(UTC)
        count = int(120 / step_s)
        self._start = start
        self._intervals = tuple(
            Interval(start + k * step, start + (k + 1) * step, powers_kw[k % len(powers_kw)], 50.0)
            for k in range(count)
        )
        self._plans: dict[str, Schedule] = {}

    async def report(self, snapshot: SiteSnapshot) -> FleetReply:
        plan = self._plans.get(snapshot.site_id)
        if plan is None:
            plan = Schedule(
                schedule_id=ScheduleId("bench"),
                site_id=snapshot.site_id,
                issued_at=self._start,
                intervals=self._intervals,
                source="bench",
                expected_revenue=0.0,
                currency="USD",
            )
            self._plans[snapshot.site_id] = plan
        return FleetReply(plan, 15.0)


@contextmanager
def simulators(sites: int, folder: Path) -> Iterator[dict[str, int]]:
    """Ports by site; one process for each 25 inverters."""
    now = datetime.now(UTC)
    clock = ClockSpec.from_clock(MarketClock(now, now, 1.0))
    processes, ready = [], []
    for first in range(0, sites, SIM_SITES):
        names = [f"s{n}" for n in range(first, min(sites, first + SIM_SITES))]
        spec, told = folder / f"sim-{first}.json", folder / f"ready-{first}.json"
        inverters = tuple(
            InverterSpec(site_id=n, capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5)
            for n in names
        )
        spec.write_text(SimSpec(clock=clock, inverters=inverters).model_dump_json())
        command = [sys.executable, "-P", "-m", "bessai.sim", "--spec", str(spec)]
        processes.append(subprocess.Popen([*command, "--ready", str(told)]))
        ready.append(told)
    try:
        while not all(path.exists() for path in ready):
            time.sleep(0.1)
        yield {k: v for path in ready for k, v in json.loads(path.read_text()).items()}
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def loop_of(name: str, port: int, cycle_s: float, fleet: Fleet, folder: Path) -> SiteLoop:
    profile = load_profile("huawei_sun2000")
    quick = {"wait_after_connect_s": 0.0, "request_gap_s": 0.0}
    connection = profile.connection.model_copy(update=quick)
    battery = BatteryConfig(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5)
    site = SiteConfig(id=name, host="127.0.0.1", port=port, battery=battery, cycle_s=cycle_s)
    now = datetime.now(UTC)
    spec = SiteSpec(site, MarketClock(now, now, 1.0), simulated=True, memory=folder)
    profile = profile.model_copy(update={"connection": connection})
    return build_site(spec, fleet, NoRivals(), lambda cause: os._exit(1), profile=profile)


async def measure(sites: int, cycle_s: float, seconds: float, powers: tuple[float, ...]) -> str:
    with tempfile.TemporaryDirectory() as name, simulators(sites, Path(name)) as ports:
        fleet = Fleet(cycle_s, powers)
        loops = [loop_of(s, p, cycle_s, fleet, Path(name)) for s, p in ports.items()]
        tasks = [asyncio.create_task(loop.run()) for loop in loops]
        await asyncio.sleep(WARM_UP_S)
        before = [loop.snapshot().counters for loop in loops]
        cpu_s = time.process_time()
        await asyncio.sleep(seconds)
        cpu_s = time.process_time() - cpu_s
        after = [loop.snapshot().counters for loop in loops]
        for loop in loops:
            await loop.stop()
        await asyncio.gather(*tasks)
    cycles = sum(b.cycles - a.cycles for a, b in zip(before, after, strict=True))
    writes = sum(
        sum(b.writes.values()) - sum(a.writes.values()) for a, b in zip(before, after, strict=True)
    )
    counts = [
        sum(
            b.cycle_duration.counts[k] - a.cycle_duration.counts[k]
            for a, b in zip(before, after, strict=True)
        )
        for k in range(len(FINE_S))
    ]

    def quantile(share: float) -> str:
        found = [1000 * s for s, n in zip(FINE_S, counts, strict=True) if n >= share * cycles]
        return f"{found[0]:8.1f}" if found else "   > 200"

    overruns = sum(b.overruns - a.overruns for a, b in zip(before, after, strict=True))
    cpu_ms = 1000 * cpu_s / cycles
    return (
        f"{sites:6}{cycle_s:9.1f}{cycles:9}{writes / cycles:14.2f}{quantile(0.5)}{quantile(0.99)}"
        f"{cpu_ms:9.2f}{overruns:10}{1000 / cpu_ms:12.0f}"
    )


def main() -> None:
    counted.BUCKETS_S = FINE_S  # type: ignore[misc]
    os.environ["BESSAI_STATE_DIR"] = tempfile.mkdtemp()
    print(" sites  cycle s   cycles  registers/cyc     p50     p99   cpu ms  overruns  sites/core")
    for case in (
        (1, 0.2, 60.0, (3.0, -3.0)),
        (1, 1.0, 60.0, (3.0,)),
        (20, 1.0, 30.0, (3.0,)),
        (100, 1.0, 30.0, (3.0,)),
        (200, 1.0, 30.0, (3.0,)),
    ):
        print(asyncio.run(measure(*case)), flush=True)


if __name__ == "__main__":
    main()
