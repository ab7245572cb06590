"""What the campaign holds the fleet to."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.bed import DEAD_MAN_S
from tests.chaos.cluster import ABOVE, DISK_FULL, GCS, KILLS
from tests.chaos.measure import Sample

CONTROL_AGAIN_S = 10.0
DEAD_MAN_SLACK_S = 1.0
"""The simulator looks every 0.1 s; a request in flight, and the clock of the question."""
LATE_CYCLE_S = 2.0
"""Two cycles: after a longer gap a site asks for its epoch again."""
KEEPS_CONTROL = frozenset({*KILLS, GCS, ABOVE})
SITES_GO_ON = frozenset({*KILLS, GCS, ABOVE, DISK_FULL})
KILLS_SITE = "site kill -9"


def broken(samples: Sequence[Sample]) -> list[str]:
    """One line for each promise that a sample breaks."""
    return [f"{s.fault} at {s.site}: {text}" for s in samples for text in _broken_by(s)]


def _broken_by(sample: Sample) -> list[str]:
    if sample.note.startswith("FAILED"):
        return [sample.note]
    if sample.note.startswith("skipped"):
        return []
    found = _always(sample)
    if sample.fault == KILLS_SITE:
        found += _control_in_time(sample)
    if sample.fault not in SITES_GO_ON and sample.control_s is None:
        found.append("no command again within the time of watching")
    if sample.fault in KEEPS_CONTROL and sample.safe_s is not None:
        found.append(f"{sample.details.get('sites_that_lost_control', 0):g} sites lost control")
    if sample.fault == ABOVE:
        found += _cycles_unchanged(sample)
    return found


def _always(sample: Sample) -> list[str]:
    found = []
    if sample.forced_kwh > 0:
        found.append(f"{sample.forced_kwh:.6f} kWh beyond the witness's limits")
    counts = {"lost": sample.lost, "doubled": sample.doubled, "second masters": sample.masters}
    found += [f"{name}: {count}" for name, count in counts.items() if count]
    if sample.gap_s > DEAD_MAN_S + DEAD_MAN_SLACK_S:
        found.append(f"a command that nobody renewed was followed for {sample.gap_s:.1f} s")
    return found


def _control_in_time(sample: Sample) -> list[str]:
    took_s = sample.control_s
    if took_s is None or took_s <= CONTROL_AGAIN_S:
        return []
    return [f"controls again only after {took_s:.1f} s"]


def _cycles_unchanged(sample: Sample) -> list[str]:
    found = []
    if missing := sample.details.get("missing_cycles", 0):
        found.append(f"{missing:g} control cycles are missing")
    if (late_s := sample.cycle_gap_s or 0.0) > LATE_CYCLE_S:
        found.append(f"{late_s:.2f} s between two control cycles")
    return found
