"""``bessai up`` and ``down``: a fleet in the background, on its own Ray or on a given one."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from actors.local import rundir
from actors.local.plan import RayPorts, RunPlan, clock_of
from actors.local.ports import claim_port
from actors.local.progress import Progress
from bessai.cli.launch import clean_up, reclaim, start, stop
from bessai.cli.runs import Joined, find_runs, the_run
from bessai.cli.starting import follow_start
from bessai.config import FleetConfig, load_fleet
from bessai.config.legacy import apply_environment, unused_variables
from bessai.config.paths import state_folder
from bessai.config.secret import api_key, require_key_beyond_loopback
from bessai.errors import BessaiError, ConfigError
from bessai.markets import open_market


def read_fleet(path: Path, console: Console) -> FleetConfig:
    """The fleet file, with the environment applied and everything checked that can be checked.

    Raises:
        ConfigError: one line about the first mistake.
    """
    fleet = apply_environment(load_fleet(path))
    require_key_beyond_loopback(fleet.api, api_key())
    open_market(fleet.market)
    for name, why in unused_variables():
        console.print(f"note: {name} is set but not used: {why}", style="yellow")
    return fleet


def up(path: Path, address: str | None, console: Console) -> None:
    """Start a fleet in the background.

    Raises:
        BessaiError: it cannot run; nothing of it is left.
    """
    fleet = read_fleet(path, console)
    if address is not None:
        _join(fleet, address, console)
        return
    folder, lock = _claim(fleet.id)
    try:
        port, port_locks = claim_port(fleet.api.host, fleet.api.port, "api.port")
    except BessaiError:
        clean_up(folder)
        raise
    clock = clock_of(fleet, datetime.now(UTC))
    plan = RunPlan(
        fleet=fleet,
        tied=False,
        market_start=clock.market_start,
        wall_start=clock.wall_start,
        speed=clock.speed,
        store_url=store_url(fleet, folder.root),
        api_port=port,
        ports=RayPorts.choose(),
    )
    run = start(folder, [lock, *port_locks], plan)
    try:
        started = follow_start(run, console)
    except KeyboardInterrupt:
        console.print("\nstopping what had started ...", style="dim")
        stop(folder)
        raise
    console.print(f"Fleet {fleet.id} runs after {started.took_s:.0f} s.", style="bold green")
    console.print(f"  page           {plan.page_url}", style="bold", highlight=False)
    console.print(f"  Ray dashboard  {plan.dashboard_url}", highlight=False)
    console.print(f"  its token      cat {folder.token}", highlight=False, soft_wrap=True)
    console.print(f"  logs           {folder.logs}", highlight=False, soft_wrap=True)
    console.print("  look, end      bessai status | bessai sites | bessai down")


def down(fleet_id: str | None, console: Console) -> None:
    """End a fleet that ``up`` started, and nothing else.

    Raises:
        BessaiError: there is none, or more than one.
    """
    run = the_run(fleet_id, [r for r in find_runs() if r.is_background])
    if run.joined is not None:
        asked = _leave(run.joined)
    else:
        asked = run.folder is not None and stop(run.folder)
    console.print(
        f"Fleet {run.fleet_id} is down; each inverter that answered has its own mode again."
        if asked
        else f"Fleet {run.fleet_id} is down. Nobody was left to give its inverters back: "
        "a forced command ends with the device's own dead-man.",
        soft_wrap=True,
    )


def store_url(fleet: FleetConfig, run_folder: Path | None) -> str:
    """The database of a fleet; a replay begins anew each time and keeps its own in the run."""
    if fleet.simulation is not None and run_folder is not None:
        return f"sqlite:///{run_folder / 'fleet.db'}"
    return f"sqlite:///{state_folder() / f'fleet-{fleet.id}.db'}"


def _claim(fleet_id: str) -> tuple[rundir.RunDir, int]:
    root = rundir.fleet_root(fleet_id)
    if root.exists():
        folder = rundir.RunDir(root)
        lock = rundir.take_lock(folder)
        if lock is None:
            raise BessaiError(
                "this fleet runs already", field="id", value=fleet_id, fix="see: bessai status"
            )
        try:
            reclaim(folder)
            rundir.remove(folder)
        finally:
            os.close(lock)
    return rundir.create(root)


def _join(fleet: FleetConfig, address: str, console: Console) -> None:
    if fleet.simulation is not None:
        raise ConfigError(
            "runs only on a Ray of its own, beside its simulated inverters",
            field="simulation",
            fix="leave out --address, or remove the section to drive real inverters",
        )
    if fleet.api.port == 0:
        raise ConfigError("must be named to join a Ray", field="api.port", value="0", fix="8000")
    ray = _connect(address)
    from actors.deploy import deploy, fleet_runs, undeploy, wait_for_first_cycles  # noqa: PLC0415

    def tell(step: Progress) -> None:
        console.print(f"{step.text} {step.done}/{step.of}" if step.of else step.text)

    ran_before, clock = fleet_runs(), clock_of(fleet, datetime.now(UTC))
    try:
        deploy(fleet, clock, store_url(fleet, None), dashboard_url=ray.dashboard_url, tell=tell)
        wait_for_first_cycles(fleet, tell)
    except (BessaiError, KeyboardInterrupt):
        if not ran_before:  # nothing of a failed start stays on somebody's Ray
            undeploy(fleet)
        raise
    host = fleet.api.host if fleet.api.is_loopback else "127.0.0.1"
    page_url = f"http://{host}:{fleet.api.port}"
    Joined(address=ray.address, page_url=page_url, fleet=fleet).save()
    console.print(f"Fleet {fleet.id} runs on {ray.address}.", style="bold green")
    console.print(f"  page           {page_url}", style="bold", highlight=False)


def _leave(joined: Joined) -> bool:
    record = Joined.path(joined.fleet.id)
    try:
        _connect(joined.address)
    except ConfigError as error:
        raise BessaiError(
            f"the fleet may still run: {error.message}",
            field=f"Ray at {joined.address}",
            fix=f"try again, or forget it where that Ray is gone for good: rm {record}",
        ) from None
    from actors.deploy import undeploy  # noqa: PLC0415

    released = undeploy(joined.fleet)
    record.unlink(missing_ok=True)
    return released


@dataclass(frozen=True, slots=True)
class _JoinedRay:
    """A Ray that others may use; ``address`` names this one even where "auto" was asked."""

    address: str
    dashboard_url: str | None


def _connect(address: str) -> _JoinedRay:
    """Join a Ray that others may use.

    Raises:
        ConfigError: no Ray answers there, or it refuses.
    """
    import ray  # noqa: PLC0415  only a joined fleet needs it in the command's own process

    from actors.names import NAMESPACE  # noqa: PLC0415

    try:
        context = ray.init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"cannot join this Ray ({line})",
            field="--address",
            value=address,
            fix="check the address, and RAY_AUTH_TOKEN_PATH where it asks for a token",
        ) from None
    url = f"http://{context.dashboard_url}" if context.dashboard_url else None
    return _JoinedRay(ray.get_runtime_context().gcs_address, url)
