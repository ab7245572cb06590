"""Who hands out epochs to the sites of a fleet, and what a site hears of it; without Ray."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError

from actors.epochs import Deployment, EpochDesk
from actors.errors import AuthorityUnavailable, DeploymentSuperseded
from actors.names import HEAD_NODE, deployment_epoch, fleet_epoch, store_node
from actors.ray_api import Actor
from actors.site import SettlingUplink, SupervisorAuthority
from bessai.errors import BessaiError, ConfigError, StoreError
from bessai.model import Grant, Owner, SiteId, SiteSnapshot, Tenure
from bessai.store.epochs import EpochStore
from tests.support.fleet_values import snapshot
from tests.support.site_fakes import FakeUplink

NORTH = SiteId("north")
OLD = Owner("x", 1, "old")
NEW = Owner("y", 2, "new")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'fleet.db'}"


def desk(url: str, token: str = "first") -> EpochDesk:
    """What each supervisor process of a deployment has."""
    made_by = Owner("driver", 9, token)
    return EpochDesk(url, Deployment("demo", frozenset({"north", "south"}), made_by))


@pytest.fixture
def first(url: str) -> EpochDesk:
    return desk(url)


def test_only_the_newest_claim_is_current(first: EpochDesk) -> None:
    assert first.claim(NORTH, OLD) == Grant(1, None)
    assert first.is_current(NORTH, 1)
    assert first.claim(NORTH, NEW) == Grant(2, OLD)
    assert not first.is_current(NORTH, 1)
    assert first.is_current(NORTH, 2)


def test_a_site_of_another_fleet_is_refused(first: EpochDesk) -> None:
    ghost = SiteId("ghost")
    for ask in (
        lambda: first.claim(ghost, NEW),
        lambda: first.is_current(ghost, 1),
        lambda: first.settle(ghost, 1),
    ):
        with pytest.raises(ConfigError, match="'ghost'"):
            ask()


def test_a_supervisor_that_starts_again_goes_on(url: str) -> None:
    desk(url).claim(NORTH, OLD)
    again = desk(url)
    assert again.is_current(NORTH, 1)
    assert again.claim(NORTH, NEW) == Grant(2, OLD)


def test_of_two_deployments_on_one_store_only_the_later_one_grants_epochs(url: str) -> None:
    """Otherwise each of two Rays would take the site from the other, for ever."""
    first, second = desk(url), desk(url, "second")
    first.claim(NORTH, OLD)
    second.claim(NORTH, NEW)
    for earlier in (first, desk(url)):
        with pytest.raises(DeploymentSuperseded, match="later deployment"):
            earlier.claim(NORTH, Owner("x", 3, "restarted"))
        assert not earlier.is_current(NORTH, 1)
    assert second.is_current(NORTH, 2)


def test_a_deployment_counts_from_its_start_and_not_from_its_first_site(url: str) -> None:
    first, second = desk(url), desk(url, "second")
    first.take_over()
    second.take_over()
    first.take_over()
    with pytest.raises(DeploymentSuperseded):
        first.claim(NORTH, OLD)
    assert second.claim(NORTH, NEW).epoch == 1
    later = first.later_deployment()
    assert later is not None
    assert later.token == "second"
    assert second.later_deployment() is None


def test_a_store_that_lost_its_memory_confirms_nothing(tmp_path: Path, url: str) -> None:
    desk(url).claim(NORTH, OLD)
    for file in tmp_path.iterdir():
        file.unlink()
    again = desk(url)
    assert not again.is_current(NORTH, 1)
    assert again.claim(NORTH, NEW) == Grant(1, None)


def test_a_store_that_is_away_is_tried_again(tmp_path: Path) -> None:
    late = tmp_path / "late"
    waiting = desk(f"sqlite:///{late / 'fleet.db'}")
    with pytest.raises(StoreError):
        waiting.claim(NORTH, NEW)
    late.mkdir()
    assert waiting.claim(NORTH, NEW).epoch == 1


def test_a_takeover_that_was_told_ends_the_memory_of_those_before(first: EpochDesk) -> None:
    first.claim(NORTH, OLD)
    first.settle(NORTH, first.claim(NORTH, NEW).epoch)
    assert first.claim(NORTH, Owner("y", 3, "later")).previous == NEW


def test_no_site_has_the_name_of_a_fleet_or_a_deployment(url: str) -> None:
    with closing(EpochStore.open(url)) as store:
        store.claim(fleet_epoch("north"), OLD)
        store.claim(deployment_epoch("north"), OLD)
        assert store.current("north") == 0


@pytest.mark.parametrize(
    ("address", "node"),
    [("sqlite:////var/lib/fleet.db", HEAD_NODE), ("postgresql://db/fleet", None)],
)
def test_only_a_store_that_is_a_file_ties_its_actors_to_a_node(
    address: str, node: str | None
) -> None:
    assert store_node(address) == node


@dataclass(frozen=True, slots=True)
class FakeSupervisor(Actor):
    """Answers by a desk, as an actor does: what it raises comes wrapped."""

    desk: EpochDesk | None = None
    error: BaseException | None = None
    silent: bool = False
    asked: list[str] = field(default_factory=list)

    async def ask(self, method: str, *args: object) -> object:
        self.asked.append(method)
        if self.silent:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        try:
            return getattr(self.desk, method)(*args)
        except BessaiError as error:
            wrapped = RayTaskError(method, "traceback", error)  # type: ignore[no-untyped-call]
            raise wrapped.as_instanceof_cause() from None  # type: ignore[no-untyped-call]


async def test_a_site_claims_and_confirms_through_the_supervisor(first: EpochDesk) -> None:
    authority = SupervisorAuthority(lambda _: FakeSupervisor(None, first))
    assert await authority.claim(NORTH, OLD) == Grant(1, None)
    assert await authority.is_current(NORTH, 1) is True
    assert await authority.claim(NORTH, NEW) == Grant(2, OLD)
    assert await authority.is_current(NORTH, 1) is False
    await authority.settle(NORTH, 2)
    assert await authority.claim(NORTH, Owner("y", 3, "later")) == Grant(3, NEW)


async def test_a_site_hears_why_it_gets_no_epoch(
    first: EpochDesk, tmp_path: Path, url: str
) -> None:
    authority = SupervisorAuthority(lambda _: FakeSupervisor(None, first))
    with pytest.raises(AuthorityUnavailable, match="is not a site of this fleet"):
        await authority.claim(SiteId("ghost"), OLD)
    await authority.claim(NORTH, OLD)
    with sqlite3.connect(tmp_path / "fleet.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(AuthorityUnavailable, match="locked"):
            await authority.claim(NORTH, NEW)
    desk(url, "second").take_over()
    with pytest.raises(AuthorityUnavailable, match="later deployment"):
        await authority.claim(NORTH, NEW)


@pytest.mark.parametrize(
    ("error", "searches"), [(ActorDiedError(), 2), (ActorUnavailableError("", None), 1)]
)
async def test_only_a_supervisor_that_is_gone_for_good_is_searched_again(
    error: RayError, searches: int
) -> None:
    found = []

    def find(name: str) -> Actor:
        found.append(name)
        return FakeSupervisor(None, error=error)

    authority = SupervisorAuthority(find)
    for _ in range(2):
        with pytest.raises(AuthorityUnavailable, match=type(error).__name__):
            await authority.is_current(NORTH, 1)
    assert found == ["supervisor"] * searches


async def test_a_supervisor_that_does_not_answer_is_not_waited_for() -> None:
    authority = SupervisorAuthority(lambda _: FakeSupervisor(None, silent=True), 0.05)
    with pytest.raises(AuthorityUnavailable, match=r"no answer within 0\.05 s"):
        await authority.is_current(NORTH, 1)


async def granted(authority: SupervisorAuthority) -> Grant | None:
    try:
        return await authority.claim(NORTH, OLD)
    except AuthorityUnavailable:
        return None


async def test_without_a_head_one_thread_waits_and_the_site_hears_in_time(
    first: EpochDesk,
) -> None:
    back, searches = threading.Event(), []

    def find(name: str) -> Actor:
        searches.append(name)
        back.wait()
        return FakeSupervisor(None, first)

    authority = SupervisorAuthority(find, 0.2)
    try:
        for _ in range(5):
            with pytest.raises(AuthorityUnavailable, match="no answer"):
                await authority.claim(NORTH, OLD)
        assert len(searches) == 1
    finally:
        back.set()
    async with asyncio.timeout(10.0):
        while (grant := await granted(authority)) is None:
            pass
    assert grant == Grant(1, None)


def report(epoch: int, tenure: Tenure) -> SiteSnapshot:
    return replace(snapshot("north"), epoch=epoch, tenure=tenure)


async def told(supervisor: FakeSupervisor) -> int:
    """How often it was told that a site was taken over, after a short while."""
    await asyncio.sleep(0.05)
    return supervisor.asked.count("settle")


async def test_a_site_tells_once_that_it_took_over_and_not_before(first: EpochDesk) -> None:
    supervisor = FakeSupervisor(None, first)
    uplink = SettlingUplink(FakeUplink(), SupervisorAuthority(lambda _: supervisor))
    first.claim(NORTH, OLD)
    epoch = first.claim(NORTH, NEW).epoch
    for waiting in (report(0, Tenure.OWNER), report(epoch, Tenure.PROBATION)):
        await uplink.report(waiting)
    assert await told(supervisor) == 0
    assert first.claim(NORTH, Owner("y", 3, "died")).previous == OLD
    async with asyncio.timeout(10.0):
        while await told(supervisor) == 0:
            await uplink.report(report(epoch, Tenure.OWNER))
    for _ in range(3):
        await uplink.report(report(epoch, Tenure.OWNER))
    assert await told(supervisor) == 1
    assert first.claim(NORTH, Owner("y", 4, "later")).previous == Owner("y", 3, "died")


async def test_a_takeover_that_could_not_be_told_is_told_again_and_no_report_waits() -> None:
    supervisor = FakeSupervisor(None, silent=True)
    fleet = FakeUplink()
    uplink = SettlingUplink(fleet, SupervisorAuthority(lambda _: supervisor, 0.1))
    for _ in range(5):
        await uplink.report(report(4, Tenure.OWNER))
    assert len(fleet.snapshots) == 5
    async with asyncio.timeout(10.0):
        while await told(supervisor) < 2:
            await uplink.report(report(4, Tenure.OWNER))
