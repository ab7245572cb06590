"""The report of the evaluation as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from training.intrusion_captures import CaptureReport
from training.intrusion_judge import Report, Tally


def summary_text(reports: Sequence[Report]) -> str:
    """One row per detector."""
    head = (
        "| detector | attacks detected | precision | false alarms per clean site-day | "
        "delay, median | delay, p90 | after-effects |",
        "|---|---|---|---|---|---|---|",
    )
    rows = [
        f"| {report.name} | {report.detected} of {report.events} "
        f"({100 * report.detected / max(report.events, 1):.0f} %) | {_share(report.precision)} | "
        f"{report.false_clean / report.clean_days:.2f} ({report.false_clean}) | "
        f"{_seconds(_all(report).quantile_s(0.5))} | {_seconds(_all(report).quantile_s(0.9))} | "
        f"{report.after} |"
        for report in reports
    ]
    note = (
        "\nPrecision: alarms on attacked days that began in an attack, of those that did or that "
        "were false. After-effects began within an hour after one and count as neither.\n"
    )
    return "\n".join((*head, *rows)) + "\n" + note


def kinds_text(reports: Sequence[Report], kinds: Sequence[str]) -> str:
    """Kinds down, detectors across."""
    head = (
        "| attack | " + " | ".join(report.name for report in reports) + " |",
        "|---|" + "---|" * len(reports),
    )
    rows = [
        f"| {kind} | "
        + " | ".join(f"{r.kinds[kind].detected}/{r.kinds[kind].events}" for r in reports)
        + " |"
        for kind in kinds
    ]
    return "\n".join((*head, *rows)) + "\n"


def details_text(report: Report) -> str:
    """One detector by kind, and by field or manner."""
    head = (
        "| attack | what | events | detected | recall | delay, median | delay, p90 |",
        "|---|---|---|---|---|---|---|",
    )
    rows = []
    for kind, tally in report.kinds.items():
        rows.append(_detail(kind, "all", tally))
        parts = {what: t for (k, what), t in sorted(report.details.items()) if k == kind}
        if len(parts) > 1:
            rows += [_detail("", what, part) for what, part in parts.items()]
    return "\n".join((*head, *rows)) + "\n"


def captures_text(reports: Sequence[CaptureReport]) -> str:
    """One row per capture."""
    head = (
        "| capture | seconds | attack connections (Modbus) | found by allow-list | longest delay | "
        "attack requests found | findings in other packets | found by flow forest | "
        "its false alarms |",
        "|---|---|---|---|---|---|---|---|---|",
    )
    rows = [
        f"| {r.name.removeprefix('modbus_')} | {r.seconds:.0f} | {r.attacks} "
        f"({r.modbus_attacks}) | {r.detected} | {_seconds(max(r.delays_s, default=None))} | "
        f"{r.found_requests} of {r.attack_requests} | {len(r.false_findings)} | "
        f"{r.forest_detected} | {r.forest_false} |"
        for r in reports
    ]
    false = sorted({text for r in reports for text in r.false_findings})
    notes = ["", "Findings in packets that belong to no attack:", ""] if false else []
    return "\n".join((*head, *rows, *notes, *(f"- {text}" for text in false))) + "\n"


def _detail(kind: str, what: str, tally: Tally) -> str:
    recall = 100 * tally.detected / max(tally.events, 1)
    return (
        f"| {kind} | {what} | {tally.events} | {tally.detected} | {recall:.0f} % | "
        f"{_seconds(tally.quantile_s(0.5))} | {_seconds(tally.quantile_s(0.9))} |"
    )


def _all(report: Report) -> Tally:
    delays = [at for tally in report.kinds.values() for at in tally.delays_s]
    return Tally(report.events, delays)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
