"""Puts a fleet on the Ray that this process is connected to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from ray import serve
from ray.exceptions import RayError
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from actors.fleet import FleetSpec
from actors.local.progress import Progress
from actors.names import FLEET_ACTOR, SUPERVISOR_ACTOR, site_actor
from actors.ray_api import Actor, exists, find_actor
from actors.supervisor import FLEET_STOP_S, Desired, start_fleet, start_site, start_supervisor
from bessai.build import SiteSpec
from bessai.config import ApiConfig, FleetConfig, load_yaml
from bessai.control.whoami import this_process
from bessai.errors import BessaiError, ConfigError
from bessai.fleet.views import LiveView
from bessai.model import MarketClock, SiteState

Tell = Callable[[Progress], None]
AppBuilder = Callable[[Mapping[str, str]], serve.Application]
ACTORS_DEADLINE_S: Final = 60.0
SITES_DEADLINE_S: Final = 60.0
FIRST_CYCLE_DEADLINE_S: Final = 45.0
OUR_DEPLOYMENTS: Final = frozenset({"PriceModel", "DispatchModel", "Api"})
NOT_YET = frozenset({SiteState.STARTING, SiteState.SILENT})


def deploy(
    fleet: FleetConfig,
    clock: MarketClock,
    store_url: str,
    *,
    dashboard_url: str | None,
    tell: Tell,
    memory: Path | None = None,
) -> None:
    """Start supervisor, sites, fleet, models and API; what runs already is left as it is.

    ``memory`` is the folder for what a site remembers; None takes each machine's state folder.

    Raises:
        BessaiError: another fleet runs there, or an actor or application does not come up.
    """
    _refuse_another_fleet(fleet)
    fleet_spec = FleetSpec(fleet, clock, store_url, dashboard_url)
    simulated = fleet.simulation is not None
    specs = tuple(SiteSpec(site, clock, simulated, memory) for site in fleet.sites)
    supervisor = start_supervisor(Desired(fleet_spec, specs, this_process()))
    sites = {spec.site.id: start_site(spec) for spec in specs}
    brain = start_fleet(fleet_spec)
    with ThreadPoolExecutor(max_workers=1) as beside:
        models = beside.submit(start_serve, fleet.api)
        tell(Progress(step="fleet", text="starting the fleet actor"))
        await_start(supervisor, "the supervisor", ACTORS_DEADLINE_S)
        await_start(brain, "the fleet actor", ACTORS_DEADLINE_S)
        await_sites(sites, tell, SITES_DEADLINE_S)
        tell(Progress(step="models", text="starting price model, dispatch model and API"))
        try:
            models.result()
        except (RayError, RuntimeError) as error:  # Serve raises bare RuntimeErrors
            raise BessaiError("the API or a model did not start", value=_cause(error)) from error


def start_serve(api: ApiConfig) -> None:
    """Run the applications of ``serve_configs/local.yaml``, unless Serve has them already.

    Raises:
        ConfigError: Serve runs somebody else's application under one of our names.
    """
    config = ServeDeploySchema.model_validate(load_yaml(serve_config("local")))
    if our_applications(config):
        return
    serve.start(proxy_location="HeadOnly", http_options={"host": api.host, "port": api.port})
    targets = [
        serve.RunTarget(load_app(app), name=app.name, route_prefix=app.route_prefix)
        for app in config.applications
    ]
    serve.run_many(targets)


def our_applications(config: ServeDeploySchema) -> list[str]:
    """Names of our applications that Serve runs.

    Raises:
        ConfigError: one of the names is somebody else's.
    """
    running, found = serve.status().applications, []
    for name in (app.name for app in config.applications if app.name in running):
        if not OUR_DEPLOYMENTS & running[name].deployments.keys():
            raise ConfigError(
                "is the name of another application on this Ray Serve",
                field="Serve application",
                value=name,
                fix="use a Ray of its own: leave out --address",
            )
        found.append(name)
    return found


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


def fleet_runs() -> bool:
    """Whether a fleet actor is on this Ray."""
    return exists(FLEET_ACTOR)


def undeploy(fleet: FleetConfig) -> bool:
    """End a fleet on a Ray that others may use: its actors and applications, nothing else.

    Returns:
        Whether the sites were asked to give their inverters back.
    """
    released = release_sites(timeout_s=fleet.stop_deadline_s + FLEET_STOP_S)
    config = ServeDeploySchema.model_validate(load_yaml(serve_config("local")))
    for name in our_applications(config):
        serve.delete(name)
    for name in (SUPERVISOR_ACTOR, FLEET_ACTOR, *(site_actor(site.id) for site in fleet.sites)):
        if exists(name):
            find_actor(name).end_for_good()
    return released


def _refuse_another_fleet(fleet: FleetConfig) -> None:
    if not fleet_runs():
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


def await_sites(sites: Mapping[str, Actor], tell: Tell, timeout_s: float) -> None:
    """Wait for the site actors; one that does not start, e.g. for want of a node, stops no other.

    The fleet shows such a site as silent, and Ray starts it as soon as it can.
    """
    total, end, done = len(sites), time.monotonic() + timeout_s, 0
    text = "starting site actors"
    tell(Progress(step="sites", text=text, of=total))
    for site_id, actor in sites.items():
        try:
            await_start(actor, f"site {site_id}", max(0.1, end - time.monotonic()))
        except BessaiError as error:
            text = f"{error}; going on without it"
        else:
            done += 1
        tell(Progress(step="sites", text=text, done=done, of=total))


def load_app(entry: ServeApplicationSchema) -> serve.Application:
    """The application of one entry of a Serve configuration, as ``serve run`` makes it.

    Raises:
        ConfigError: its ``args`` cannot be used.
    """
    module, _, name = entry.import_path.partition(":")
    found: serve.Application | AppBuilder = getattr(import_module(module), name)
    return found if isinstance(found, serve.Application) else found(entry.args)
