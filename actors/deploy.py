"""Puts a fleet on the Ray that this process is connected to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from ray import serve
from ray.exceptions import RayError
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from actors.fleet import FleetSpec
from actors.local.progress import Progress
from actors.names import API_APP, FLEET_ACTOR, SUPERVISOR_ACTOR, site_actor
from actors.ray_api import Actor, exists, find_actor
from actors.supervisor import Desired, start_fleet, start_site, start_supervisor
from bessai.build import SiteSpec
from bessai.config import ApiConfig, FleetConfig, load_yaml
from bessai.errors import BessaiError
from bessai.fleet.views import LiveView
from bessai.model import MarketClock, SiteState

Tell = Callable[[Progress], None]
AppBuilder = Callable[[Mapping[str, str]], serve.Application]
ACTORS_DEADLINE_S: Final = 60.0
FIRST_CYCLE_DEADLINE_S: Final = 45.0
NOT_YET = frozenset({SiteState.STARTING, SiteState.SILENT})


def deploy(
    fleet: FleetConfig,
    clock: MarketClock,
    store_url: str,
    *,
    dashboard_url: str | None,
    tell: Tell,
) -> None:
    """Start sites, fleet, models and API; what runs already is left as it is.

    Raises:
        BessaiError: another fleet runs there, or an actor or application does not come up.
    """
    _refuse_another_fleet(fleet)
    fleet_spec = FleetSpec(fleet, clock, store_url, dashboard_url)
    desired = Desired(fleet_spec, tuple(SiteSpec(site, clock) for site in fleet.sites))
    sites = [start_site(spec) for spec in desired.sites]
    brain = start_fleet(fleet_spec)
    start_supervisor(desired)
    with ThreadPoolExecutor(max_workers=1) as beside:
        models = beside.submit(start_serve, fleet.api)
        tell(Progress(step="fleet", text="starting the fleet actor"))
        await_start(brain, "the fleet actor", ACTORS_DEADLINE_S)
        _await_sites(sites, tell)
        tell(Progress(step="models", text="starting price model, dispatch model and API"))
        try:
            models.result()
        except (RayError, RuntimeError) as error:  # Serve raises bare RuntimeErrors
            raise BessaiError("the API or a model did not start", value=_cause(error)) from error


def start_serve(api: ApiConfig) -> None:
    """Run the applications of ``serve_configs/local.yaml``, unless Serve has them already."""
    if API_APP in serve.status().applications:
        return
    config = ServeDeploySchema.model_validate(load_yaml(serve_config("local")))
    serve.start(proxy_location="HeadOnly", http_options={"host": api.host, "port": api.port})
    targets = [
        serve.RunTarget(load_app(app), name=app.name, route_prefix=app.route_prefix)
        for app in config.applications
    ]
    serve.run_many(targets)


def serve_config(name: str) -> Path:
    """Path of a Serve configuration: the wheel's copy, or the checkout's."""
    package = Path(__file__).resolve().parent
    bundled = package / "_serve_configs"
    folder = bundled if bundled.is_dir() else package.parent / "serve_configs"
    return folder / f"{name}.yaml"


def wait_for_first_cycles(fleet: FleetConfig, tell: Tell) -> None:
    """Wait until each site told the fleet about a control cycle; a slow one is left behind."""
    total, end, done = len(fleet.sites), time.monotonic() + FIRST_CYCLE_DEADLINE_S, -1
    handle = find_actor(FLEET_ACTOR)
    while time.monotonic() < end:
        try:
            live = cast("LiveView", handle.ask_now("live", ACTORS_DEADLINE_S))
        except RayError as error:
            raise BessaiError("the fleet actor does not answer", value=_cause(error)) from error
        cycled = sum(site.state not in NOT_YET for site in live.sites)
        if cycled != done:
            done = cycled
            tell(Progress(step="cycles", text="first control cycles", done=done, of=total))
        if done == total:
            return
        time.sleep(0.2)


def release_sites(timeout_s: float) -> bool:
    """Stop all sites so that each inverter is given back; False when they did not answer."""
    try:
        find_actor(SUPERVISOR_ACTOR).ask_now("stop", timeout_s)
    except (RayError, ValueError):
        return False
    return True


def undeploy(fleet: FleetConfig) -> bool:
    """End a fleet on a Ray that others may use: its actors and applications, nothing else.

    Returns:
        Whether the sites were asked to give their inverters back.
    """
    released = release_sites(timeout_s=15.0)
    config = ServeDeploySchema.model_validate(load_yaml(serve_config("local")))
    for app in config.applications:
        serve.delete(app.name)
    for name in (SUPERVISOR_ACTOR, FLEET_ACTOR, *(site_actor(site.id) for site in fleet.sites)):
        if exists(name):
            find_actor(name).end_for_good()
    return released


def _refuse_another_fleet(fleet: FleetConfig) -> None:
    if not exists(FLEET_ACTOR):
        return
    running = cast("FleetConfig", find_actor(FLEET_ACTOR).ask_now("config", ACTORS_DEADLINE_S))
    if running != fleet:
        same = running.id == fleet.id
        raise BessaiError(
            "runs on this Ray already" + (", with another configuration" if same else ""),
            field="fleet",
            value=running.id,
            fix=f"end it first: bessai down {running.id}",
        )


def await_start(actor: Actor, what: str, timeout_s: float) -> None:
    """Wait until an actor is made.

    Raises:
        BessaiError: it is not; names ``what`` and the last line of the cause.
    """
    try:
        actor.ask_now("__ray_ready__", timeout_s)
    except RayError as error:
        raise BessaiError(f"{what} did not start", value=_cause(error)) from error


def _cause(error: Exception) -> str:
    *_, last = str(error).strip().splitlines() or [type(error).__name__]
    return last


def _await_sites(sites: Sequence[Actor], tell: Tell) -> None:
    total, end = len(sites), time.monotonic() + ACTORS_DEADLINE_S
    for done, site in enumerate(sites):
        tell(Progress(step="sites", text="starting site actors", done=done, of=total))
        await_start(site, "a site actor", max(0.0, end - time.monotonic()))
    tell(Progress(step="sites", text="starting site actors", done=total, of=total))


def load_app(entry: ServeApplicationSchema) -> serve.Application:
    """The application of one entry of a Serve configuration, as ``serve run`` makes it.

    Raises:
        ConfigError: its ``args`` cannot be used.
    """
    module, _, name = entry.import_path.partition(":")
    found: serve.Application | AppBuilder = getattr(import_module(module), name)
    return found if isinstance(found, serve.Application) else found(entry.args)
