"""The campaign's part of the report, in words."""

from __future__ import annotations

from collections.abc import Sequence

from bessai.sim.observe import Summary
from tests.chaos.bed import (
    CAPACITY_KWH,
    DEAD_MAN_S,
    IMPORT_LIMIT_KW,
    LIMIT_KW,
    LOAD_KW,
    MARGIN_PCT,
    NAMEPLATE_KW,
    SOC_MAX_PCT,
    SOC_MIN_PCT,
    SPEED,
)
from tests.chaos.cluster import ABOVE, GCS
from tests.chaos.options import Options, Outcome
from tests.chaos.promises import CONTROL_AGAIN_S, LATE_CYCLE_S
from tests.chaos.report import machine, table, today


def campaign_text(options: Options, outcome: Outcome, problems: Sequence[str], command: str) -> str:
    """Markdown of the whole part."""
    return "\n\n".join(
        (
            "## Fault campaign",
            _how(options, outcome, command),
            _verdict(problems),
            table(outcome.samples),
            _legend(outcome),
            _control(outcome),
            _not_covered(options, outcome),
        )
    )


def _how(options: Options, outcome: Outcome, command: str) -> str:
    nodes = len(options.nodes)
    head = f"{today()}, {outcome.seconds / 60:.0f} minutes, {machine()}."
    bed = (
        f"{options.sites} sites on {nodes} worker nodes (raylets of their own) and a head node "
        "with supervisor, fleet and Serve, all on one machine; Ray's GCS stores in RocksDB. Each "
        "site controls a simulated SUN2000 over a real TCP connection, by plans of the real "
        "planner on Chilean prices, a day of them pressed into two hours so that power moves, at "
        f"{SPEED:g} times real time. The device's own timer, the "
        "control cycle and all times below are in real seconds: a forced command ends "
        f"{DEAD_MAN_S:g} s after its last renewal. Ray notices a node that hangs after about 16 s "
        "(health check each second, 4 failures of 3 s; Ray's own values take over a minute). "
        "Faults of single sites run side by side on different sites, those of the cluster one "
        f"after another; moments are random, seed {options.seed}."
    )
    limits = (
        f"The witness's limits: {LIMIT_KW:g} kW each way of a device of {NAMEPLATE_KW:g} kW, "
        f"{IMPORT_LIMIT_KW:g} kW from the grid beside a load of {LOAD_KW:g} kW, and the SoC "
        f"limits of the site ({SOC_MIN_PCT:g} to {SOC_MAX_PCT:g} % of {CAPACITY_KWH:g} kWh) "
        f"widened by {MARGIN_PCT:.1f} %: so much flows in one dead-man period at this speed, and "
        "a dead site cannot stop it."
    )
    return f"{head}\n\n```bash\n{command}\n```\n\n{bed}\n\n{limits}"


def _verdict(problems: Sequence[str]) -> str:
    if not problems:
        return "**Every promise was kept.**"
    lines = [f"- {problem}" for problem in problems[:40]]
    if len(problems) > 40:
        lines.append(f"- and {len(problems) - 40} more, in the raw samples")
    return "**Not as promised:**\n\n" + "\n".join(lines)


def _legend(outcome: Outcome) -> str:
    skipped = sum(s.note.startswith(("skipped", "FAILED")) for s in outcome.samples)
    lost = sum(s.details.get("missing_cycles", 0) for s in outcome.samples if s.fault == ABOVE)
    lines = [
        "Times are p50 / p95 / max; `(n=...)` where not every sample has one.",
        "- *n*: samples; `20 in 5` is 5 moments that each hit several sites.",
        "- *moving*: samples in which power flowed when the fault came (of the fleet's: at one "
        "site at least).",
        "- *safe power*: until the battery followed no command but 0 kW; a dash or a smaller n "
        "means that the command was kept.",
        "- *control again*: until the first accepted command, from the fault on where a process "
        "or a connection was lost, else from its end on. A command that nothing changes is "
        "renewed every 60 s, so up to 60 s here is no loss of control.",
        "- *back*: until a new process was there and the fleet answered over HTTP"
        f"; of the {GCS} from its new start until it had also restarted a dead supervisor.",
        "- *longest unrenewed*: longest time that the battery followed one command that nobody "
        f"renewed; the promise is {DEAD_MAN_S:g} s. A killed site's actor must control again "
        f"within {CONTROL_AGAIN_S:g} s.",
        "- *longest between cycles*: of one process, by the site's own record; the others are "
        f"from the simulator. While all above is gone at most {LATE_CYCLE_S:g} s are allowed.",
        "- *lost*: decided, and neither reached the device nor was replaced by a later decision. "
        "*doubled*: one decision written by two connections. *second master*: a connection that "
        "wrote after another one had taken over.",
        f"- {outcome.cycles} recorded control cycles were compared with the inverters' logs; "
        f"{outcome.unrecorded} could not be recorded. While all above was gone, {lost:g} were "
        f"missing. {skipped} samples were skipped or failed.",
    ]
    notes = dict.fromkeys(s.note for s in outcome.samples if s.note and s.fault == ABOVE)
    lines += [f"- {ABOVE}: {note}" for note in notes]
    return "\n".join((lines[0], "", *lines[1:]))


def _control(outcome: Outcome) -> str:
    if not outcome.control:
        return "The control run was left out."
    rows = ["| control run | outside, kWh | worst |", "|---|---|---|"]
    for case, summary in outcome.control.items():
        name = "with the envelope" if case == "safe" else "envelope replaced in the harness"
        rows.append(f"| {name} | {summary.outside_forced_kwh:.3f} | {_worst(summary)} |")
    return (
        "One site that is asked for more than it may do, with and without its envelope:\n\n"
        + "\n".join(rows)
    )


def _worst(summary: Summary) -> str:
    beyond = [e for e in summary.excesses if e.times]
    return ", ".join(f"{e.limit} by {e.worst:.2f}" for e in beyond) or "never"


def _not_covered(options: Options, outcome: Outcome) -> str:
    lines = [
        f"- Disk full: {outcome.disk}.",
        "- Clock jump: the wall clock of one site's process, by up to a day, at the place where "
        "the control loop asks for it; the machine's own clock, Ray's and the simulator's stay.",
        "- All nodes are processes of one machine: no network between them can be cut.",
        "- Inverters are simulated; nothing here was measured on hardware.",
    ]
    counts = {s.fault: 0 for s in outcome.samples}
    for sample in outcome.samples:
        counts[sample.fault] += not sample.note.startswith(("skipped", "FAILED"))
    short = [f"{k} {n}" for k, n in counts.items() if n < options.samples and k != ABOVE]
    if short:
        lines.append(f"- Fewer than {options.samples} samples: {', '.join(short)}.")
    return "How, and what is not covered:\n\n" + "\n".join(lines)
