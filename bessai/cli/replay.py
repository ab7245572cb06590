"""``bessai replay FILE``: step a decision record through the control core and compare."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import cast

from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from bessai import __version__
from bessai.cli.durations import parse_moment
from bessai.config import SiteConfig
from bessai.control.logbook.codec import Codec
from bessai.control.logbook.reader import LogReader, Run, SegmentInfo
from bessai.control.logbook.replay import Mismatch, Replay
from bessai.control.logbook.writer import RECORDED
from bessai.control.step import SiteRules
from bessai.errors import BessaiError, ProtocolError
from bessai.plugins import load_plugin
from bessai.ports import LocalPolicy

SHOWN_FIELDS = 6


def run_replay(file: Path, begin: str | None, end: str | None, console: Console) -> bool:
    """Replay a file; True where every cycle came out bit for bit.

    Args:
        file: A decision record.
        begin: Wall time from which cycles are compared, as typed; left out, from the first.
        end: The same for the end.
        console: Where to print.

    Raises:
        BessaiError: the file cannot be read, or nothing in it can be replayed.
    """
    since = None if begin is None else parse_moment(begin, "--from")
    until = None if end is None else parse_moment(end, "--to")
    with LogReader(file) as reader:
        runs, done = reader.runs(), list[Replay]()
        for number, segments in _by_run(reader.segments(since, until)).items():
            run = runs[number]
            why_not = _why_not(run, reader.codec)
            if why_not is not None:
                console.print(_line(f"not replayed: {_name(run)}: {why_not}", "yellow"))
                continue
            replay = Replay(rules_of(run, reader.codec), reader.codec)
            _replay(replay, reader, segments, (since, until))
            done.append(replay)
            _print(run, replay, console)
    if sum(replay.cycles for replay in done) == 0:
        raise BessaiError("nothing could be replayed", field=str(file))
    return all(replay.mismatches == 0 for replay in done)


def rules_of(run: Run, codec: Codec) -> SiteRules:
    """The rules of a recorded process: the recorded numbers, and what its site file names.

    Raises:
        ProtocolError: the record lacks what is needed.
        ConfigError: the local policy of the site is not there.
    """
    found = codec.decode_kept(SiteRules, run.rules)
    if "local" in run.left_out:
        found["local"] = _local(run)
    try:
        return SiteRules(**found)  # type: ignore[arg-type]
    except TypeError as error:
        raise ProtocolError(f"the recorded rules are not of this version ({error})") from error


def _local(run: Run) -> LocalPolicy:
    try:
        name = SiteConfig.model_validate_json(run.site).local_policy
    except ValidationError as error:
        text = f"the recorded site is not of this version ({error.error_count()} mistakes)"
        raise ProtocolError(text) from error
    build = load_plugin("bessai.policies.local", name or "", "build", field="local_policy")
    return cast("LocalPolicy", build())


def _replay(
    replay: Replay,
    reader: LogReader,
    segments: list[SegmentInfo],
    between: tuple[datetime | None, datetime | None],
) -> None:
    since, until = between
    for segment in segments:
        cycles = reader.cycles(segment.id)
        replay.segment(cycles, continues=segment.continues, since=since, until=until)


def _by_run(segments: list[SegmentInfo]) -> dict[int, list[SegmentInfo]]:
    found: dict[int, list[SegmentInfo]] = {}
    for segment in segments:
        found.setdefault(segment.run, []).append(segment)
    return found


def _why_not(run: Run, codec: Codec) -> str | None:
    """Which fields differ from those of this version, or None where all are the same."""
    here, there = _flat(codec.layout(*RECORDED)), _flat(run.layout)
    if here == there:
        return None
    new = [f"{name} is new" for name in here if name not in there]
    gone = [f"{name} is gone" for name in there if name not in here]
    other = [
        f"{name} is another type" for name in here if here[name] != there.get(name, here[name])
    ]
    differs = [*new, *gone, *other]
    more = f" and {len(differs) - SHOWN_FIELDS} more" if len(differs) > SHOWN_FIELDS else ""
    return "recorded with other fields: " + ", ".join(differs[:SHOWN_FIELDS]) + more


def _flat(layout: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {
        f"{kind}.{name}": text for kind, names in layout.items() for name, text in names.items()
    }


def _name(run: Run) -> str:
    text = f"process of {run.began:%Y-%m-%d %H:%M:%S} UTC, version {run.version}"
    return text if run.version == __version__ else f"{text} (this is {__version__})"


def _print(run: Run, replay: Replay, console: Console) -> None:
    if replay.mismatches == 0:
        console.print(_line(f"ok  {_name(run)}: {replay.cycles} cycles, bit for bit", "green"))
        return
    text = f"BAD {_name(run)}: {replay.mismatches} of {replay.cycles} cycles come out another way"
    console.print(_line(text, "bold red"))
    for mismatch in replay.first:
        _print_mismatch(mismatch, console)


def _print_mismatch(mismatch: Mismatch, console: Console) -> None:
    wall = f"{mismatch.wall:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    console.print(_line(f"  {wall} UTC, cycle {mismatch.sequence}", ""))
    for one in mismatch.differences:
        text = f"    {one.path}: recorded {one.recorded}, replayed {one.replayed}"
        console.print(_line(text, ""))


def _line(text: str, style: str) -> Text:
    return Text(text, style=style, overflow="fold")
