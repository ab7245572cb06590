"""Tables for the terminal; what is not known is a dash, never a zero."""

from __future__ import annotations

from datetime import datetime

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bessai.fleet.views import FleetView, SitesView, SiteView
from bessai.model import AutonomyLevel, SiteState, Tenure

DASH = "\u2013"
WIDE, NARROW = 100, 76
_STATE_STYLE = {
    SiteState.RUNNING: "green",
    SiteState.HOLDING: "cyan",
    SiteState.STARTING: "yellow",
    SiteState.FAULT: "bold red",
    SiteState.UNREACHABLE: "bold red",
    SiteState.SILENT: "bold red",
    SiteState.STOPPED: "dim",
}


def number(value: float | None, unit: str = "", digits: int = 1, *, sign: bool = False) -> str:
    """A number with its unit, or a dash."""
    if value is None:
        return DASH
    rounded = round(value, digits) + 0.0  # never "-0.0"
    text = f"{rounded:+.{digits}f}" if sign and rounded else f"{rounded:.{digits}f}"
    return f"{text} {unit}".rstrip()


def age(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def follows(site: SiteView) -> str:
    """Whose plan a site follows; the cached one with its age in market time."""
    if site.autonomy is None:
        return DASH
    level = site.autonomy.value.replace("_", " ")
    if site.autonomy is AutonomyLevel.CACHED_SCHEDULE and site.schedule_age_s is not None:
        return f"{level}, {age(site.schedule_age_s)} old"
    return level


def badges(site: SiteView) -> list[Text]:
    """What must not be overlooked: a stop, one that is not obeyed yet, a site that only reads."""
    found, stop = [], site.stop
    if site.autonomy is AutonomyLevel.SAFE_STOP:
        found.append(Text("SAFE STOP", style="bold white on red"))
    if stop is not None and not stop.obeyed:
        found.append(Text("stop sent" if stop.active else "releasing", style="bold yellow"))
    if site.tenure not in {None, Tenure.OWNER}:
        found.append(Text("only reads", style="bold yellow"))
    return found


def soc_bar(soc_pct: float | None, width: int = 8) -> Text:
    """State of charge as a bar and a number."""
    if soc_pct is None:
        return Text(DASH)
    filled = round(soc_pct / 100 * width)
    bar = Text("█" * filled, style="green" if soc_pct >= 25 else "yellow")
    bar.append("░" * (width - filled), style="dim")
    return bar.append(f"{' ' if width else ''}{soc_pct:5.1f} %", style="")


def market_time(moment: datetime) -> str:
    """Market time, as the market's own day reads in UTC."""
    return moment.strftime("%a %Y-%m-%d %H:%M UTC")


def headline(fleet: FleetView) -> Text:
    """One line about the whole fleet."""
    clock, earnings = fleet.clock, fleet.earnings
    text = Text(market_time(clock.market_now), style="bold")
    if clock.simulated:
        text.append(f"  x{clock.speed:g}", style="magenta")
    text.append(f"   price {number(fleet.price_now, fleet.price_unit)}")
    text.append(f"   fleet {number(fleet.active_power_kw, 'kW', sign=True)}")
    text.append(f"   SoC {number(fleet.soc_pct, '%')}")
    text.append(f"   earned {number(earnings.amount, earnings.currency, 4)}", style="bold green")
    if fleet.plan_error:
        text.append(f"\nno new plan: {fleet.plan_error}", style="red")
    return text


def sites_table(fleet: FleetView, sites: SitesView, width: int) -> Table:
    """One row per site; every number stays whole, the reason is cut where the terminal ends."""
    wide = width >= WIDE
    table = Table(expand=True, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("site", "state", "SoC"):
        table.add_column(name, no_wrap=True)
    for name in ("kW", fleet.price_unit, fleet.earnings.currency):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("follows", max_width=16)
    if width >= NARROW:
        table.add_column("why this setpoint", ratio=1, no_wrap=not wide, overflow="ellipsis")
    for site in sites.sites:
        cells = _row(site, fleet.price_now, wide=wide)
        table.add_row(*cells[: len(table.columns)])
    return table


def _row(site: SiteView, price: float | None, *, wide: bool) -> list[RenderableType]:
    cells: list[RenderableType] = [
        site.site_id,
        Text("\n").join([Text(site.state.value, style=_STATE_STYLE[site.state]), *badges(site)]),
        soc_bar(site.soc_pct, width=6 if wide else 0),
        number(site.active_power_kw, digits=2, sign=True),
        number(price),
        number(site.earnings.amount, digits=3),
    ]
    return [*cells, follows(site), _why(site)] if wide else [*cells, _why(site)]


def _why(site: SiteView) -> Text:
    lines = [Text(site.error, style="red") if site.error else Text(site.setpoint_reason or DASH)]
    if site.autonomy not in {None, AutonomyLevel.FLEET} and site.autonomy_cause:
        lines.append(Text(f"{follows(site)}: {site.autonomy_cause}", style="dim"))
    if site.tenure_reason:
        lines.append(Text(f"only reads: {site.tenure_reason}", style="yellow"))
    return Text("\n").join(lines)


def fleet_screen(fleet: FleetView, sites: SitesView, width: int, footer: str = "") -> Group:
    """Headline, table and footer for a terminal of ``width`` columns."""
    parts: list[RenderableType] = [headline(fleet), sites_table(fleet, sites, width)]
    return Group(*parts, Text(footer, style="dim")) if footer else Group(*parts)
