"""Stops are obeyed at once; no kill, full disk or old word makes a site forget one."""

from __future__ import annotations

import os
import random
import resource
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bessai.control.counters import Tally
from bessai.control.journal import Journal
from bessai.control.stop_file import StopFile
from bessai.control.stops import StopKeeper
from bessai.errors import StoreError
from bessai.model import Freeze, StopOrder, Stops
from bessai.model.stop import NO_STOPS
from tests.support.site_values import SITE

AT = datetime(2026, 5, 1, 8, 0, tzinfo=UTC)


def order(revision: int, *, stopped: bool) -> StopOrder:
    return StopOrder(revision, stopped, "Ana", "smoke" if stopped else "all clear", AT)


STOPPED = Stops(order(1, stopped=True))
FROZEN = Stops(order(2, stopped=False), Freeze("a guard", "rogue writes", AT, 2))


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Site:
    """The keeper of one site and its restarts."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.restart()

    def restart(self) -> StopKeeper:
        self.tally = Tally()
        self.keeper = StopKeeper(StopFile(self.path), lambda: AT, self.tally, Journal(SITE))
        self.keeper.recall()
        return self.keeper

    def hear(self, newest: StopOrder | None) -> None:
        """One report and its answer."""
        self.keeper.hear(newest, self.keeper.stops, answered=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alpha.stops.json"


@pytest.fixture
def site(path: Path) -> Site:
    return Site(path)


@pytest.mark.parametrize("stops", [NO_STOPS, STOPPED, FROZEN])
def test_what_was_saved_is_loaded(path: Path, stops: Stops) -> None:
    assert not StopFile(path).exists
    StopFile(path).save(stops)
    assert StopFile(path).exists
    assert StopFile(path).load() == stops
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_torn_file_is_never_taken_for_no_stop(path: Path) -> None:
    StopFile(path).save(FROZEN)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreError, match="cannot be read"):
            StopFile(path).load()


def test_a_kill_in_the_middle_of_a_save_leaves_the_old_or_the_new(path: Path) -> None:
    StopFile(path).save(STOPPED)
    chance, kills = random.Random(1), 0
    seen: set[Stops] = set()
    while kills < 20 or len(seen) < 2:
        begun_at = path.stat().st_mtime_ns
        child = os.fork()
        if child == 0:
            while True:
                for stops in (STOPPED, FROZEN):
                    StopFile(path).save(stops)
        while path.stat().st_mtime_ns == begun_at:
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = StopFile(path).load()
        assert found in (STOPPED, FROZEN)
        seen.add(found)
        kills += 1


def test_a_save_is_on_the_disk_with_its_name_before_it_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def spy(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        synced.append(kind + (" named" if path.exists() else ""))
        real(handle)

    monkeypatch.setattr(os, "fsync", spy)
    StopFile(path).save(STOPPED)
    assert synced == ["file", "folder named"]


def test_a_full_disk_keeps_what_was_saved_before(path: Path) -> None:
    StopFile(path).save(STOPPED)
    with full_disk(), pytest.raises(StoreError, match="cannot be written"):
        StopFile(path).save(NO_STOPS)
    assert StopFile(path).load() == STOPPED


def test_a_folder_that_takes_no_file_does_not_keep_a_site_from_stopping() -> None:
    site = Site(Path("/proc/alpha.stops.json"))
    site.keeper.freeze("a guard", "rogue writes")
    assert site.keeper.stops.active
    assert site.tally.counters().safety_blocks["stop_not_saved"] == 1


def test_without_a_file_it_is_remembered_in_the_process(path: Path) -> None:
    memory = StopFile(None)
    memory.save(STOPPED)
    assert memory.load() == STOPPED
    assert not memory.exists


def test_a_stop_survives_restarts_until_it_is_released(site: Site) -> None:
    site.hear(order(1, stopped=True))
    for _ in range(3):
        assert site.restart().stops.text() == "stopped by Ana: smoke"
    site.hear(order(2, stopped=False))
    assert not site.keeper.stops.active
    assert not site.restart().stops.active


def test_an_older_order_and_a_silent_fleet_change_nothing(site: Site) -> None:
    site.hear(order(3, stopped=True))
    for older in (order(2, stopped=False), order(3, stopped=False), None):
        site.hear(older)
        assert site.keeper.stops.active
    assert site.restart().stops.active


def test_a_freeze_is_ended_by_a_release_that_came_after_it(site: Site) -> None:
    site.hear(order(2, stopped=False))
    site.keeper.freeze("a guard", "rogue writes")
    site.keeper.freeze("another guard", "late to the party")
    assert site.restart().stops.text() == "frozen by a guard: rogue writes"
    site.hear(order(2, stopped=False))
    site.hear(order(3, stopped=True))
    assert site.keeper.stops.active
    site.hear(order(4, stopped=False))
    assert not site.keeper.stops.active


def test_a_release_from_before_the_freeze_does_not_end_it_when_it_is_heard_late(
    site: Site,
) -> None:
    """The site was cut off while it was stopped and released; then its guard froze it."""
    site.hear(order(3, stopped=True))
    before = site.keeper.stops
    site.keeper.freeze("a guard", "rogue writes")
    site.keeper.hear(order(5, stopped=False), before, answered=True)
    assert site.keeper.stops.active, "the report that was answered did not tell of the freeze"
    site.hear(order(5, stopped=False))
    assert site.keeper.stops.active
    site.hear(order(6, stopped=False))
    assert not site.keeper.stops.active


@pytest.mark.parametrize("text", [b"", b'{"order": {"revision": 7, "sto', b"\xff\xfe"])
def test_a_memory_that_cannot_be_read_rests_until_a_person_looked(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    site = Site(path)
    assert site.keeper.stops.active
    assert not site.keeper.known
    site.hear(None)
    assert site.restart().stops.active
    site.hear(None)
    site.hear(order(1, stopped=False))
    assert not site.keeper.stops.active


def test_an_old_release_in_the_first_answer_does_not_end_an_unreadable_memory(path: Path) -> None:
    path.write_bytes(b"{")
    site = Site(path)
    site.hear(order(7, stopped=False))
    assert site.keeper.stops.active
    assert site.restart().stops.active
    site.hear(order(8, stopped=False))
    assert not site.keeper.stops.active


def test_a_place_that_cannot_be_looked_at_may_hold_a_stop(tmp_path: Path) -> None:
    site = Site(tmp_path / ("x" * 300))
    assert site.keeper.stops.active


def test_a_stop_that_could_not_be_saved_is_saved_when_there_is_space(site: Site) -> None:
    site.hear(order(1, stopped=False))
    with full_disk():
        site.hear(order(2, stopped=True))
        assert site.keeper.stops.active
        site.hear(order(2, stopped=True))
    assert not StopFile(site.path).load().active
    site.hear(order(2, stopped=True))
    assert site.restart().stops.active


def test_whether_all_stops_are_known(path: Path) -> None:
    site = Site(path)
    told = [site.keeper.known]
    site.keeper.hear(None, NO_STOPS, answered=False)
    told.append(site.keeper.known)
    site.hear(None)
    assert [*told, site.keeper.known] == [False, False, True]
    site.hear(order(1, stopped=False))
    assert site.restart().known


def test_the_newest_word_is_that_with_the_highest_revision() -> None:
    stops = NO_STOPS
    assert stops.heard(None) is stops
    stops = stops.heard(order(4, stopped=True))
    assert (stops.active, stops.revision) == (True, 4)
    late = replace(order(3, stopped=False), at=AT + timedelta(hours=1))
    assert stops.heard(late) is stops
