"""``bessai devices``: the families, and what a person does when commissioning one device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bessai.cli.durations import parse_duration_s
from bessai.errors import ConfigError

if TYPE_CHECKING:
    from bessai.cli.devices_target import Target

devices_app = typer.Typer(
    no_args_is_help=True, help="Device families, and one real device at a time."
)
console = Console()

Host = Annotated[str, typer.Argument(metavar="HOST", help="Name or address of the device.")]
Profile = Annotated[str, typer.Option("--profile", help="Device family; `probe` finds it.")]
Port = Annotated[int | None, typer.Option(help="TCP port; the family's if left out.")]
UnitId = Annotated[int | None, typer.Option(help="Unit id; the family's if left out.")]
User = Annotated[str, typer.Option(help="Of the login, where a password is given.")]
PasswordFile = Annotated[
    Path | None, typer.Option(help="Its first line logs in, where the family has a login.")
]


@devices_app.command("list")
def list_() -> None:
    """List the device families."""
    from bessai.cli.devices_list import list_profiles  # noqa: PLC0415

    list_profiles(console)


@devices_app.command()
def show(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="e.g. huawei_sun2000.")],
    *,
    points: Annotated[bool, typer.Option("--points", help="List the register map too.")] = False,
) -> None:
    """Show what a family needs and offers."""
    from bessai.cli.devices_list import show_profile  # noqa: PLC0415
    from bessai.config.load import load_profile  # noqa: PLC0415

    show_profile(load_profile(profile, field="PROFILE"), console, points=points)


@devices_app.command()
def probe(
    host: Host,
    port: Annotated[int | None, typer.Option(help="Try this TCP port only.")] = None,
    unit_id: Annotated[int | None, typer.Option(help="Try this unit id only.")] = None,
    profile: Annotated[str | None, typer.Option(help="Try this family only.")] = None,
    deadline: Annotated[str, typer.Option(help="Longest wait for each answer.")] = "1.5s",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for programs.")] = False,
) -> None:
    """Find port, unit id and family of a device, read all of it, and say what looks wrong.

    Nothing is written. A device with one connection only must not be in use by another program.
    """
    from bessai.cli.devices_list import known_profiles  # noqa: PLC0415
    from bessai.cli.devices_probe import run_probe  # noqa: PLC0415
    from bessai.cli.devices_target import check_port, check_unit_id  # noqa: PLC0415
    from bessai.config.load import load_profile  # noqa: PLC0415
    from bessai.devices.probe import Where  # noqa: PLC0415

    check_port(port)
    check_unit_id(unit_id)
    families = known_profiles() if profile is None else [load_profile(profile, field="--profile")]
    where = Where(
        host,
        () if port is None else (port,),
        () if unit_id is None else (unit_id,),
        parse_duration_s(deadline, "--deadline"),
    )
    run_probe(where, families, console, as_json=as_json)


@devices_app.command()
def watch(
    host: Host,
    profile: Profile,
    port: Port = None,
    unit_id: UnitId = None,
    every: Annotated[str, typer.Option(help="Time between two reads.")] = "1s",
    for_: Annotated[
        str | None, typer.Option("--for", help="End after this long, e.g. 10s or 5m.")
    ] = None,
) -> None:
    """Show what a site would see of a device, until Ctrl-C."""
    from bessai.cli.devices_watch import run_watch  # noqa: PLC0415

    for_s = None if for_ is None else parse_duration_s(for_, "--for")
    every_s = parse_duration_s(every, "--every")
    run_watch(_target(host, profile, port, unit_id), every_s, for_s, console)


@devices_app.command("set", context_settings={"ignore_unknown_options": True})
def set_(  # noqa: PLR0913 - one option each
    host: Host,
    point: Annotated[str, typer.Argument(metavar="POINT|power|release")],
    value: Annotated[str | None, typer.Argument(metavar="VALUE")] = None,
    *,
    profile: Profile,
    port: Port = None,
    unit_id: UnitId = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="Hold a power this long, e.g. 60s.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    user: User = "installer",
    password_file: PasswordFile = None,
) -> None:
    """Write one point, or hold a power: `power -3.0` charges with 3 kW, + discharges.

    What is written is shown before, and read back. A power is renewed until --for is over or
    Ctrl-C, then the device is released; `release` alone does only that.
    """
    from bessai.cli.devices_power import run_power, run_release  # noqa: PLC0415
    from bessai.cli.devices_set import run_set_point  # noqa: PLC0415

    target = _target(host, profile, port, unit_id, user, password_file)
    for_s = None if for_ is None else parse_duration_s(for_, "--for")
    if for_s is not None and point != "power":
        raise ConfigError("holds a power only", field="--for", fix="leave it out")
    if point == "release":
        if value is not None:
            raise ConfigError("takes no value", field="release", value=repr(value))
        run_release(target, console, yes=yes)
    elif value is None:
        raise ConfigError("is missing", field="VALUE", fix=f"write `{point} VALUE`")
    elif point == "power":
        run_power(target, _power_kw(value), for_s, console, yes=yes)
    else:
        run_set_point(target, point, value, console, yes=yes)


@devices_app.command()
def proxy(  # noqa: PLR0913 - one option each
    host: Host,
    profile: Profile,
    port: Port = None,
    unit_id: UnitId = None,
    listen: Annotated[str, typer.Option(help="Where guests connect.")] = "127.0.0.1:5020",
    *,
    allow_writes: Annotated[
        bool, typer.Option("--allow-writes", help="Let guests command the device.")
    ] = False,
    allow_from: Annotated[
        list[str] | None,
        typer.Option(help="Network of guests beside this machine; may be repeated."),
    ] = None,
    user: User = "installer",
    password_file: PasswordFile = None,
) -> None:
    """Let several programs share the one connection that a device allows, until Ctrl-C."""
    from bessai.cli.devices_proxy import parse_listen, run_proxy  # noqa: PLC0415
    from bessai.devices.door import Door, parse_networks  # noqa: PLC0415

    target = _target(host, profile, port, unit_id, user, password_file)
    door = Door(*parse_listen(listen), parse_networks(allow_from or ()))
    run_proxy(target, door, console, allow_writes=allow_writes)


def _target(
    host: str,
    profile: str,
    port: int | None,
    unit_id: int | None,
    user: str = "installer",
    password_file: Path | None = None,
) -> Target:
    from bessai.cli.devices_target import make_target  # noqa: PLC0415
    from bessai.config.load import load_profile  # noqa: PLC0415

    family = load_profile(profile, field="--profile")
    return make_target(host, family, port, unit_id, user, password_file)


def _power_kw(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            "is no power in kW", field="power", value=repr(text), fix="write e.g. 3.0 or -3.0"
        ) from None
