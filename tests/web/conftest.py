from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from actors.serve.events import EventTiming
from actors.serve.web import create_app
from tests.support.web_fake_fleet import FakeFleet
from tests.support.web_server import served

FAST = EventTiming(period_s=0.05, poll_timeout_s=0.5, keep_alive_s=5, retry_s=0.7)


@dataclass(frozen=True, slots=True)
class Running:
    """A fake fleet and the address under which a real server shows it."""

    fleet: FakeFleet
    base: str


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    fleet = FakeFleet()
    app = create_app(fleet, api_key=None, loopback_only=True, timing=FAST)
    with served(app) as base:
        yield Running(fleet, base)


@pytest.fixture
def fleet(running: Running) -> FakeFleet:
    running.fleet.recover()
    return running.fleet


@pytest.fixture
def base(running: Running, fleet: FakeFleet) -> str:
    """Address of the running API, with the fleet well again."""
    assert fleet is running.fleet
    return running.base


@pytest.fixture
def api(base: str) -> Iterator[httpx.Client]:
    """A client of the open API, over a real socket."""
    with httpx.Client(base_url=base, timeout=10) as client:
        yield client
