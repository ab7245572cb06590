from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError

from actors.errors import FleetUnavailable
from actors.fleet import ServeApp
from actors.ray_api import Actor
from actors.serve.api import RayGateway
from bessai.errors import ModelError
from bessai.fleet.views import StopRequest


async def test_where_no_fleet_runs_health_says_so_in_plain_words() -> None:
    def find(name: str) -> Actor:
        raise ValueError(f"Failed to look up actor {name}")

    check = (await RayGateway(find).health()).checks[0]
    assert check.detail == (
        "no fleet answers now (none runs on this Ray); start one with: bessai up FLEET.yaml"
    )


async def test_a_head_that_is_away_does_not_hold_a_question() -> None:
    """Looking up a name blocks for as long as Ray's head is away."""
    back = threading.Event()

    def find(_name: str) -> Actor:
        back.wait(10)
        raise ValueError("no such actor")

    gateway = RayGateway(find, timeout_s=0.1)
    try:
        async with asyncio.timeout(3):
            with pytest.raises(FleetUnavailable):
                await gateway.fleet()
    finally:
        back.set()


@dataclass(frozen=True, slots=True)
class FailingFleet(Actor):
    """A fleet actor whose answer is an error of Ray."""

    error: RayError | None = None

    async def ask(self, method: str, *args: object) -> object:
        raise self.error or AssertionError


@pytest.mark.parametrize(
    ("error", "searches"), [(ActorDiedError(), 2), (ActorUnavailableError("", None), 1)]
)
async def test_without_a_fleet_health_is_down_and_the_rest_unavailable(
    error: RayError, searches: int
) -> None:
    found = []

    def find(name: str) -> Actor:
        found.append(name)
        return FailingFleet(None, error)

    gateway = RayGateway(find)
    health = await gateway.health()
    assert (health.status, health.checks[0].name) == ("down", "fleet")
    with pytest.raises(FleetUnavailable, match=r"no fleet answers now.*bessai up"):
        await gateway.live()
    assert len(found) == searches, "only a fleet that is gone for good is searched again"


async def test_an_order_without_an_answer_may_have_been_taken_and_says_so() -> None:
    gateway = RayGateway(lambda _name: FailingFleet(None, ActorUnavailableError("", None)))
    said = StopRequest(by="Ana", reason="smoke")
    for asked in (gateway.stop_site("a", said), gateway.release_fleet(said)):
        with pytest.raises(FleetUnavailable, match=r"may have taken the order or not.*again"):
            await asked


@dataclass
class Refusing:
    """A Serve handle whose model refuses or breaks."""

    cause: Exception
    looked_up: int = 0

    def find(self, _name: str) -> Any:
        self.looked_up += 1
        return self

    @property
    def forecast(self) -> Refusing:
        return self

    async def remote(self) -> None:
        error: Any = RayTaskError
        raise error("forecast", "traceback", self.cause).as_instanceof_cause()


async def test_a_model_that_refuses_says_why_and_is_not_called_absent() -> None:
    model = Refusing(
        ModelError("needs 48 h of past prices", field="crucero_220", fix="start later")
    )
    app = ServeApp("price", model.find)
    for _ in range(2):
        with pytest.raises(ModelError) as raised:
            await app.call("forecast")
        assert str(raised.value) == "crucero_220: needs 48 h of past prices; start later"
    assert model.looked_up == 1


async def test_a_model_that_breaks_is_looked_up_anew() -> None:
    model = Refusing(KeyError("defect"))
    app = ServeApp("price", model.find)
    for _ in range(2):
        with pytest.raises(ModelError, match="price model on Ray Serve does not answer"):
            await app.call("forecast")
    assert model.looked_up == 2
