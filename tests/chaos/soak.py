"""The soak: ``python -m tests.chaos.soak --minutes 90``; 20 sites, nothing broken, memory watched.

Exit status 1 when memory or descriptors of an actor grow.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tests.chaos.bed import Bed, BedError
from tests.chaos.campaign import tell
from tests.chaos.measure import cycle_gap_s
from tests.chaos.record import decided_by
from tests.chaos.report import machine, merge, today

EVERY_S = 30.0
WARM_SHARE = 20.0 / 90.0
GROWTH_PCT = 2.0
WINDOW = 10
"""Readings of each end that are compared, by their medians: single ones jump with Python's heap."""


@dataclass(frozen=True)
class Reading:
    """One process at one moment."""

    at_s: float
    name: str
    pid: int
    uss_mb: float
    pss_mb: float
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Grown:
    """One process between the end of the warm-up and the end."""

    name: str
    uss_mb: float
    growth_pct: float
    descriptors: int
    more_descriptors: int
    threads: int
    more_threads: int


def read(bed: Bed, began_s: float) -> list[Reading]:
    """All actors now."""
    sites = {pid: site for site, pid in bed.site_pids().items()}
    named = dict.fromkeys((p.pid for p in bed.site_processes()), "site ?") | sites
    for prefix, name in (("ray::FleetActor", "fleet"), ("ray::Supervisor", "supervisor")):
        named |= {p.pid: name for p in bed.named(prefix)}
    for process in bed.named("ray::ServeReplica"):
        with contextlib.suppress(psutil.Error):
            named[process.pid] = " ".join(process.cmdline()).strip().rsplit(":", 1)[-1]
    found = []
    for pid, name in named.items():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            memory = process.memory_full_info()
            found.append(
                Reading(
                    time.monotonic() - began_s,
                    name,
                    pid,
                    memory.uss / 1e6,
                    memory.pss / 1e6,
                    process.num_fds(),
                    process.num_threads(),
                )
            )
    return found


def grown(readings: Sequence[Reading], warm_s: float) -> list[Grown]:
    """How each process that lived to the end has grown since the warm-up."""
    found = []
    last_s = max(r.at_s for r in readings)
    for pid in dict.fromkeys(r.pid for r in readings):
        mine = [r for r in readings if r.pid == pid and r.at_s >= warm_s]
        if len(mine) < 2 or mine[-1].at_s < last_s - 2 * EVERY_S:
            continue
        size = min(WINDOW, max(1, len(mine) // 2))
        first, last = mine[:size], mine[-size:]

        def median(part: Sequence[Reading], field: str) -> float:
            return float(statistics.median(getattr(r, field) for r in part))

        uss_mb = median(first, "uss_mb")
        found.append(
            Grown(
                mine[-1].name,
                median(last, "uss_mb"),
                100.0 * (median(last, "uss_mb") / uss_mb - 1.0),
                mine[-1].descriptors,
                int(median(last, "descriptors") - median(first, "descriptors")),
                mine[-1].threads,
                int(median(last, "threads") - median(first, "threads")),
            )
        )
    return found


def problems_of(processes: Sequence[Grown], pids_per_name: dict[str, int]) -> list[str]:
    """What is not as promised."""
    found = []
    for one in processes:
        if one.growth_pct > GROWTH_PCT:
            found.append(f"{one.name}: memory grew by {one.growth_pct:.1f} %")
        if one.more_descriptors > 1:
            found.append(f"{one.name}: {one.more_descriptors} more open descriptors")
    found += [f"{name}: {n} processes" for name, n in pids_per_name.items() if n > 1]
    return found


def soak_text(
    processes: Sequence[Grown], problems: Sequence[str], cycles: str, command: str, minutes: float
) -> str:
    """Markdown of the soak's part."""
    rows = [
        "| process | USS at the end, MB | growth, % | descriptors | more | threads | more |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {one.name} | {one.uss_mb:.1f} | {one.growth_pct:+.2f} | {one.descriptors} | "
        f"{one.more_descriptors:+d} | {one.threads} | {one.more_threads:+d} |"
        for one in sorted(processes, key=lambda p: p.name)
    ]
    how = (
        f"Nothing is broken. Memory is the process's own (USS), read every {EVERY_S:g} s; growth "
        f"compares the medians of {WINDOW} readings after the warm-up "
        f"({minutes * WARM_SHARE:.0f} minutes) and at the end. At most {GROWTH_PCT:g} % is allowed."
    )
    verdict = "**Flat.**"
    if problems:
        verdict = "**Not as promised:**\n\n" + "\n".join(f"- {p}" for p in problems)
    return f"""## Soak

{today()}, {minutes:g} minutes, {machine()}.

```bash
{command}
```

{how}

{verdict}

{cycles}

""" + "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--sites", type=int, default=20)
    parser.add_argument("--report", type=Path, default=Path("docs/reliability.md"))
    parser.add_argument("--seed", type=int, default=20_241_125)
    got = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bed = Bed(got.sites, random.Random(got.seed))
    readings: list[Reading] = []
    cycles, failure = "", ""
    try:
        bed.start()
        tell("the bed stands")
        began_s = time.monotonic()
        for number in range(1, int(got.minutes * 60.0 / EVERY_S) + 1):
            time.sleep(max(0.0, began_s + number * EVERY_S - time.monotonic()))
            readings += read(bed, began_s)
            if number % 10 == 0:
                sites = [r.uss_mb for r in readings if r.at_s > readings[-1].at_s - 5]
                tell(f"{number * EVERY_S / 60:.0f} min: {sum(sites):.0f} MB in all actors")
        cycles = cycles_text(bed, time.monotonic() - began_s)
    except KeyboardInterrupt:
        failure = "interrupted"
    except (BedError, OSError) as error:
        failure = str(error)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        left = bed.end()
    processes = grown(readings, got.minutes * 60.0 * WARM_SHARE) if readings else []
    pids: dict[str, set[int]] = {}
    for one in readings:
        pids.setdefault(one.name, set()).add(one.pid)
    problems = problems_of(processes, {k: len(v) for k, v in pids.items() if k != "site ?"})
    if failure:
        problems.append(f"ended early: {failure}")
    if left:
        problems.append(f"{left} processes could not be ended")
    raw = got.report.parent / "build" / "soak-readings.json"
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_text(json.dumps([asdict(r) for r in readings]), encoding="utf-8")
    command = "python -m tests.chaos.soak " + " ".join(sys.argv[1:] if argv is None else argv)
    merge(got.report, "soak", soak_text(processes, problems, cycles, command, got.minutes))
    for problem in problems:
        tell(f"BROKEN: {problem}")
    return 1 if problems else 0


def cycles_text(bed: Bed, seconds: float) -> str:
    """Cycles of all sites, from their records."""
    count, overruns, worst_s = 0, 0, 0.0
    for site in bed.site_ids:
        decided = decided_by(bed.memory, site)
        count += len(decided)
        pairs = itertools.pairwise(decided)
        overruns += sum(b.now_s - a.now_s > 1.5 for a, b in pairs if a.run == b.run)
        worst_s = max(worst_s, cycle_gap_s(decided, 0.0, float("inf")) or 0.0)
    return (
        f"{count} control cycles in {seconds / 60:.0f} minutes; {overruns} came more than half a "
        f"cycle late, the longest time between two was {worst_s:.2f} s."
    )


if __name__ == "__main__":
    sys.exit(main())
