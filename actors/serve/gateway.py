"""What the HTTP API asks of the fleet, so that the API runs against a cluster or a fake alike."""

from __future__ import annotations

from typing import Protocol

from bessai.fleet.views import (
    FleetView,
    HealthView,
    HistoryView,
    LiveView,
    PriceView,
    SchedulesView,
    ScheduleView,
    SitesView,
    SiteView,
    StatusView,
    StopOrdersView,
    StopOrderView,
    StopRequest,
    VersionView,
)


class FleetGateway(Protocol):
    """The fleet as people and programs see it.

    Every method may raise :class:`FleetUnavailable`, except ``health`` and ``version``, which
    answer without a fleet too. An unknown site is None, not an error. A stop or release may
    raise :class:`StoreError`: then nothing was ordered.
    """

    async def stop_site(self, site_id: str, said: StopRequest) -> StopOrderView | None:
        """Store the order that a site rests until it is released."""
        ...

    async def release_site(self, site_id: str, said: StopRequest) -> StopOrderView | None:
        """Store the order that ends a site's stop, whoever ordered it."""
        ...

    async def stop_fleet(self, said: StopRequest) -> StopOrdersView:
        """Store the order that all sites rest until they are released: for all or for none."""
        ...

    async def release_fleet(self, said: StopRequest) -> StopOrdersView:
        """Store the order that ends the stops of all sites: for all or for none."""
        ...

    async def live(self) -> LiveView:
        """Totals and all sites in one consistent answer: the payload of an event."""
        ...

    async def status(self) -> StatusView:
        """Versions, addresses and fallbacks."""
        ...

    async def fleet(self) -> FleetView:
        """Totals over the sites that report now."""
        ...

    async def sites(self) -> SitesView:
        """All sites."""
        ...

    async def site(self, site_id: str) -> SiteView | None:
        """One site, or None where the fleet has no such site."""
        ...

    async def history(self, site_id: str) -> HistoryView | None:
        """Samples of the last market day, or None where the fleet has no such site."""
        ...

    async def schedules(self) -> SchedulesView:
        """The plans of all sites that have one."""
        ...

    async def schedule(self, site_id: str) -> ScheduleView | None:
        """The plan of one site, or None where there is no such site or no plan yet."""
        ...

    async def price(self) -> PriceView:
        """Past 24 h of settled prices and the forecast of the next 24 h."""
        ...

    async def health(self) -> HealthView:
        """Whether the parts work; ``down`` where no fleet answers."""
        ...

    async def version(self) -> VersionView:
        """Versions of what runs."""
        ...

    async def metrics(self) -> str:
        """Prometheus text exposition format 0.0.4."""
        ...
