"""Judge the anomaly model on days it never saw, beside plain thresholds, event by event.

Run ``python -m training.intrusion_evaluate --report docs/concepts/intrusion-results.md``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bessai.config.load import registry_root
from bessai.errors import BessaiError, ConfigError
from bessai.intrusion.forest import Floats, Forest
from bessai.intrusion.model import IntrusionModel, load_model
from bessai.modelstore import ModelStore
from training.intrusion import (
    MOST_FALSE,
    NEEDED,
    SAMPLES,
    TRAIN_SEED,
    VALIDATE_SEED,
    WINDOW,
    isolation_forest,
    lowest_threshold,
    to_forest,
)
from training.intrusion_attacks import KINDS
from training.intrusion_captures import capture_folder, judge_captures
from training.intrusion_features import Day, Job, alarm_spans, days_of
from training.intrusion_judge import Report, Spans, judge, merged
from training.intrusion_text import captures_text, details_text, kinds_text, summary_text

CLEAN_SEED: Final = 4000
ATTACK_SEED: Final = 5000
PLAIN_TRAIN_DAYS: Final = 8
PLAIN_VALIDATE_DAYS: Final = 16
Detector = Callable[[Day], Spans]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    report: Path | None
    models: Path
    version: str | None
    clean_days: int
    attack_days: int
    workers: int
    plain_forest: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """A day with what the model made of it."""

    scaled_top: Floats
    scores: Floats


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge and report; the exit code is 2 after one clear line on bad input."""
    try:
        text = evaluate(_parse(arguments))
    except BessaiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


def evaluate(options: Options) -> str:
    """Simulate the days, run all detectors, write the report and return it.

    Raises:
        BessaiError: no usable model, or the report cannot be written.
    """
    began = time.monotonic()
    model = load_model(ModelStore(options.models), options.version)
    clean = days_of([Job(CLEAN_SEED + k) for k in range(options.clean_days)], options.workers)
    attacked = days_of(
        [Job(ATTACK_SEED + k, attacked=True) for k in range(options.attack_days)], options.workers
    )
    detectors = model_detectors(model, (*clean, *attacked))
    if options.plain_forest:
        detectors["forest as it comes"] = plain_forest_detector(options, (*clean, *attacked))
    reports = [judge(name, detector, clean, attacked) for name, detector in detectors.items()]
    folder = capture_folder()
    text = report_text(options, model, reports, folder)
    if options.report is not None:
        try:
            options.report.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"cannot be written ({error.strerror})", field="--report", value=str(options.report)
            ) from None
    print(f"judged in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return text


def model_detectors(model: IntrusionModel, days: Sequence[Day]) -> dict[str, Detector]:
    """Plain thresholds, each part of the watch by itself, and the watch as a whole."""
    params = model.params
    judged = {id(day): _judged(model, day) for day in days}

    def baseline(day: Day) -> Spans:
        return alarm_spans(day.baseline, params.needed, params.window)

    def command(day: Day) -> Spans:
        return alarm_spans(day.foreign, 1, 1)

    def limits(day: Day) -> Spans:
        odd = judged[id(day)].scaled_top > params.limit
        return alarm_spans(odd, params.needed, params.window)

    def forest(day: Day) -> Spans:
        odd = judged[id(day)].scores < params.threshold
        return alarm_spans(odd, params.needed, params.window)

    return {
        "plain thresholds": baseline,
        "foreign command": command,
        "limits": limits,
        "forest": forest,
        "watch without forest": lambda day: merged(command(day), limits(day)),
        "watch": lambda day: merged(command(day), limits(day), forest(day)),
    }


def plain_forest_detector(options: Options, days: Sequence[Day]) -> Detector:
    """An isolation forest on the features as they are, the usual recipe, chosen the same way."""
    train = days_of([Job(TRAIN_SEED + k) for k in range(PLAIN_TRAIN_DAYS)], options.workers)
    rows = np.concatenate([day.features for day in train])
    rng = np.random.default_rng(1)
    fitted = isolation_forest(rows[rng.integers(0, len(rows), SAMPLES)].astype(np.float64), 1)
    forest: Forest = to_forest(fitted)
    unseen = days_of([Job(VALIDATE_SEED + k) for k in range(PLAIN_VALIDATE_DAYS)], options.workers)
    threshold = lowest_threshold([forest.score_many(day.features) for day in unseen])
    scores = {id(day): forest.score_many(day.features) for day in days}
    return lambda day: alarm_spans(scores[id(day)] < threshold, NEEDED, WINDOW)


def report_text(
    options: Options, model: IntrusionModel, reports: Sequence[Report], folder: Path | None
) -> str:
    """The whole report as Markdown."""
    watch = next(report for report in reports if report.name == "watch")
    days = watch.clean_days
    parts = [
        "# Intrusion detection: results\n",
        "Written by `python -m training.intrusion_evaluate --report "
        "docs/concepts/intrusion-results.md`; what it means is in [intrusion.md](intrusion.md).\n",
        f"Model `{model.params.version}`. Test days were seen by nobody before: {days:g} clean "
        f"site-days (seeds from {CLEAN_SEED}) and {options.attack_days} attacked ones (seeds from "
        f"{ATTACK_SEED}), one attack of each of {len(KINDS)} kinds a day, one cycle a second. "
        f"Limits and thresholds were chosen on other clean days, with at most {MOST_FALSE} false "
        "alarm each on all of them.\n",
        "## Detectors side by side\n",
        summary_text(reports),
        "## Attacks detected, by kind\n",
        kinds_text(reports, list(KINDS)),
        "## The watch as a whole\n",
        details_text(watch),
        "## Labelled Modbus captures\n",
        captures_text(judge_captures(folder))
        if folder is not None
        else "Not judged: the captures are not here. `BESSAI_CAPTURES` names their folder.\n",
    ]
    return "\n".join(parts)


def _judged(model: IntrusionModel, day: Day) -> Judged:
    scaled = model.scaled(day.features)
    return Judged(scaled.max(axis=1), model.forest.score_many(scaled))


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="training.intrusion_evaluate", description=__doc__)
    parser.add_argument("--report", type=Path, default=None, help="Markdown file to write")
    parser.add_argument("--models", type=Path, default=registry_root() / "models")
    parser.add_argument("--version", default=None, help="default: the champion")
    parser.add_argument("--clean-days", type=int, default=30, help="default %(default)s")
    parser.add_argument("--attack-days", type=int, default=30, help="default %(default)s")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--no-plain-forest",
        action="store_false",
        dest="plain_forest",
        help="leave out the row that needs the training days again",
    )
    found = parser.parse_args(arguments)
    if found.clean_days < 1 or found.attack_days < 1:
        raise ConfigError("must be at least 1", field="--clean-days, --attack-days")
    return Options(**vars(found))


if __name__ == "__main__":
    sys.exit(main())
