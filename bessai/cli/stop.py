"""``bessai stop`` and ``release``: orders that hold until a person takes them back."""

from __future__ import annotations

import getpass
import time
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError
from rich.console import Console

from bessai.cli.client import ApiClient
from bessai.cli.tables import number
from bessai.errors import BessaiError, ConfigError
from bessai.fleet.views import SiteView, StopOrderView, StopRequest, StopView

OBEY_S: Final = 10.0
POLL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Target:
    """Which site, or None for all."""

    site_id: str | None

    @classmethod
    def of(cls, site_id: str | None, *, everywhere: bool) -> Target:
        """Exactly one of a site and all.

        Raises:
            ConfigError: both or none were named.
        """
        if (site_id is None) is not everywhere:
            raise ConfigError(
                "name one site or all of them", field="SITE", fix="use a site's id, or --all"
            )
        return cls(site_id)


def request_of(by: str | None, reason: str) -> StopRequest:
    """Who orders it and why; by default the user of this machine.

    Raises:
        ConfigError: a name or a reason is missing, too long or not one line.
    """
    try:
        return StopRequest(by=by if by is not None else _user(), reason=reason)
    except ValidationError as error:
        first = error.errors()[0]
        said = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigError(said, field=f"--{first['loc'][0]}") from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        raise ConfigError("this user has no name", field="--by", fix="say who you are") from None


def order(url: str, target: Target, said: StopRequest, console: Console, *, stop: bool) -> bool:
    """Give the order and watch whether it is obeyed.

    Returns:
        Whether each site says within ten seconds that it obeys.

    Raises:
        BessaiError: the order was not taken, or the API does not answer.
    """
    with ApiClient(url) as api:
        if not stop:
            _print_ending(api, target, console)
        orders = api.order(target.site_id, said, stop=stop)
        began_s = time.monotonic()
        word = "stop" if stop else "release"
        for given in orders:
            console.print(f"{given.site_id}: {word} ordered, revision {given.revision}")
        left = _watch(api, orders, began_s, console)
    for site_id, why in left.items():
        console.print(f"WARNING {site_id}: does not obey yet: {why}", style="red", markup=False)
    if left:
        console.print("The order stands: a site obeys as soon as it hears it.")
    return not left


def _print_ending(api: ApiClient, target: Target, console: Console) -> None:
    sites = api.sites().sites if target.site_id is None else [api.site(target.site_id)]
    for site in sites:
        if site.stop is not None and site.stop.active:
            by, reason = site.stop.by, site.stop.reason
            console.print(f"{site.site_id}: ends the stop by {by}: {reason}", markup=False)


def _watch(
    api: ApiClient, orders: list[StopOrderView], began_s: float, console: Console
) -> dict[str, str]:
    """Wait until all obey or the time is over; those that do not, with what is known of why."""
    left = {given.site_id: "no answer from the API" for given in orders}
    wanted = {given.site_id: given for given in orders}
    while left and time.monotonic() - began_s < OBEY_S:
        for site in _seen(api, orders):
            if site.site_id not in left:
                continue
            if _obeys(site.stop, wanted[site.site_id]):
                took_s = time.monotonic() - began_s
                power = number(site.active_power_kw, "kW", 2, sign=True)
                console.print(f"{site.site_id}: obeys after {took_s:.1f} s, power {power}")
                del left[site.site_id]
            else:
                left[site.site_id] = _why(site, wanted[site.site_id])
        if left:
            time.sleep(POLL_S)
    return left


def _seen(api: ApiClient, orders: list[StopOrderView]) -> list[SiteView]:
    try:
        return [api.site(orders[0].site_id)] if len(orders) == 1 else api.sites().sites
    except BessaiError:  # the fleet may be away for a moment; the order is stored
        return []


def _obeys(stop: StopView | None, order: StopOrderView) -> bool:
    if stop is None or stop.revision < order.revision:
        return False
    return stop.obeyed and stop.active is order.stopped


def _why(site: SiteView, order: StopOrderView) -> str:
    stop = site.stop
    if stop is not None and stop.active is not order.stopped and stop.revision >= order.revision:
        return f"{stop.by} ordered otherwise since: {stop.reason}"
    return f"{site.state.value}, {site.error}" if site.error else site.state.value
