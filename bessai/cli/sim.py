"""``bessai sim``: one simulated inverter in the foreground, and faults for it."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bessai.errors import ConfigError

if TYPE_CHECKING:
    from bessai.sim.server import HostedInverter
    from bessai.sim.spec import InverterSpec

sim_app = typer.Typer(no_args_is_help=True, help="Simulated inverters that speak Modbus TCP.")
console = Console()


@sim_app.command()
def inverter(  # noqa: PLR0913 - one option each
    *,
    profile: Annotated[str, typer.Option(help="Device family.")] = "huawei_sun2000",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0 takes a free one.")] = 5020,
    speed: Annotated[float, typer.Option(help="Battery seconds per real second.")] = 1.0,
    capacity_kwh: Annotated[float, typer.Option(help="Size of the battery.")] = 10.0,
    max_charge_kw: Annotated[float, typer.Option(help="Most it charges with.")] = 5.0,
    max_discharge_kw: Annotated[float, typer.Option(help="Most it discharges with.")] = 5.0,
    soc: Annotated[float, typer.Option(help="State of charge at the start, in percent.")] = 50.0,
    pv_kw: Annotated[float, typer.Option(help="Constant PV power.")] = 0.0,
    load_kw: Annotated[float, typer.Option(help="Constant load of the house.")] = 0.0,
    ramp_kw_per_s: Annotated[
        float | None, typer.Option(help="How fast the power follows; at once if left out.")
    ] = None,
    unit_id: Annotated[int | None, typer.Option(help="Unit id; the profile's if left out.")] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="Active from the start, e.g. busy; may be repeated.")
    ] = None,
    login: Annotated[
        bool,
        typer.Option(
            "--login", help="Refuse writes without login; password in BESSAI_SIM_PASSWORD."
        ),
    ] = False,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Let other machines connect.")
    ] = False,
) -> None:
    """Run one simulated inverter until Ctrl-C, with a real Modbus TCP server in front of it."""
    import asyncio  # noqa: PLC0415

    from bessai.config.load import parse  # noqa: PLC0415
    from bessai.config.simulator import simulator_socket  # noqa: PLC0415
    from bessai.sim.faults import parse_faults  # noqa: PLC0415
    from bessai.sim.foreground import run_foreground  # noqa: PLC0415
    from bessai.sim.spec import InverterSpec  # noqa: PLC0415

    _check_host(host, allow_remote=allow_remote)
    options = {
        "site_id": f"sim-{port}",
        "port": port,
        "unit_id": unit_id,
        "profile": profile,
        "capacity_kwh": capacity_kwh,
        "max_charge_kw": max_charge_kw,
        "max_discharge_kw": max_discharge_kw,
        "soc_pct": soc,
        "pv_kw": pv_kw,
        "load_kw": load_kw,
        "ramp_kw_per_s": ramp_kw_per_s,
    }
    spec = parse(InverterSpec, options, "bessai sim inverter")
    faults = tuple(one for text in fault or () for one in parse_faults(text))
    hosted = _hosted(spec, speed, host, login=login)
    asyncio.run(run_foreground(hosted, faults, simulator_socket, _say))


@sim_app.command()
def fault(
    faults: Annotated[
        list[str], typer.Argument(metavar="FAULT...", help="e.g. busy or delay:2; none heals.")
    ],
    port: Annotated[int, typer.Option(help="Port of the simulated inverter.")] = 5020,
) -> None:
    """Break a simulated inverter that runs, in these ways and in no other."""
    from bessai.config.simulator import simulator_socket  # noqa: PLC0415
    from bessai.sim.control import inject_fault  # noqa: PLC0415

    inject_fault(simulator_socket(port), f"sim-{port}", ",".join(faults))


@sim_app.command()
def observe(
    question: Annotated[
        str, typer.Argument(help="summary, writes, commands or timeline.")
    ] = "summary",
    port: Annotated[int, typer.Option(help="Port of the simulated inverter.")] = 5020,
    since: Annotated[
        float | None, typer.Option(help="Leave out what was before this control time, in s.")
    ] = None,
) -> None:
    """What a simulated inverter has seen and done, as JSON."""
    from bessai.config.simulator import simulator_socket  # noqa: PLC0415
    from bessai.sim.control import ask  # noqa: PLC0415
    from bessai.sim.observe import Question  # noqa: PLC0415

    if question not in set(Question):
        raise ConfigError(
            "is no question", field="QUESTION", value=question, fix=f"use {', '.join(Question)}"
        )
    answer = ask(simulator_socket(port), f"sim-{port}", Question(question), since)
    typer.echo(answer.model_dump_json(indent=2))


def _hosted(spec: InverterSpec, speed: float, host: str, *, login: bool) -> HostedInverter:
    from bessai.config.load import load_profile  # noqa: PLC0415
    from bessai.config.simulator import simulator_password  # noqa: PLC0415
    from bessai.devices.logins import Credentials  # noqa: PLC0415
    from bessai.sim.huawei import DEFAULT_CREDENTIALS  # noqa: PLC0415
    from bessai.sim.inverter import SimulatedInverter  # noqa: PLC0415
    from bessai.sim.server import HostedInverter, control_time  # noqa: PLC0415

    if not 0 < speed <= 3600:
        raise ConfigError(
            "is out of range", field="--speed", value=f"{speed:g}", fix="use 1 to 3600"
        )
    family = load_profile(spec.profile, field="--profile")
    device = SimulatedInverter(spec, family, speed, now=control_time)
    password = simulator_password() or DEFAULT_CREDENTIALS.password
    wanted = Credentials(DEFAULT_CREDENTIALS.user, password) if login else None
    return HostedInverter(device, spec.port, host=host, credentials=wanted)


def _check_host(host: str, *, allow_remote: bool) -> None:
    try:
        is_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if not is_local and not allow_remote:
        raise ConfigError(
            "lets other machines in, and Modbus has no password",
            field="--host",
            value=host,
            fix="use 127.0.0.1, or add --allow-remote",
        )


def _say(line: str) -> None:
    console.print(
        f"{datetime.now().astimezone():%H:%M:%S} {line}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
