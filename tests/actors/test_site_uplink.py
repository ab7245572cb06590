"""A site's way to the fleet while Ray's head is away, without Ray."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

from actors.errors import FleetUnavailable
from actors.ray_api import Actor
from actors.site import FleetUplink
from bessai.control import SiteLoop
from bessai.model import MarketClock
from tests.support.site_fakes import FakeDevice, FakeUplink
from tests.support.site_play import site_config
from tests.support.site_values import MARKET_0


@dataclass(frozen=True, slots=True)
class FailingFleet(Actor):
    """A fleet actor whose answer is an error of Ray."""

    error: RayError | None = None

    async def ask(self, method: str, *args: object) -> object:
        raise self.error or AssertionError


@pytest.mark.parametrize(
    ("error", "searches"), [(ActorDiedError(), 2), (ActorUnavailableError("", None), 1)]
)
async def test_only_a_fleet_that_is_gone_for_good_is_searched_again(
    error: RayError, searches: int
) -> None:
    found = []

    def find(name: str) -> Actor:
        found.append(name)
        return FailingFleet(None, error)

    clock = MarketClock(MARKET_0, datetime.now(UTC))
    loop = SiteLoop(site_config(), FakeDevice(), FakeUplink(), clock, renew_s=60.0)
    uplink = FleetUplink(find)
    for _ in range(2):
        with pytest.raises(FleetUnavailable, match=type(error).__name__):
            await uplink.report(loop.snapshot())
    assert len(found) == searches


async def test_a_head_that_is_away_costs_one_thread_and_not_the_name_of_the_inverter() -> None:
    back, searches = threading.Event(), []

    def find(name: str) -> Actor:
        searches.append(name)
        back.wait()
        raise ValueError("no such actor")

    clock = MarketClock(MARKET_0, datetime.now(UTC))
    loop = SiteLoop(site_config(), FakeDevice(), FakeUplink(), clock, renew_s=60.0)
    uplink = FleetUplink(find)
    try:
        for _ in range(40):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.005):
                    await uplink.report(loop.snapshot())
        assert len(searches) == 1
        async with asyncio.timeout(5.0):
            assert await asyncio.get_running_loop().getaddrinfo("localhost", 502)
    finally:
        back.set()
    with pytest.raises(FleetUnavailable, match="ValueError"):
        await uplink.report(loop.snapshot())
    with pytest.raises(FleetUnavailable):
        await uplink.report(loop.snapshot())
    assert len(searches) == 2
