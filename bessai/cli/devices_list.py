"""``bessai devices list`` and ``show``: the families, and one of them in full."""

from __future__ import annotations

import re

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bessai.cli.tables import DASH
from bessai.config.load import load_profile, registry_root
from bessai.config.profile import MAIN, DeviceProfile, Evidence, Persistence, Point

_BRACKETS = re.compile(r" \([^)]*\)")
"""What a title says beyond the family's name; `show` has all of it."""


def known_profiles() -> list[DeviceProfile]:
    """All families of the registry, by name.

    Raises:
        ConfigError: one of the files is wrong.
    """
    names = sorted(path.stem for path in (registry_root() / "devices").glob("*.yaml"))
    return [load_profile(name) for name in names]


def list_profiles(console: Console) -> None:
    """One row per family."""
    table = _table("profile", "family", "points", "control", "dead-man", "verified by")
    for column in table.columns:
        column.no_wrap = column.header != "family"
    for profile in known_profiles():
        table.add_row(
            profile.name,
            Text(_BRACKETS.sub("", profile.title)),
            str(len(profile.points)),
            "forced power" if profile.controllable else "monitor only",
            _dead_man(profile),
            _weakest(profile).value,
        )
    console.print(table)
    console.print("Verified by: the weakest evidence, see docs/reference/devices.md.")


def show_profile(profile: DeviceProfile, console: Console, *, points: bool) -> None:
    """What one family is, needs and offers, and its register map where asked for."""
    connection, maturity, limits = profile.connection, profile.maturity, profile.limits
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in (
        ("profile", profile.name),
        ("family", profile.title),
        ("source", profile.source),
        ("port", _listed(connection.ports)),
        ("unit id", _listed(connection.unit_ids)),
        *((f"unit {name}", _listed(ids)) for name, ids in connection.other_units.items()),
        ("clients", "any number" if connection.max_clients is None else _clients(profile)),
        ("login", connection.login or "none"),
        ("offers", ", ".join(one.value for one in profile.capabilities) or DASH),
        ("tells", ", ".join(profile.telemetry)),
        ("control", _control(profile)),
        ("dead-man", _dead_man(profile)),
        (
            "limits",
            f"{limits.max_charge_kw:g} kW charge, {limits.max_discharge_kw:g} kW discharge",
        ),
        ("checks", "; ".join(check.name for check in profile.checks) or DASH),
        (
            "verified",
            f"reading {maturity.reading}, control {maturity.control}, dead-man "
            f"{maturity.dead_man}, persistence {maturity.persistence}",
        ),
        ("notes", maturity.notes),
        ("points", f"{len(profile.points)}{'' if points else ', add --points to list them'}"),
    ):
        table.add_row(name, Text(str(text)))
    console.print(table)
    if points:
        console.print(_points(profile))


def persistence_of(point: Point) -> str:
    """What a write of the point costs, for a person."""
    return "read-only" if point.persistence is Persistence.READ_ONLY else point.persistence.value


def _points(profile: DeviceProfile) -> Table:
    table = _table("point", "register", "type", "unit", "write", "values")
    for name, point in sorted(profile.points.items(), key=_place):
        table.add_row(
            name, _register(point), _type(point), point.unit, persistence_of(point), _values(point)
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _place(entry: tuple[str, Point]) -> tuple[str, str, int, int]:
    point = entry[1]
    return (point.device, point.table.value, point.model or 0, point.address)


def _register(point: Point) -> str:
    where = "" if point.device == MAIN else f"{point.device} "
    where += "" if point.model is None else f"model {point.model} + "
    table = " input" if point.table.value == "input" else ""
    return f"{where}{point.address}{table}"


def _type(point: Point) -> str:
    count = f" x{point.count}" if point.type.value == "string" else ""
    return f"{point.type}{count}{' little' if point.word_order.value == 'little' else ''}"


def _values(point: Point) -> Text:
    if point.enum:
        return Text(", ".join(f"{raw} {label}" for raw, label in point.enum.items()))
    if point.bits:
        return Text(", ".join(f"bit {bit} {label}" for bit, label in point.bits.items()))
    low = "" if point.minimum is None else f"{point.minimum:g}"
    high = "" if point.maximum is None else f"{point.maximum:g}"
    return Text(f"{low} .. {high}" if low or high else point.title)


def _control(profile: DeviceProfile) -> str:
    if not profile.controllable:
        return "monitor only"
    wearing = {
        step.point
        for program in profile.programs.values()
        for step in program.steps
        if profile.points[step.point].persistence.budgeted
    }
    return "forced power, may wear memory" if wearing else "forced power"


def _dead_man(profile: DeviceProfile) -> str:
    if not profile.controllable:
        return DASH
    return "none" if profile.dead_man is None else f"{profile.dead_man.period_s} s"


def _weakest(profile: DeviceProfile) -> Evidence:
    """How reading, and controlling where that is possible, were verified at least."""
    maturity, order = profile.maturity, list(Evidence)
    claims = (maturity.reading, maturity.control) if profile.controllable else (maturity.reading,)
    return min(claims, key=order.index)


def _clients(profile: DeviceProfile) -> str:
    return f"{profile.connection.max_clients} at a time, see `bessai devices proxy`"


def _listed(numbers: tuple[int, ...]) -> str:
    first, *others = [str(number) for number in numbers]
    return f"{first} (or {', '.join(others)})" if others else first
