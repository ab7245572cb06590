"""``bessai status``, ``sites`` and ``site``: what runs, as text."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bessai.cli.client import ApiClient
from bessai.cli.tables import (
    DASH,
    age,
    badges,
    fleet_screen,
    follows,
    headline,
    market_time,
    number,
    soc_bar,
)
from bessai.errors import BessaiError
from bessai.fleet.views import ScheduleView, SiteView
from bessai.model import Tenure


def show_status(url: str, console: Console) -> None:
    """Fleet, health and fallbacks.

    Raises:
        BessaiError: the API does not answer, or the fleet is down.
    """
    with ApiClient(url) as api:
        health, status, fleet = api.health(), api.status(), api.fleet()
    console.print(headline(fleet))
    table = Table.grid(padding=(0, 2))
    counts = ", ".join(f"{n} {state}" for state, n in sorted(status.sites_by_state.items()))
    table.add_row("fleet", f"{status.fleet_id} (BESSAI {status.version})")
    table.add_row("page", url)
    table.add_row("sites", f"{status.sites_total}: {counts}")
    table.add_row("market", f"{status.market} {status.node}, {status.currency}")
    table.add_row("prices by", status.price_source or DASH)
    table.add_row("dispatch by", status.dispatch_source or DASH)
    table.add_row("Ray dashboard", status.dashboard_url or DASH)
    for check in health.checks:
        mark = Text("ok  ", "green") if check.ok else Text("BAD ", "bold red")
        table.add_row(f"health {check.name}", mark.append(check.detail, style=""))
    for fallback in status.fallbacks:
        table.add_row("fallback", Text(fallback, style="yellow"))
    console.print(table)
    if health.status == "down":
        raise BessaiError("the fleet is down")


def show_sites(url: str, console: Console) -> None:
    """A table of all sites."""
    with ApiClient(url) as api:
        console.print(fleet_screen(api.fleet(), api.sites(), console.width))


def show_site(url: str, site_id: str, console: Console) -> None:
    """Everything about one site, and its plan."""
    with ApiClient(url) as api:
        site, schedule = api.site(site_id), api.schedule(site_id)
    console.print(_site_table(site))
    for narrowing in site.narrowings:
        limits = f"[{number(narrowing.lower_kw)}, {number(narrowing.upper_kw)}] kW"
        console.print(f"  limited by {narrowing.code}: {narrowing.text} {limits}", markup=False)
    if schedule is not None:
        console.print(_schedule_table(schedule))


def _site_table(site: SiteView) -> Table:
    table = Table.grid(padding=(0, 2))
    bounds = site.bounds
    allowed = f"{number(bounds.lower_kw)} to {number(bounds.upper_kw)} kW" if bounds else DASH
    table.add_row("site", f"{site.site_id} ({site.profile} at {site.address})")
    table.add_row("state", Text("  ").join([Text(site.state.value), *badges(site)]))
    table.add_row("follows", Text(_follows(site)))
    table.add_row("stop", Text(_stop(site), style="bold" if site.stop else ""))
    table.add_row("process", Text(_process(site)))
    table.add_row("error", Text(site.error or DASH, style="red" if site.error else ""))
    table.add_row("SoC", soc_bar(site.soc_pct))
    table.add_row("capacity", number(site.capacity_kwh, "kWh"))
    table.add_row("power", number(site.active_power_kw, "kW", 2, sign=True))
    table.add_row("grid", number(site.grid_power_kw, "kW", 2, sign=True))
    table.add_row("temperature", number(site.temperature_c, "°C"))
    table.add_row("setpoint", number(site.setpoint_kw, "kW", 2, sign=True))
    table.add_row("because", Text(site.setpoint_reason or DASH))
    table.add_row("allowed", allowed)
    table.add_row("alarms", _alarms(site))
    table.add_row("intrusion", Text(_intrusion(site)))
    earned = site.earnings
    table.add_row("earned", number(earned.amount, earned.currency, 4))
    table.add_row("energy", f"{earned.exported_kwh:.1f} kWh out, {earned.imported_kwh:.1f} kWh in")
    return table


def _follows(site: SiteView) -> str:
    if site.autonomy is None:
        return DASH
    since = f" since {site.autonomy_since:%Y-%m-%d %H:%M:%S} UTC" if site.autonomy_since else ""
    plan_age = "" if site.schedule_age_s is None else f", plan {age(site.schedule_age_s)} old"
    cause = f": {site.autonomy_cause}" if site.autonomy_cause else ""
    return f"{follows(site).partition(',')[0]}{since}{plan_age}{cause}"


def _stop(site: SiteView) -> str:
    stop = site.stop
    if stop is None:
        return "none"
    did = "frozen" if stop.kind == "freeze" else "stopped" if stop.active else "released"
    said = "obeyed" if stop.obeyed else "NOT OBEYED YET"
    when = f"{stop.at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{did} by {stop.by} at {when}: {stop.reason} (revision {stop.revision}, {said})"


def _process(site: SiteView) -> str:
    if site.tenure is None:
        return DASH
    who = f"pid {site.pid}, epoch {site.epoch}"
    if site.tenure is Tenure.OWNER:
        return f"{who}, owner"
    return f"{who}, only reads ({site.tenure.value}): {site.tenure_reason or DASH}"


def _intrusion(site: SiteView) -> str:
    found = "; ".join(site.intrusion)
    if site.intrusion_score is None:
        return found or DASH
    return f"score {site.intrusion_score:.2f}" + (f": {found}" if found else "")


def _alarms(site: SiteView) -> str:
    if site.reading_age_s is None:
        return DASH  # without a reading nobody knows
    return ", ".join(site.alarms) or "none"


def _schedule_table(schedule: ScheduleView) -> Table:
    title = f"plan {schedule.schedule_id} by {schedule.source}"
    table = Table(title=title, title_justify="left")
    for name in ("from", "to", "power kW", "SoC % at the end"):
        table.add_column(name, justify="left" if name in ("from", "to") else "right")
    for step in schedule.intervals:
        power = number(step.power_kw, digits=2, sign=True)
        start, end = market_time(step.start), step.end.strftime("%H:%M")
        table.add_row(start, end, power, number(step.soc_end_pct))
    return table
