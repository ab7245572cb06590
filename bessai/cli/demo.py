"""``bessai demo``: a whole simulated fleet, from Modbus to the page, until Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType

from rich.console import Console, RenderableType
from rich.live import Live

from actors.local import rundir
from actors.local.plan import RayPorts, RunPlan, clock_of
from actors.local.ports import claim_port
from bessai.cli.client import ApiClient
from bessai.cli.demo_fleet import DemoFleet, demo_fleet
from bessai.cli.launch import Run, clean_up, start, sweep_abandoned_demos
from bessai.cli.starting import Started, follow_start
from bessai.cli.tables import fleet_screen, market_time, number
from bessai.errors import BessaiError, ConfigError
from bessai.fleet.views import FleetView
from bessai.markets import open_market

DEFAULT_PORT = 8000
PLAIN_PERIOD_S = 10.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the user asked for; ``port`` None takes 8000, or a free one where that is taken."""

    sites: int
    speed: float
    start: datetime
    for_s: float | None
    port: int | None


def run_demo(options: DemoOptions, console: Console) -> None:
    """Start, show, and leave nothing behind.

    Raises:
        BessaiError: the demo cannot run.
    """
    port, port_locks = _choose_port(options.port, console)
    fleet = demo_fleet(options.sites, options.start, options.speed, port)
    _check_prices(fleet, options.start)
    if removed := sweep_abandoned_demos():
        console.print(f"removed what {removed} killed demo(s) left behind", style="dim")
    with _signals_interrupt():
        run = _start(fleet, port, port_locks)
        try:
            _introduce(run, console, follow_start(run, console))
            _show(run, console, options.for_s)
        except KeyboardInterrupt:
            console.print()
        finally:
            _finish(run, console)


def _start(fleet: DemoFleet, port: int, port_locks: Sequence[int]) -> Run:
    folder, lock = rundir.create()
    try:
        return start(folder, [lock, *port_locks], _plan(fleet, folder, port))
    except BaseException:  # Ctrl-C too: nobody else knows the folder yet
        clean_up(folder)
        raise


def _plan(fleet: DemoFleet, folder: rundir.RunDir, port: int) -> RunPlan:
    clock = clock_of(fleet.config, datetime.now(UTC))
    return RunPlan(
        fleet=fleet.config,
        tied=True,
        market_start=clock.market_start,
        wall_start=clock.wall_start,
        speed=clock.speed,
        store_url=f"sqlite:///{folder.root / 'fleet.db'}",
        api_port=port,
        ports=RayPorts.choose(),
        initial_soc_pct=fleet.initial_soc_pct,
    )


def _choose_port(asked: int | None, console: Console) -> tuple[int, list[int]]:
    try:
        return claim_port("127.0.0.1", DEFAULT_PORT if asked is None else asked, "--port")
    except ConfigError:
        if asked is not None:
            raise
    port, locks = claim_port("127.0.0.1", 0, "--port")
    console.print(f"port {DEFAULT_PORT} is in use; the page takes {port} (choose with --port)")
    return port, locks


def _check_prices(fleet: DemoFleet, start_at: datetime) -> None:
    first, end = open_market(fleet.config.market).coverage
    if not first <= start_at < end:
        raise ConfigError(
            "lies outside the bundled prices",
            field="--start",
            value=start_at.isoformat(),
            fix=f"choose from {first:%Y-%m-%d} to {end:%Y-%m-%d}",
        )


def _introduce(run: Run, console: Console, started: Started) -> None:
    plan = run.plan
    console.print(started.sentence, style="bold green" if started.all_run else "yellow")
    console.print(f"  page           {plan.page_url}", style="bold", highlight=False)
    console.print(f"  metrics        {plan.page_url}/metrics", highlight=False)
    console.print(f"  Ray dashboard  {plan.dashboard_url}", highlight=False)
    console.print(f"  its token      cat {run.folder.token}", highlight=False, soft_wrap=True)
    console.print("  break one      bessai fault SITE dead   (and: bessai fault SITE none)")
    console.print()


def _show(run: Run, console: Console, for_s: float | None) -> None:
    end = None if for_s is None else time.monotonic() + for_s
    footer = f"{run.plan.page_url}   Ctrl-C ends everything"
    with ApiClient(run.plan.page_url) as api, _display(console) as show:
        while end is None or time.monotonic() < end:
            if cause := run.failure():
                raise BessaiError(f"the fleet ended: {cause}")
            try:
                show(fleet_screen(api.fleet(), api.sites(), console.width, footer))
            except BessaiError as error:
                show(f"{error}; trying again")
            time.sleep(min(1.0, max(0.0, (end or float("inf")) - time.monotonic())))
        _summary(console, api.fleet())


@contextlib.contextmanager
def _display(console: Console) -> Iterator[Callable[[RenderableType], None]]:
    if console.is_terminal and not console.is_dumb_terminal:  # a dumb one shows only the end
        with Live(console=console, auto_refresh=False) as live:
            yield lambda screen: live.update(screen, refresh=True)
        return
    due = time.monotonic()

    def plain(screen: RenderableType) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + PLAIN_PERIOD_S
            console.print(screen)

    yield plain


def _summary(console: Console, fleet: FleetView) -> None:
    earned = fleet.earnings
    console.print(
        f"Earned {number(earned.amount, earned.currency, 4)} until "
        f"{market_time(fleet.clock.market_now)}: {earned.exported_kwh:.1f} kWh exported, "
        f"{earned.imported_kwh:.1f} kWh imported, {earned.unpriced_kwh:.1f} kWh without a price.",
        style="bold",
    )


def _finish(run: Run, console: Console) -> None:
    for number_ in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number_, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it behind
    console.print("stopping: giving the inverters back, ending all processes ...", style="dim")
    run.finish()
    console.print("Nothing is left running.", style="dim")


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)  # nohup: a closed terminal is no reason to end
    before = {number_: signal.signal(number_, interrupt) for number_ in numbers}
    try:
        yield
    finally:
        for number_, handler in before.items():
            signal.signal(number_, handler)
