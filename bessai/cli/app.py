"""The commands and their options."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bessai import __version__
from bessai.cli.demo_fleet import DEFAULT_START, MAX_SITES
from bessai.cli.devices import devices_app
from bessai.cli.durations import parse_duration_s, parse_moment
from bessai.cli.sim import sim_app
from bessai.errors import BessaiError, ConfigError

app = typer.Typer(
    name="bessai",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(devices_app, name="devices")
app.add_typer(sim_app, name="sim")
console = Console()
FleetOption = Annotated[str | None, typer.Option("--fleet", help="Which fleet, by its id.")]
UrlOption = Annotated[str | None, typer.Option("--url", help="Address of the API, if elsewhere.")]
OneSite = Annotated[str | None, typer.Argument(metavar="SITE", help="The site.")]
AllSites = Annotated[bool, typer.Option("--all", help="All sites of the fleet.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, in one line.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who says so; by default this user.")]


def run() -> None:
    """Run the command line; one line per mistake, never a traceback for one of the user's."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        app()
    except (BessaiError, OSError) as error:  # OSError: a full disk, a folder without rights
        sys.stderr.write(f"bessai: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _version(asked: bool) -> None:
    if asked:
        console.print(__version__, highlight=False)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Run fleets of battery energy storage sites as one power plant.

    Start with `bessai demo`; then copy fleet.yaml, change it, and `bessai up fleet.yaml`.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


@app.command()
def demo(
    sites: Annotated[int, typer.Option(help=f"Number of simulated sites, 1 to {MAX_SITES}.")] = 6,
    speed: Annotated[float, typer.Option(help="Market seconds per real second, 1 to 3600.")] = 600,
    for_: Annotated[
        str | None, typer.Option("--for", help="End after this long, e.g. 60s or 5m.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Market time to begin at, e.g. 2024-05-20T04:00Z.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the page; 0 takes a free one.")] = None,
) -> None:
    """Run a simulated fleet on real Chilean spot prices until Ctrl-C."""
    from bessai.cli.demo import DemoOptions, run_demo  # noqa: PLC0415

    if not 1 <= sites <= MAX_SITES:
        raise ConfigError(
            "is out of range", field="--sites", value=str(sites), fix=f"use 1 to {MAX_SITES}"
        )
    if not 1 <= speed <= 3600:
        raise ConfigError("is out of range", field="--speed", value=f"{speed:g}", fix="1 to 3600")
    if port is not None and not 0 <= port <= 65535:
        raise ConfigError("is not a port", field="--port", value=str(port), fix="use 0 to 65535")
    options = DemoOptions(
        sites=sites,
        speed=speed,
        start=DEFAULT_START if start is None else parse_moment(start, "--start"),
        for_s=None if for_ is None else parse_duration_s(for_, "--for"),
        port=port,
    )
    run_demo(options, console)


@app.command()
def up(
    fleet_file: Annotated[Path, typer.Argument(metavar="FLEET.yaml", help="The fleet file.")],
    address: Annotated[
        str | None, typer.Option(help="Join this Ray, e.g. auto or 10.0.0.5:6379.")
    ] = None,
) -> None:
    """Start a fleet in the background, on a Ray of its own unless told otherwise."""
    from bessai.cli.background import up as start_fleet  # noqa: PLC0415

    start_fleet(fleet_file, address, console)


@app.command()
def down(
    fleet: Annotated[str | None, typer.Argument(help="Which fleet, by its id.")] = None,
) -> None:
    """End what `up` started, and nothing else."""
    from bessai.cli.background import down as end_fleet  # noqa: PLC0415

    end_fleet(fleet, console)


@app.command()
def status(fleet: FleetOption = None, url: UrlOption = None) -> None:
    """Show whether the fleet is well, and who plans for it."""
    from bessai.cli.show import show_status  # noqa: PLC0415

    show_status(_url(fleet, url), console)


@app.command()
def sites(fleet: FleetOption = None, url: UrlOption = None) -> None:
    """List all sites."""
    from bessai.cli.show import show_sites  # noqa: PLC0415

    show_sites(_url(fleet, url), console)


@app.command()
def site(  # noqa: PLR0913, PLR0917 - one per option
    site_id: Annotated[str, typer.Argument(metavar="ID", help="The site.")],
    fleet: FleetOption = None,
    url: UrlOption = None,
    why: Annotated[bool, typer.Option("--why", help="Show its decisions, and why.")] = False,
    last: Annotated[int, typer.Option(help="With --why: so many changes.")] = 5,
    at: Annotated[str | None, typer.Option(help="With --why: what was in force then, UTC.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="With --why: read this record, without a fleet.")
    ] = None,
) -> None:
    """Show one site, why it does what it does, and its plan."""
    from bessai.cli.show import show_site  # noqa: PLC0415

    if why:
        from bessai.cli.why import WhyOptions, show_why  # noqa: PLC0415

        show_why(lambda: _url(fleet, url), site_id, WhyOptions(last, at, file), console)
        return
    show_site(_url(fleet, url), site_id, console)


@app.command()
def stop(
    reason: ReasonOption,
    site_id: OneSite = None,
    everywhere: AllSites = False,
    by: ByOption = None,
    fleet: FleetOption = None,
    url: UrlOption = None,
) -> None:
    """Make a site rest, or all, until somebody releases it; outlives every restart."""
    from bessai.cli.stop import Target, order, request_of  # noqa: PLC0415

    target, said = Target.of(site_id, everywhere=everywhere), request_of(by, reason)
    if not order(_url(fleet, url), target, said, console, stop=True):
        raise typer.Exit(1)


@app.command()
def release(
    reason: ReasonOption,
    site_id: OneSite = None,
    everywhere: AllSites = False,
    by: ByOption = None,
    fleet: FleetOption = None,
    url: UrlOption = None,
) -> None:
    """End the stop of a site, or all stops, whoever ordered them."""
    from bessai.cli.stop import Target, order, request_of  # noqa: PLC0415

    target, said = Target.of(site_id, everywhere=everywhere), request_of(by, reason)
    if not order(_url(fleet, url), target, said, console, stop=False):
        raise typer.Exit(1)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="Decision record of a site.")],
    begin: Annotated[str | None, typer.Option("--from", help="From this time, UTC.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Until this time, UTC.")] = None,
) -> None:
    """Step a decision record through the control core; each decision must come out again."""
    from bessai.cli.replay import run_replay  # noqa: PLC0415

    if not run_replay(file, begin, end, console):
        raise typer.Exit(1)


@app.command()
def check(
    fleet_file: Annotated[Path, typer.Argument(metavar="FLEET.yaml", help="The fleet file.")],
) -> None:
    """Check a fleet file without starting anything."""
    from bessai.cli.background import read_fleet  # noqa: PLC0415

    found = read_fleet(fleet_file, console)
    console.print(f"{fleet_file}: {len(found.sites)} sites, no mistakes found")


@app.command()
def fault(
    site_id: Annotated[str, typer.Argument(metavar="SITE", help="A simulated site.")],
    kind: Annotated[
        str, typer.Argument(help="e.g. dead, hang, busy, garbage or delay:2; none heals.")
    ],
    fleet: FleetOption = None,
) -> None:
    """Break the simulated inverter of a site, or heal it."""
    from bessai.cli.runs import find_runs, the_run  # noqa: PLC0415
    from bessai.sim.control import inject_fault  # noqa: PLC0415

    runs = [r for r in find_runs() if r.folder is not None and r.plan and r.plan.fleet.simulation]
    folder = the_run(fleet, runs).folder
    if folder is not None:
        inject_fault(folder.sim_control, site_id, kind)
        console.print(f"{site_id}: {'healed' if kind == 'none' else kind}")


def _url(fleet: str | None, url: str | None) -> str:
    from bessai.cli.runs import find_runs, the_run  # noqa: PLC0415

    return url if url is not None else the_run(fleet, find_runs()).page_url
