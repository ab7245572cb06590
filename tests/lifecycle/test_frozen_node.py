"""One battery, one master: nodes and processes freeze, thaw and die on a real Ray.

The witness is the simulated inverter: it keeps a log of each write that reached it, and from
which connection it came.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import psutil
import pytest

from actors.names import deployment_epoch
from bessai.model import Owner
from bessai.sim.journal import WriteEntry
from bessai.store.epochs import EpochStore
from tests.support.command import eventually
from tests.support.fence_cluster import Fenced, Knobs, fenced_cluster, frozen
from tests.support.fence_driver import FLEET, SITE

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]

CYCLE_S = 1.0
IN_FLIGHT_S = 0.5
"""A request may be in the device's socket when its sender is stopped."""


@pytest.fixture(scope="module")
def knobs() -> Knobs:
    return Knobs()


@pytest.fixture(scope="module")
def cluster(knobs: Knobs) -> Iterator[Fenced]:
    with fenced_cluster(knobs) as started:
        yield started


def writers(cluster: Fenced, since_s: float) -> set[int]:
    return {cluster.watch.pid_of(entry) for entry in cluster.writes(since_s)}


def epochs_heard(cluster: Fenced) -> list[tuple[int, int]]:
    """Process and epoch of each report, without repetitions, in order."""
    heard = cast("list[tuple[int, int, str, str | None]]", cluster.ask("heard"))
    return list(dict.fromkeys((pid, epoch) for pid, epoch, *_ in heard))


def test_a_killed_actor_controls_again_within_ten_seconds(cluster: Fenced) -> None:
    before = cluster.controlling_pid()
    killed_at = time.monotonic()
    os.kill(before, signal.SIGKILL)
    first = cluster.first_write_after(killed_at + IN_FLIGHT_S, 30, not_by=before)
    print(f"killed actor: writes again after {first.at_s - killed_at:.1f} s")
    assert first.at_s - killed_at < 10.0
    assert writers(cluster, first.at_s) == {cluster.controlling_pid()}


def test_a_process_that_thaws_only_reads_until_its_epoch_is_confirmed(cluster: Fenced) -> None:
    pid = cluster.controlling_pid()
    with frozen(cluster.supervisor()):
        with frozen(psutil.Process(pid)):
            frozen_at = time.monotonic()
            time.sleep(4 * CYCLE_S)
        thawed_at = time.monotonic()
        time.sleep(6 * CYCLE_S)
        alone = cluster.writes(frozen_at + IN_FLIGHT_S)
        requests = sum(c.requests for c in cluster.summary().connections)
        time.sleep(2 * CYCLE_S)
        assert sum(c.requests for c in cluster.summary().connections) > requests  # it reads
        assert alone == []
    answered_at = time.monotonic()
    first = cluster.first_write_after(thawed_at, 30)
    print(f"thawed actor: writes {first.at_s - answered_at:.1f} s after the supervisor is back")
    assert cluster.watch.pid_of(first) == pid
    assert first.at_s >= answered_at


def test_a_claim_by_hand_ends_the_process_once_and_starts_no_fight(cluster: Fenced) -> None:
    before = cluster.controlling_pid()
    by_hand = cast("int", cluster.ask("claim"))
    eventually(lambda: not psutil.pid_exists(before), 30)
    after = cluster.first_write_after(time.monotonic(), 60, not_by=before)
    pid = cluster.watch.pid_of(after)
    time.sleep(15 * CYCLE_S)
    assert cluster.site_pids() == {pid}
    assert epochs_heard(cluster)[-1] == (pid, by_hand + 1)
    assert cluster.ask("restarts") == 0


def test_a_frozen_node_that_thaws_is_never_a_second_master(cluster: Fenced, knobs: Knobs) -> None:
    old = cluster.controlling_pid()
    node = cluster.node_of(old)
    with frozen(*cluster.node_processes(node)):
        frozen_at = time.monotonic()
        takeover = cluster.first_write_after(
            frozen_at + IN_FLIGHT_S, knobs.dead_man_s + 90, not_by=old
        )
        new = cluster.watch.pid_of(takeover)
        assert psutil.pid_exists(old)  # or there is nothing to show
        assert cluster.node_of(new) != node
        time.sleep(5 * CYCLE_S)
    thawed_at = time.monotonic()
    last_of_old = max(e.at_s for e in cluster.writes() if cluster.watch.pid_of(e) == old)
    eventually(lambda: not psutil.pid_exists(old), 90)
    ended_at = time.monotonic()
    time.sleep(10 * CYCLE_S)
    print(
        f"frozen node: last write of the old owner {last_of_old - frozen_at:+.2f} s, first of the "
        f"new one {takeover.at_s - frozen_at:.1f} s after the freeze; the old process ended "
        f"{ended_at - thawed_at:.1f} s after the thaw"
    )
    assert last_of_old <= frozen_at + IN_FLIGHT_S
    assert takeover.at_s - last_of_old >= knobs.dead_man_s
    assert writers(cluster, takeover.at_s) == {new}
    assert masters_in_order(cluster, frozen_at - 10) == [old, new]
    assert cluster.writes(thawed_at + 5)  # the new owner goes on


def test_an_earlier_deployment_leaves_the_sites_to_a_later_one(cluster: Fenced) -> None:
    """As of two Rays on one store; without it they would end each other's sites for ever."""
    cluster.controlling_pid()
    with closing(EpochStore.open(cluster.store_url)) as store:
        store.claim(deployment_epoch(FLEET), Owner("elsewhere", 1, "a later one"))
        later_at = time.monotonic()
        eventually(lambda: all(c.closed_at_s for c in cluster.summary().connections), 90)
        print(f"earlier deployment: left the device after {time.monotonic() - later_at:.1f} s")
        assert cluster.summary().commanded_kw is None  # it was still its own to give back
        left_at, epoch = time.monotonic(), store.current(SITE)
        time.sleep(10 * CYCLE_S)
        assert cluster.writes(left_at) == []
        assert all(c.closed_at_s for c in cluster.summary().connections)
        assert store.current(SITE) == epoch


def masters_in_order(cluster: Fenced, since_s: float) -> list[int]:
    """Who wrote, one entry each time that another process began."""
    found: list[int] = []
    entries: list[WriteEntry] = cluster.writes(since_s)
    for entry in entries:
        pid = cluster.watch.pid_of(entry)
        if found[-1:] != [pid]:
            found.append(pid)
    return found
