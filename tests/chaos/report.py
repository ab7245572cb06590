"""``docs/reliability.md``: two parts, each written by its own run and leaving the other alone."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.chaos.measure import Sample

HEAD = (
    "# Reliability\n\n"
    "What was broken on purpose, and what happened at the battery. Measured by the simulated "
    "inverters, which keep logs and limits of [their own](reference/simulator.md#witness).\n"
)
PARTS = ("campaign", "soak")
MOVING_KW = 0.1


def merge(path: Path, part: str, text: str) -> None:
    """Replace one part of the report; the other one stays as it is."""
    before = path.read_text(encoding="utf-8") if path.is_file() else HEAD
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    block = f"{begin}\n{text.strip()}\n{end}\n"
    if begin in before and end in before:
        head, rest = before.split(begin, 1)
        _, tail = rest.split(end, 1)
        after = head + block + tail.lstrip("\n")
    elif part == PARTS[0] and (other := f"<!-- {PARTS[1]}: begin -->") in before:
        head, tail = before.split(other, 1)
        after = f"{head}{block}\n{other}{tail}"
    else:
        after = f"{before.rstrip()}\n\n{block}"
    path.write_text(after, encoding="utf-8")


def machine() -> str:
    """What it ran on."""
    memory_gb = psutil.virtual_memory().total / 1e9
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {memory_gb:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}; load average {load:.0f} at the end"
    )


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def quantiles(values: Sequence[float]) -> str:
    """p50 / p95 / max in seconds, or a dash; with fewer than 20 the p95 is the maximum."""
    if not values:
        return "-"
    ordered = sorted(values)

    def rank(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return f"{rank(0.5):.1f} / {rank(0.95):.1f} / {ordered[-1]:.1f}"


def table(samples: Sequence[Sample]) -> str:
    """One row per fault, in the order of their first sample."""
    rows = [
        "| fault | n | moving | safe power, s | control again, s | back, s | longest unrenewed, s "
        "| longest between cycles, s | outside, forced, kWh | outside, own mode, kWh "
        "| lost / doubled / second masters | writes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        _row(fault, [s for s in samples if s.fault == fault and not _skipped(s)])
        for fault in dict.fromkeys(s.fault for s in samples)
    ]
    return "\n".join(rows)


def _events(samples: Sequence[Sample]) -> str:
    events = {s.details["event"] for s in samples if "event" in s.details}
    return f" in {len(events)}" if 0 < len(events) < len(samples) else ""


def moves(sample: Sample) -> bool:
    """Whether power flowed when the fault came: a resting battery proves little."""
    return abs(sample.details.get("kw", 0.0)) > MOVING_KW


def _skipped(sample: Sample) -> bool:
    return sample.note.startswith(("skipped", "FAILED"))


def _row(fault: str, samples: Sequence[Sample]) -> str:
    def times(get: Callable[[Sample], float | None]) -> str:
        values = [v for v in map(get, samples) if v is not None]
        text = quantiles(values)
        return text if len(values) in (0, len(samples)) else f"{text} (n={len(values)})"

    cells = [
        fault,
        f"{len(samples)}{_events(samples)}",
        str(sum(moves(s) for s in samples)),
        times(lambda s: s.safe_s),
        times(lambda s: s.control_s),
        times(lambda s: s.back_s),
        times(lambda s: s.gap_s),
        times(lambda s: s.cycle_gap_s),
        f"{sum(s.forced_kwh for s in samples):.3f}",
        f"{sum(s.own_mode_kwh for s in samples):.3f}",
        f"{sum(s.lost for s in samples)} / {sum(s.doubled for s in samples)} / "
        f"{sum(s.masters for s in samples)}",
        str(sum(s.writes for s in samples)),
    ]
    return f"| {' | '.join(cells)} |"
