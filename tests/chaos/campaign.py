"""The fault campaign: ``python -m tests.chaos.campaign --report docs/reliability.md``.

Exit status 1 when a promise is broken, 2 when the bed could not be made.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bessai.control.clocks import monotonic_now
from bessai.sim.control import observe_commands, observe_summary, observe_writes
from tests.chaos import cluster as clusters
from tests.chaos.bed import NODES, Bed, BedError
from tests.chaos.cluster import ABOVE, DISK_FULL, FROZEN, GCS, KILLS, RAYLET, Cluster
from tests.chaos.control_run import control_run
from tests.chaos.lanes import LANES, Lanes
from tests.chaos.measure import (
    cycle_gap_s,
    lost_and_doubled,
    missing_cycles,
    second_masters,
)
from tests.chaos.options import Options, Outcome
from tests.chaos.promises import broken
from tests.chaos.record import decided_by, lost_entries
from tests.chaos.report import merge, moves
from tests.chaos.texts import campaign_text
from tests.chaos.watch import again

MOVING_SHARE = 0.4
SHARES = {
    "lanes": 0.26,
    DISK_FULL: 0.06,
    **dict.fromkeys(KILLS, 0.07),
    GCS: 0.10,
    RAYLET: 0.10,
    FROZEN: 0.18,
}
"""Most of the time that each part may take; the rest is for what is above the sites."""


def parse(argv: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.campaign", description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("docs/reliability.md"))
    parser.add_argument("--minutes", type=float, help="for everything after the start")
    parser.add_argument("--samples", type=int, help="of each fault")
    parser.add_argument("--only", default="", help="parts of names of faults, by commas")
    parser.add_argument("--sites", type=int)
    parser.add_argument("--seed", type=int, default=20_241_125)
    parser.add_argument("--quick", action="store_true", help="2 samples, 4 sites, 12 minutes")
    got = parser.parse_args(argv)
    quick = got.quick
    return Options(
        report=got.report,
        minutes=got.minutes or (12.0 if quick else 90.0),
        samples=got.samples or (2 if quick else 20),
        only=tuple(word for word in got.only.split(",") if word),
        sites=got.sites or (4 if quick else 20),
        seed=got.seed,
        quick=quick,
        nodes=NODES[:2] if quick else NODES,
    )


def tell(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


def run(options: Options) -> Outcome:
    """Everything, from the bed's start to its end."""
    outcome, began_s = Outcome(), time.monotonic()
    if options.wants("control run"):
        tell("control run: one site with and one without its envelope")
        outcome.control = control_run(75.0)
    bed = Bed(options.sites, random.Random(options.seed), options.nodes)
    outcome.disk = bed.disk.method
    try:
        tell(f"the bed is made: {options.sites} sites, folder {bed.run.root}")
        bed.start()
        tell(f"the bed stands after {time.monotonic() - began_s:.0f} s")
        _faults(options, bed, outcome)
    except KeyboardInterrupt:
        outcome.failure = "interrupted"
    except (BedError, OSError) as error:
        outcome.failure = str(error)
    finally:
        _judge(bed, outcome)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end must not be interrupted
        outcome.left = bed.end()
    outcome.seconds = time.monotonic() - began_s
    return outcome


def _faults(options: Options, bed: Bed, outcome: Outcome) -> None:
    began_s = monotonic_now()
    total_s = options.minutes * 60.0
    lanes = [lane for lane in LANES if options.wants(lane.name)]
    spare_s = 0.0
    cluster = Cluster(bed, options.seed, tell)
    for name, share in SHARES.items():
        at_s, budget_s = monotonic_now(), share * total_s + spare_s
        if options.quick:  # two of each must fit, however long one takes
            budget_s = total_s - (at_s - began_s)
        if name == "lanes":
            if lanes:
                running = Lanes(bed, options.seed, at_s + budget_s, tell)
                try:
                    running.run(options.samples, lanes)
                finally:
                    outcome.samples += running.samples
        elif options.wants(name):
            try:
                cluster.repeat(name, options.samples, at_s + budget_s)
            finally:
                outcome.samples += [s for s in cluster.samples if s not in outcome.samples]
        spare_s = max(0.0, budget_s - (monotonic_now() - at_s))
    if options.wants(ABOVE):
        cluster.lose_everything(options.above_s)
        outcome.samples += [s for s in cluster.samples if s not in outcome.samples]


def _judge(bed: Bed, outcome: Outcome) -> None:
    """Compare the whole record of each site with the whole log of its inverter."""
    if not bed.inverter_ports:
        return
    tell("comparing the sites' records with the inverters' logs")
    for site in bed.site_ids:
        try:
            decided = decided_by(bed.memory, site)
            outcome.unrecorded += lost_entries(bed.memory, site)
        except Exception as error:  # noqa: BLE001 - the rest of the report must be written
            tell(f"{site}: no record ({error})")
            continue
        writes = again(lambda site=site: observe_writes(bed.control, site)).writes  # type: ignore[misc]
        commands = again(lambda site=site: observe_commands(bed.control, site)).commands  # type: ignore[misc]
        outcome.summaries.append(observe_summary(bed.control, site))
        outcome.cycles += len(decided)
        lost, doubled = lost_and_doubled(decided, commands)
        found = {"lost": lost, "doubled": doubled, "masters": second_masters(writes)}
        for name, moments in found.items():
            for at_s in moments:
                tell(f"{site}: {name} at {at_s:.1f}")
                _blame(outcome, site, name, at_s)
        for sample in outcome.samples:
            if sample.site in (site, clusters.FLEET):
                gap_s = cycle_gap_s(decided, sample.at_s, sample.until_s)
                if gap_s is not None:
                    sample.cycle_gap_s = max(gap_s, sample.cycle_gap_s or 0.0)
            if sample.fault == ABOVE:
                missing = missing_cycles(decided, sample.at_s, sample.ended_at_s)
                details = sample.details
                details["missing_cycles"] = details.get("missing_cycles", 0.0) + missing


def _blame(outcome: Outcome, site: str, name: str, at_s: float) -> None:
    """Count it for the fault in whose window it fell."""
    for sample in outcome.samples:
        if sample.site in (site, clusters.FLEET) and sample.at_s <= at_s <= sample.until_s:
            setattr(sample, name, getattr(sample, name) + 1)
            return
    outcome.elsewhere[name] = outcome.elsewhere.get(name, 0) + 1


def verdict(options: Options, outcome: Outcome) -> list[str]:
    """All that is not as promised."""
    found = broken(outcome.samples)
    found += [f"{name} outside all faults: {n}" for name, n in outcome.elsewhere.items()]
    if (kwh := sum(s.outside_forced_kwh for s in outcome.summaries)) > 0:
        found.append(f"{kwh:.6f} kWh beyond the witness's limits in the whole campaign")
    if outcome.samples and sum(map(moves, outcome.samples)) < MOVING_SHARE * len(outcome.samples):
        found.append("the batteries rested in most samples: little is proven")
    if outcome.control:
        safe, unsafe = outcome.control["safe"], outcome.control["unsafe"]
        if safe.outside_forced_kwh > 0:
            found.append("the control run with safety left its limits")
        if unsafe.outside_forced_kwh <= 0:
            found.append("the control run without safety shows no violation: nothing is proven")
    if outcome.left:
        found.append(f"{outcome.left} processes of the bed could not be ended")
    if outcome.failure:
        found.append(f"the campaign ended early: {outcome.failure}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = run(options)
    problems = verdict(options, outcome)
    raw = options.report.parent / "build" / "chaos-samples.json"
    raw.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "samples": [asdict(sample) for sample in outcome.samples],
        "problems": problems,
        "control": {k: s.model_dump(mode="json") for k, s in outcome.control.items()},
        "summaries": [s.model_dump(mode="json") for s in outcome.summaries],
    }
    raw.write_text(json.dumps(told, indent=1), encoding="utf-8")
    command = "python -m tests.chaos.campaign " + " ".join(sys.argv[1:] if argv is None else argv)
    merge(options.report, "campaign", campaign_text(options, outcome, problems, command))
    for problem in problems:
        tell(f"BROKEN: {problem}")
    tell(f"{len(outcome.samples)} samples in {outcome.seconds / 60:.0f} minutes: {options.report}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
