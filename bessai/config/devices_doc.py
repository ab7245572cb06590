"""``docs/reference/devices.md``: what each device profile offers and how that was verified.

``python -m bessai.config.devices_doc FILE`` writes it; a test keeps the file in the repository
current. A claim in the table is a field of a profile, so nothing can be claimed here alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bessai.config.load import load_profile, registry_root
from bessai.config.profile import DeviceProfile, Maturity

INTRODUCTION: Final = """\
# Devices

<!-- Made from registry/devices by `make docs`; edit the profiles, not this page. -->

One [profile](../../registry/devices/README.md) describes one family of inverters. This page is made
from the profiles.

**No family was checked on physical hardware unless its row says `hardware`.** Commission a site
with small powers, a person beside the device and tight limits in the [fleet file](fleet-file.md).
"""

MATURITY: Final = """\
## Verified how
Weakest evidence first:

- `none`;
- `documented`: by the vendor's map, or by drivers in the field;
- `simulator`: this project's driver against this project's simulated device, over TCP;
- `third party`: an independent client read and controlled that simulator too (`tests/interop`):
  `mbpoll` and raw pymodbus and pyModbusTCP for `huawei_sun2000`, `mbpoll` for `sungrow_sh`,
  `pysunspec2` for `sunspec` and `fronius_gen24`, both for `solaredge`;
- `hardware`.

*Reading*: values, units and signs. *Control*: charge, discharge, hold and release. *Dead-man*: the
device ends a command by itself. *Persistence*: which registers are stored.
"""

FOREIGN: Final = """\
## Writes of another client
A forced command that somebody else writes, its power or its mode, and a release too, is seen
within two control cycles wherever the device tells which command it holds. A family whose command
cannot be read back hides it: there only the battery's power shows it.

"""

ABSENT: Final = """\
## Not here
- **Tesla**: a Powerwall has no local Modbus interface for third parties. The controller of a
  Megapack plant speaks Modbus TCP to the plant's operator, but no register map of it is public.
- **BYD** battery boxes: they hang on the battery interface of another maker's inverter and take no
  power commands of their own. Use the profile of that inverter.

A profile for either would name registers that do not exist or that nobody published.
"""


def devices_table() -> str:
    """The page, from all profiles of the registry.

    Raises:
        ConfigError: a profile is wrong.
    """
    names = sorted(path.stem for path in (registry_root() / "devices").glob("*.yaml"))
    return devices_page([load_profile(name) for name in names])


def devices_page(profiles: Sequence[DeviceProfile]) -> str:
    """The page as Markdown, families in the order of their titles."""
    families = sorted(profiles, key=lambda profile: profile.title.lower())
    parts = (
        INTRODUCTION,
        "## Families\n" + _families(families),
        MATURITY + "\n" + _maturity(families),
        FOREIGN + _foreign(families),
        ABSENT,
        *(_section(profile) for profile in families),
    )
    return "\n".join(parts)


def _families(profiles: Iterable[DeviceProfile]) -> str:
    head = (
        "family",
        "profile",
        "points",
        "control",
        "dead-man on the device",
        "registers in programs that may wear out",
        "port, unit",
    )
    rows = (
        (
            f"[{profile.title}](#{_anchor(profile.title)})",
            f"`{profile.name}`",
            str(len(profile.points)),
            _control(profile),
            _dead_man(profile),
            ", ".join(_worn(profile)) or "none",
            f"{profile.connection.default_port}, {profile.connection.default_unit_id}",
        )
        for profile in profiles
    )
    return _table(head, rows)


def _maturity(profiles: Iterable[DeviceProfile]) -> str:
    aspects = [name for name in Maturity.model_fields if name != "notes"]
    rows = (
        (f"`{p.name}`", *(str(getattr(p.maturity, aspect)) for aspect in aspects)) for p in profiles
    )
    return _table(("profile", *(aspect.replace("_", "-") for aspect in aspects)), rows)


def _foreign(profiles: Iterable[DeviceProfile]) -> str:
    rows = ((f"`{p.name}`", _foreign_seen(p)) for p in profiles if p.controllable)
    return _table(("profile", "a foreign command is"), rows)


def _foreign_seen(profile: DeviceProfile) -> str:
    if profile.command_readable:
        return "seen within two cycles"
    names = dict.fromkeys(name for state in profile.commanded for name in state.points)
    hidden = [f"`{name}`" for name in names if not profile.points[name].readable]
    return f"**not seen**: {', '.join(hidden)} can only be written"


def _section(profile: DeviceProfile) -> str:
    file = f"{profile.name}.yaml"
    offers = ", ".join(capability.replace("_", " ") for capability in profile.capabilities)
    facts = [
        f"- Profile: [{file}](../../registry/devices/{file})",
        f"- Offers: {offers or 'values only'}",
        f"- At most: {profile.limits.max_charge_kw:g} kW charge, "
        f"{profile.limits.max_discharge_kw:g} kW discharge",
        f"- Connection: {_connection(profile)}",
        f"- Plausibility: {'; '.join(check.name for check in profile.checks) or 'no check'}",
        f"- Source: {_line(profile.source)}",
    ]
    return f"## {profile.title}\n{_line(profile.maturity.notes)}\n\n" + "\n".join(facts) + "\n"


def _control(profile: DeviceProfile) -> str:
    if not profile.controllable:
        return "monitor only"
    if not profile.command_readable:
        return "forced power; the command cannot be read back"
    return "forced power"


def _dead_man(profile: DeviceProfile) -> str:
    if not profile.controllable:
        return "-"
    if profile.dead_man is None:
        return "**none**"
    restarted_by = ", ".join(f"`{name}`" for name in profile.dead_man.restarted_by)
    renewed = "" if profile.dead_man.renew_s is None else f" every {profile.dead_man.renew_s:g} s"
    return f"{profile.dead_man.period_s} s, restarted{renewed} by {restarted_by}"


def _worn(profile: DeviceProfile) -> Iterator[str]:
    """Points of the programs that are written on change only, with their addresses."""
    written = {step.point for program in profile.programs.values() for step in program.steps}
    for name in sorted(written):
        point = profile.points[name]
        if point.persistence.budgeted:
            place = f"model {point.model}" if point.model is not None else str(point.address)
            yield f"`{name}` ({place}, {point.persistence})"


def _connection(profile: DeviceProfile) -> str:
    connection = profile.connection
    parts = [_choices("port", connection.ports), _choices("unit", connection.unit_ids)]
    parts += [_choices(f"`{name}` unit", ids) for name, ids in connection.other_units.items()]
    if connection.max_clients is not None:
        parts.append(f"at most {connection.max_clients} client(s)")
    if connection.login is not None:
        parts.append(f"login `{connection.login}`")
    return "; ".join(parts)


def _choices(what: str, numbers: Sequence[int]) -> str:
    first, *others = numbers
    return f"{what} {first}" + (f" (or {', '.join(map(str, others))})" if others else "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(text.split())


def _anchor(heading: str) -> str:
    """The anchor that code hosts give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def main(arguments: list[str]) -> int:
    """Write the page to the named file, or to standard output."""
    if arguments:
        Path(arguments[0]).write_text(devices_table(), encoding="utf-8")
    else:
        sys.stdout.write(devices_table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
