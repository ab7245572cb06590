"""Train the seasonal price model: choose on past years, judge on unseen prices, keep a version.

Run ``python -m training.price_model --help``; it runs the same inside a Ray job.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from bessai.backtest.arbitrage import Battery, Outcome, Rolling, run_arbitrage
from bessai.config import MarketConfig
from bessai.config.load import registry_root
from bessai.errors import BessaiError, ConfigError
from bessai.forecast.seasonal import MODEL_FILE, SeasonalModel
from bessai.markets import open_market
from bessai.modelstore import DataUsed, ModelCard, ModelStore
from bessai.modelstore.store import sha256_hex
from bessai.policies.linear import LinearPolicy
from bessai.ports import PriceSource
from training.fit import Evaluation, Split, choose, evaluate
from training.provenance import data_used, software_versions

KIND = "price"
WARM_UP = timedelta(days=60)
FEATURES = (
    "price at the same UTC hour of the last days, newer days counting more",
    "type of day: work day, Saturday, Sunday",
    "level of the last 24 h and newest price, against the model's own median",
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    market: MarketConfig
    train_start: datetime
    train_end: datetime
    test_end: datetime | None
    out: Path
    version: str | None
    promote: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, report and store; the exit code is 2 after one clear line on bad input."""
    try:
        train(_parse(arguments))
    except BessaiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def train(options: Options) -> Path:
    """Run the whole job and return the folder of the new version.

    Raises:
        BessaiError: bad input, too few prices, or the version exists.
    """
    began = time.monotonic()
    store = ModelStore(options.out)
    source = open_market(options.market)
    version = options.version or f"{source.node}-{options.train_end.date() - timedelta(1)}"
    store.require_new(KIND, version)
    split = split_of(source, options)
    _say(f"{source.market} {source.node}: choose on {_span(split.train_start, split.train_end)}")
    choice = choose(source, split, version, _delay(options), _say)
    _say(f"judge on unseen {_span(split.test_start, split.test_end)}")
    scores = evaluate(source, choice, split.test_start, split.test_end, _delay(options))
    outcome = _arbitrage(source, SeasonalModel(choice), split, options)
    artefact = (choice.model_dump_json(indent=2) + "\n").encode()
    card = _card(options, split, source, version, artefact, scores, outcome)
    folder = store.add(card, artefact)
    if options.promote:
        store.promote(KIND, version)
    _report(scores, outcome)
    _say(f"wrote {folder} in {time.monotonic() - began:.0f} s")
    return folder


def split_of(source: PriceSource, options: Options) -> Split:
    """Training and test period, checked against what the source covers.

    Raises:
        ConfigError: a period is empty or outside the source.
    """
    first, end = source.coverage
    test_end = min(options.test_end or end, end)
    train_start = max(options.train_start, first + WARM_UP)
    if not train_start + timedelta(days=120) <= options.train_end <= end - timedelta(days=14):
        raise ConfigError(
            "leaves less than 120 days to train or 14 days to judge",
            field="--train-end",
            value=str(options.train_end.date() - timedelta(1)),
            fix=f"prices run from {first.date()} to {end.date()}",
        )
    if test_end < options.train_end + timedelta(days=14):
        raise ConfigError(
            "leaves less than 14 days to judge", field="--test-end", value=str(test_end.date())
        )
    return Split(train_start, options.train_end, options.train_end, test_end)


def _arbitrage(
    source: PriceSource, model: SeasonalModel, split: Split, options: Options
) -> Outcome:
    rolling = Rolling(model.forecast, LinearPolicy().plan_now, _delay(options))
    return run_arbitrage(source, Battery(), rolling, split.test_start, split.test_end)


def _card(  # noqa: PLR0913, PLR0917  # every part of a version meets here, once
    options: Options,
    split: Split,
    source: PriceSource,
    version: str,
    artefact: bytes,
    scores: Evaluation,
    outcome: Outcome,
) -> ModelCard:
    name, digest = data_used(options.market, source)
    return ModelCard(
        kind=KIND,
        version=version,
        created_at=datetime.now(UTC).replace(microsecond=0),
        node=source.node,
        unit=source.unit,
        summary="Seasonal empirical quantiles with conformal margins; p10, p50 and p90",
        features=FEATURES,
        data=DataUsed(
            file=name,
            sha256=digest,
            train_start=split.train_start,
            train_end=split.train_end,
            test_start=split.test_start,
            test_end=split.test_end,
        ),
        metrics=scores.metrics() | _money(outcome),
        artefact=MODEL_FILE,
        sha256=sha256_hex(artefact),
        software=software_versions(),
    )


def _money(outcome: Outcome) -> dict[str, float]:
    return {
        "arbitrage_capture_pct": round(outcome.capture * 100, 2),
        "arbitrage_net": round(outcome.net, 2),
        "arbitrage_perfect_net": round(outcome.perfect_net, 2),
    }


def _report(scores: Evaluation, outcome: Outcome) -> None:
    for name, value in (scores.metrics() | _money(outcome)).items():
        _say(f"  {name:<28}{value:>10.2f}")


def _delay(options: Options) -> timedelta:
    return timedelta(hours=options.market.publication_delay_h)


def _span(start: datetime, end: datetime) -> str:
    return f"{start:%Y-%m-%d} .. {end:%Y-%m-%d}"


def _say(line: str) -> None:
    print(line, flush=True)


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="training.price_model", description=__doc__)
    parser.add_argument(
        "--source", default="chile_cen", help="market drop-in (default %(default)s)"
    )
    parser.add_argument("--node", default=None, help="market node (default: the source's)")
    parser.add_argument("--path", default=None, help="price file of a source that reads one")
    parser.add_argument(
        "--publication-delay-h", type=float, default=1.0, help="default %(default)s"
    )
    parser.add_argument(
        "--train-start", default="2022-01-01", help="first day (default %(default)s)"
    )
    parser.add_argument("--train-end", default="2023-12-31", help="last day (default %(default)s)")
    parser.add_argument(
        "--test-end", default=None, help="last day to judge (default: all there is)"
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="folder of models (default: registry)"
    )
    parser.add_argument("--version", default=None, help="default <node>-<train end>")
    parser.add_argument("--promote", action="store_true", help="make it the champion")
    return _options(parser.parse_args(arguments))


def _options(given: argparse.Namespace) -> Options:
    market: dict[str, object] = {"source": given.source, "path": given.path}
    if given.node is not None:
        market["node"] = given.node
    if not 0 <= given.publication_delay_h <= 72:
        raise ConfigError(
            "must be 0 to 72", field="--publication-delay-h", value=f"{given.publication_delay_h:g}"
        )
    market["publication_delay_h"] = given.publication_delay_h
    one_day = timedelta(days=1)
    return Options(
        market=MarketConfig.model_validate(market),
        train_start=_day(given.train_start, "--train-start"),
        train_end=_day(given.train_end, "--train-end") + one_day,
        test_end=None if given.test_end is None else _day(given.test_end, "--test-end") + one_day,
        out=given.out if given.out is not None else registry_root() / "models",
        version=given.version,
        promote=given.promote,
    )


def _day(text: str, field: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            "is not a day", field=field, value=repr(text), fix="write it like 2023-12-31"
        ) from None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main())
