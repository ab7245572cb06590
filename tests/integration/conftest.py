from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from bessai.fleet.views import FleetView, SitesView, SiteView
from tests.support.command import Command, eventually, running


@dataclass(frozen=True)
class Demo:
    """A running demo and its API."""

    command: Command
    url: str
    dashboard: str
    folder: Path

    @property
    def token(self) -> str:
        return (self.folder / "token").read_text(encoding="ascii")

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=10)

    def fleet(self) -> FleetView:
        return FleetView.model_validate_json(self.get("/api/v1/fleet").content)

    def sites(self) -> dict[str, SiteView]:
        found = SitesView.model_validate_json(self.get("/api/v1/sites").content)
        return {site.site_id: site for site in found.sites}

    def wait_until_running(self) -> dict[str, SiteView]:
        def all_run() -> dict[str, SiteView]:
            response = self.get("/api/v1/sites")
            if response.status_code != httpx.codes.OK:
                return {}
            sites = self.sites()
            return sites if all(site.state == "running" for site in sites.values()) else {}

        return eventually(all_run, 60)


@pytest.fixture(scope="package")
def running_demo() -> Iterator[Demo]:
    with running("demo", "--sites", "3", "--port", "0") as command:
        command.wait_for(r"All 3 sites run")
        url = command.wait_for(r"page +(http\S+)")
        dashboard = command.wait_for(r"Ray dashboard +(http\S+)")
        token = command.wait_for(r"its token +cat (\S+)")
        yield Demo(command, url, dashboard, Path(token).parent)


@pytest.fixture
def demo(running_demo: Demo) -> Demo:
    """A demo whose sites all run, whatever the test before did to it."""
    running_demo.wait_until_running()
    return running_demo
