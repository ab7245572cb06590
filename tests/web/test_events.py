from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
from ray import cloudpickle, serve

from actors.errors import FleetUnavailable
from actors.serve.events import KEEP_ALIVE, RENEW, EventHub, EventTiming
from actors.serve.web import create_app
from bessai.fleet.views import LiveView, ProblemView
from tests.support.web_fake_fleet import FakeFleet
from tests.support.web_server import served
from tests.web.conftest import FAST

LIMIT_S = 8


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    """(name, data) of each event; ``retry`` comes as ("retry", "700")."""
    name, data = "message", ""
    async for line in answer.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = value
        elif field == "retry":
            yield "retry", value
        elif not line and data:
            yield name, data
            name, data = "message", ""


async def test_a_watcher_sees_snapshots_that_move(base: str) -> None:
    async with (
        asyncio.timeout(LIMIT_S),
        httpx.AsyncClient(base_url=base) as client,
        client.stream("GET", "/api/v1/events") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        stream = events(answer)
        assert await anext(stream) == ("retry", "700")
        seen = [await anext(stream) for _ in range(3)]
    assert {name for name, _ in seen} == {"snapshot"}
    moments = [LiveView.model_validate_json(data).fleet.clock.market_now for _, data in seen]
    assert moments == sorted(set(moments))


async def test_fleet_gone_is_said_and_its_return_too(
    base: str, fleet: FakeFleet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "actors.serve.events")
    async with (
        asyncio.timeout(LIMIT_S),
        httpx.AsyncClient(base_url=base) as client,
        client.stream("GET", "/api/v1/events") as answer,
    ):
        stream = events(answer)
        names = [(await anext(stream))[0] for _ in range(2)]
        fleet.available = False
        while (event := await anext(stream))[0] == "snapshot":
            pass
        assert event[0] == "unavailable"
        assert ProblemView.model_validate_json(event[1]).error == "no fleet answers"
        assert (await anext(stream))[0] == "unavailable"
        fleet.available = True
        while (event := await anext(stream))[0] == "unavailable":
            pass
        assert event[0] == "snapshot"
    assert names == ["retry", "snapshot"]
    assert [record.message for record in caplog.records] == [
        "fleet is unavailable",
        "fleet answers again",
    ]


class SlowFleet(FakeFleet):
    async def live(self) -> LiveView:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits that long")


async def test_a_fleet_that_hangs_counts_as_unavailable() -> None:
    hub = EventHub(SlowFleet(), EventTiming(poll_timeout_s=0.02))
    stream = hub.stream()
    async with asyncio.timeout(LIMIT_S):
        await anext(stream)
        assert (await anext(stream)).startswith(b"event: unavailable")
    await stream.aclose()


async def test_many_watchers_share_one_poll(fleet: FakeFleet) -> None:
    hub, asked = EventHub(fleet, FAST), fleet.live_calls

    async def watch() -> list[bytes]:
        stream = hub.stream()
        seen = [await anext(stream) for _ in range(6)]
        await stream.aclose()
        return seen[1:]

    async with asyncio.timeout(LIMIT_S):
        seen = await asyncio.gather(*(watch() for _ in range(50)))
    assert all(part == seen[0] for part in seen)
    assert fleet.live_calls - asked <= 7


async def test_watchers_gone_end_the_poll_and_a_new_one_starts_it_again(fleet: FakeFleet) -> None:
    hub = EventHub(fleet, EventTiming(period_s=0.01))
    for _ in range(3):
        stream = hub.stream()
        await anext(stream)
        assert hub.watchers == 1
        await anext(stream)
        await stream.aclose()
        assert hub.watchers == 0
    asked = fleet.live_calls
    await asyncio.sleep(0.05)
    assert fleet.live_calls == asked


async def test_a_slow_watcher_gets_the_newest_and_misses_the_rest(fleet: FakeFleet) -> None:
    hub = EventHub(fleet, EventTiming(period_s=0.1))
    stream, pace = hub.stream(), hub.stream()
    async with asyncio.timeout(LIMIT_S):
        await anext(stream)
        await anext(pace)
        newest = [await anext(pace) for _ in range(10)][-1]
        assert await anext(stream) == newest
    await stream.aclose()
    await pace.aclose()


async def test_silence_is_broken_by_a_keep_alive() -> None:
    hub = EventHub(SlowFleet(), EventTiming(poll_timeout_s=30, keep_alive_s=0.02))
    stream = hub.stream()
    async with asyncio.timeout(LIMIT_S):
        await anext(stream)
        assert await anext(stream) == KEEP_ALIVE
        assert await anext(stream) == KEEP_ALIVE
    await stream.aclose()


async def test_a_stream_ends_before_a_stuck_client_fills_the_proxy(fleet: FakeFleet) -> None:
    hub = EventHub(fleet, EventTiming(period_s=0.01, longest_s=0.1))
    async with asyncio.timeout(LIMIT_S):
        seen = [event async for event in hub.stream()]
    assert len(seen) > 3
    assert seen[-1] == RENEW
    assert hub.watchers == 0


async def test_a_silent_stream_ends_in_time_too() -> None:
    hub = EventHub(SlowFleet(), EventTiming(poll_timeout_s=30, keep_alive_s=30, longest_s=0.05))
    async with asyncio.timeout(LIMIT_S):
        assert [event async for event in hub.stream()][-1] == RENEW


async def test_a_defect_ends_the_streams_so_that_clients_reconnect(
    fleet: FakeFleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.crash = True
    hub = EventHub(fleet, FAST)
    async with asyncio.timeout(LIMIT_S):
        assert len([event async for event in hub.stream()]) == 1
        assert "polling the fleet failed" in caplog.text
        fleet.crash = False
        stream = hub.stream()
        await anext(stream)
        assert (await anext(stream)).startswith(b"event: snapshot")
    await stream.aclose()


async def test_a_client_that_leaves_frees_its_slot(base: str, fleet: FakeFleet) -> None:
    async with asyncio.timeout(LIMIT_S), httpx.AsyncClient(base_url=base) as client:
        for _ in range(3):
            async with client.stream("GET", "/api/v1/events") as answer:
                stream = events(answer)
                await anext(stream)
                await anext(stream)
        asked = -1
        while asked != fleet.live_calls:  # the server notices a closed socket a moment later
            asked = fleet.live_calls
            await asyncio.sleep(4 * FAST.period_s)


def test_the_recipe_of_the_app_travels_to_another_process() -> None:
    recipe = partial(create_app, FakeFleet(), api_key="k", loopback_only=True)
    travelled = pickle.loads(cloudpickle.dumps(recipe))  # type: ignore[no-untyped-call]
    with served(travelled()) as base:
        answer = httpx.get(f"{base}/api/v1/fleet", headers={"X-API-Key": "k"})
        assert answer.status_code == 200


def test_the_app_itself_can_be_frozen_into_a_deployment() -> None:
    class Ingress:
        """An empty deployment; the app is pickled and loaded when it is wrapped."""

    app = create_app(FakeFleet(), api_key="k", loopback_only=True)
    assert issubclass(serve.ingress(app)(Ingress), Ingress)


def test_fleet_unavailable_survives_pickling() -> None:
    error = FleetUnavailable("no fleet answers", fix="start one")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, FleetUnavailable)
    assert str(again) == str(error)
