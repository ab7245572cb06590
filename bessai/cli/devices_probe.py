"""``bessai devices probe``: what answers at an address, all it tells, and what looks wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bessai.cli.tables import DASH
from bessai.config.profile import DeviceProfile
from bessai.devices.checks import CheckResult
from bessai.devices.probe import Attempt, Device, Match, ProbeReport, Where, probe
from bessai.errors import DeviceError

_WHAT_TO_CHECK = (
    "check that Modbus TCP is switched on in the device, that no other client holds its only "
    "connection, that no firewall is between, and --port and --unit-id"
)


def run_probe(
    where: Where, profiles: Sequence[DeviceProfile], console: Console, *, as_json: bool
) -> None:
    """Probe and print the report.

    Raises:
        DeviceError: nothing was found, or what was found cannot be read.
    """

    def tell(attempt: Attempt) -> None:
        if not as_json:
            console.print(_attempt(attempt), highlight=False, soft_wrap=True)

    with _without_warnings():  # what the device lacks is part of the report
        report = asyncio.run(probe(where, profiles, tell=tell))
    if as_json:
        print(json.dumps(to_json(where, report), indent=2))
    elif report.device is not None and report.search.match is not None:
        _print(report.search.match, report.device, console)
    if report.search.match is None:
        raise DeviceError("no known device answers", field=where.host, fix=_WHAT_TO_CHECK)
    if report.problem is not None:
        raise DeviceError(f"found, but could not be read: {report.problem}", field=where.host)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    logger = logging.getLogger("bessai.devices")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def to_json(where: Where, report: ProbeReport) -> dict[str, object]:
    """The report for programs; numbers in the point's unit, null where not available."""
    match = report.search.match
    return {
        "host": where.host,
        "attempts": [
            {"port": a.port, "unit_id": a.unit_id, "profile": a.family, "result": a.result}
            for a in report.search.attempts
        ],
        "found": None if match is None else _found(match),
        "problem": report.problem,
        "device": None if report.device is None else _device(report.device),
    }


def _found(match: Match) -> dict[str, object]:
    return {
        "port": match.port,
        "unit_id": match.unit_id,
        "profile": match.profile.name,
        "certain": match.certain,
        "model": match.identity.model,
        "serial_number": match.identity.serial_number,
        "firmware": match.identity.firmware,
    }


def _device(device: Device) -> dict[str, object]:
    reading, survey = device.survey.reading, device.survey
    return {
        "requests": survey.requests,
        "points": {
            name: {"value": reading.number(name), "unit": point.unit, "shown": reading.text(name)}
            for name, point in device.profile.points.items()
            if reading.registers(name) is not None
        },
        "lacking": dict(survey.lacking),
        "barred": list(survey.barred),
        "checks": [
            {
                "name": law.name,
                "left": law.left,
                "right": law.right,
                "unit": law.unit,
                "ok": law.ok,
                "telling": law.telling,
            }
            for law in device.laws
        ],
        "implausible": [
            {"name": one.name, "shown": one.shown, "reason": one.reason}
            for one in device.implausible
        ],
    }


def _attempt(attempt: Attempt) -> Text:
    unit = "" if attempt.unit_id is None else f" unit {attempt.unit_id}"
    family = "" if attempt.family is None else f" {attempt.family}"
    return Text(f"port {attempt.port}{unit}{family}: {attempt.result}", style="dim")


def _print(match: Match, device: Device, console: Console) -> None:
    reading, survey = device.survey.reading, device.survey
    console.print(_points(device))
    for title, names in (("not there", tuple(survey.lacking)), ("not readable now", survey.barred)):
        if names:
            console.print(Text(f"{title}: {', '.join(names)}", style="dim"))
    for law in device.laws:
        console.print(_law(law), soft_wrap=True)
    for one in device.implausible:
        text = f"DOUBT  {one.name} = {one.shown}: {one.reason}"
        console.print(Text(text, style="yellow"), soft_wrap=True)
    known = sum(reading.text(name) is not None for name in device.profile.points)
    word = "is" if match.certain else "may be"
    identity = device.identity
    about = " ".join(filter(None, (identity.serial_number, identity.firmware)))
    console.print(
        Text(
            f"{identity.model} ({about or DASH}) {word} profile {match.profile.name}: port "
            f"{match.port}, unit {match.unit_id}; {known} values in {survey.requests} reads, "
            f"{len(device.broken)} checks failed, {len(device.implausible)} doubts",
            style="bold",
        ),
        soft_wrap=True,
    )


def _points(device: Device) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name in device.profile.points:
        if device.survey.reading.registers(name) is not None:
            table.add_row(Text(name), Text(device.survey.reading.text(name) or DASH))
    return table


def _law(law: CheckResult) -> Text:
    if law.left is None or law.right is None:
        return Text(f"?      {law.name}: a value is missing", style="dim")
    numbers = f"{law.left:.0f} {law.unit} and {law.right:.0f} {law.unit}"
    if not law.ok:
        return Text(
            f"WRONG  {law.name}: {numbers}; a wrong sign, gain or register", style="bold red"
        )
    if not law.telling:
        return Text(f"ok     {law.name}: {numbers}; too little power to tell", style="dim")
    return Text(f"ok     {law.name}: {numbers}", style="green")
