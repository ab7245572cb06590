"""``bessai site ID --why``: what a site decided, and why, for a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bessai.cli.client import ApiClient
from bessai.cli.durations import parse_moment
from bessai.cli.tables import DASH, number
from bessai.control.logbook import DecisionQuery
from bessai.control.logbook.views import (
    CommandView,
    DecisionsView,
    DecisionView,
    MeasuredView,
    ProposalView,
    decisions_view,
)
from bessai.errors import ConfigError

MOST = 1000
Ask = Callable[[DecisionQuery], DecisionsView]


@dataclass(frozen=True, slots=True)
class WhyOptions:
    """What to show.

    Attributes:
        last: How many decisions that changed something.
        at: Wall time as typed; what was in force then, and the changes that led to it.
        file: Read this file; left out, ask the API.
    """

    last: int = 5
    at: str | None = None
    file: Path | None = None


def show_why(url: Callable[[], str], site_id: str, options: WhyOptions, console: Console) -> None:
    """Print the decisions of a site, newest last.

    Args:
        url: Finds the API; only asked where no file is given.
        site_id: The site.
        options: What to show.
        console: Where to print.

    Raises:
        BessaiError: the API does not answer, or the file cannot be read.
    """
    if not 1 <= options.last <= MOST:
        raise ConfigError(
            "is out of range", field="--last", value=str(options.last), fix=f"use 1 to {MOST}"
        )
    at = None if options.at is None else parse_moment(options.at, "--at")
    query = DecisionQuery(last=options.last, until=at, changes=True)
    file = options.file
    if file is not None:
        found = _both(lambda asked: decisions_view(file, site_id, asked), query)
    else:
        with ApiClient(url()) as api:
            found = _both(lambda asked: api.decisions(site_id, asked), query)
    _print(found, at, console)


def _both(ask: Ask, query: DecisionQuery) -> DecisionsView:
    """The changes, and the newest cycle whatever it did."""
    changes, newest = ask(query), ask(replace(query, last=1, changes=False))
    kept = {one.sequence: one for one in (*changes.decisions, *newest.decisions)}
    ordered = [kept[sequence] for sequence in sorted(kept)]
    return changes.model_copy(update={"decisions": ordered})


def _print(found: DecisionsView, at: datetime | None, console: Console) -> None:
    for one in found.decisions:
        console.print(_head(one), soft_wrap=True)
        console.print(_body(one))
    if not found.decisions:
        until = "" if at is None else f" until {at:%Y-%m-%d %H:%M:%S} UTC"
        console.print(f"nothing is recorded of {found.site_id}{until}", markup=False)
    if found.error is not None:
        console.print(Text(f"nothing is recorded now: {found.error}", style="red"))
    if found.lost:
        text = f"{found.lost} entries could not be recorded since the site's process started"
        console.print(Text(text, style="yellow"))


def _head(one: DecisionView) -> Text:
    text = Text(f"{one.at:%Y-%m-%d %H:%M:%S} UTC  ", style="bold")
    text.append(f"{number(one.setpoint_kw, 'kW', 2, sign=True)}  ", style="bold cyan")
    if abs((one.market_at - one.at).total_seconds()) > 60:
        text.append(f"market {one.market_at:%a %Y-%m-%d %H:%M}  ", style="magenta")
    if not one.changed:
        text.append("nothing changed", style="dim")
    return text


def _body(one: DecisionView) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows = [
        ("measured", [_measured(one.measured)]),
        ("proposed", [_proposal(proposal) for proposal in one.proposals]),
        ("allowed", [_range(one.allowed.lower_kw, one.allowed.upper_kw)]),
        ("because", [f"{r.code}: {r.text}" for r in one.reasons]),
        ("decided", [_decided(one)]),
        ("level", [_level(one)]),
        ("written", [] if one.command is None else [_written(one.command)]),
        ("cause", [] if one.cause_id is None else [one.cause_id]),
    ]
    for name, lines in rows:
        for index, line in enumerate(lines):
            table.add_row(f"  {name}" if index == 0 else "", Text(line))
    return table


def _measured(seen: MeasuredView | None) -> str:
    if seen is None:
        return "the read failed"
    parts = [
        f"SoC {number(seen.soc_pct, '%')}",
        f"battery {number(seen.active_power_kw, 'kW', 2, sign=True)}",
        f"grid {number(seen.grid_power_kw, 'kW', 2, sign=True)}",
        number(seen.temperature_c, "°C"),
        seen.battery_status or DASH,
        "no command in the device"
        if seen.commanded_kw is None
        else f"the device holds {number(seen.commanded_kw, 'kW', 2, sign=True)}",
    ]
    return ", ".join([*parts, *(f"ALARM {alarm}" for alarm in seen.alarms)])


def _proposal(wish: ProposalView) -> str:
    text = f"{wish.source} ({wish.priority}): {number(wish.preferred_kw, 'kW', 2, sign=True)}"
    if wish.limits is not None:
        text += f" inside {_range(wish.limits.lower_kw, wish.limits.upper_kw)}"
    return text if wish.live else f"{text}, no longer backed by who proposed it"


def _range(lower_kw: float, upper_kw: float) -> str:
    return f"{number(lower_kw, digits=2, sign=True)} to {number(upper_kw, 'kW', 2, sign=True)}"


def _decided(one: DecisionView) -> str:
    notes = [
        (one.coasting, "kept, because the read failed"),
        (one.connection_lost, "the connection was lost"),
        (one.foreign_command, "somebody else commanded the inverter"),
        (one.not_following, "the battery does not follow"),
    ]
    return "; ".join([one.reason, *(text for applies, text in notes if applies)])


def _level(one: DecisionView) -> str:
    text = f"{one.autonomy.value}: {one.autonomy_cause}"
    return text if one.tenure_reason is None else f"{text}; only reads: {one.tenure_reason}"


def _written(command: CommandView) -> str:
    text = f"{number(command.power_kw, 'kW', 2, sign=True)} ({command.kind}): "
    match command.result:
        case None:
            return f"{text}no answer is recorded"
        case "applied":
            held = number(command.confirmed_kw, "kW", 2, sign=True)
            return f"{text}applied, the device holds {held}, {command.registers} registers written"
        case _:
            return f"{text}{command.result}: {command.error}"
