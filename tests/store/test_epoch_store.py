from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bessai.errors import ConfigError, StoreError
from bessai.model import Grant, Owner
from bessai.store.epochs import EpochStore

ROOT = Path(__file__).parents[2]
CLAIMER = """
import sys, time
from bessai.model import Owner
from bessai.store.epochs import EpochStore
store, host = EpochStore.open(sys.argv[1]), sys.argv[2]
print("open", flush=True)
sys.stdin.readline()
epochs, end = [], time.monotonic() + 30
def together():  # others claimed in between; otherwise nothing is shown
    return len(epochs) >= 5 and epochs[-1] - epochs[0] > len(epochs)
while not together() and time.monotonic() < end:
    epochs.append(store.claim("north", Owner(host, len(epochs), f"{host}-{len(epochs)}")).epoch)
    time.sleep(0.01)
print(*epochs, together(), flush=True)
"""


def owner(host: str, pid: int = 1) -> Owner:
    return Owner(host, pid, f"{host}-{pid}")


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'fleet.db'}"


@pytest.fixture
def store() -> Iterator[EpochStore]:
    with closing(EpochStore.open("sqlite://")) as opened:
        yield opened


def test_epochs_grow_by_one_for_each_name_and_tell_who_was_before(store: EpochStore) -> None:
    assert (store.current("north"), store.owner_of("north")) == (0, None)
    assert store.claim("north", owner("x", 1)) == Grant(1, None)
    assert store.claim("north", owner("x", 2)) == Grant(2, owner("x", 1))
    assert store.claim("south", owner("x", 3)) == Grant(1, None)
    assert store.current("north") == 2
    assert store.owner_of("north") == owner("x", 2)


def test_epochs_survive_a_restart_of_the_store(tmp_path: Path) -> None:
    with closing(EpochStore.open(url_of(tmp_path))) as first:
        first.claim("north", owner("x"))
    with closing(EpochStore.open(url_of(tmp_path))) as again:
        assert again.claim("north", owner("y")) == Grant(2, owner("x"))


def test_who_claims_twice_is_not_its_own_predecessor(store: EpochStore) -> None:
    """The first answer may have been lost on its way."""
    store.claim("north", owner("x"))
    assert store.claim("north", owner("y")).previous == owner("x")
    assert store.claim("north", owner("y")) == Grant(3, owner("x"))


def test_who_claims_twice_hears_again_of_one_on_its_own_host(store: EpochStore) -> None:
    store.claim("north", owner("x", 1))
    store.claim("north", owner("x", 2))
    assert store.claim("north", owner("x", 2)) == Grant(3, owner("x", 1))


def test_one_that_only_claimed_does_not_hide_an_owner_on_another_host(store: EpochStore) -> None:
    store.claim("north", owner("x"))
    for pid in (1, 2, 3):
        assert store.claim("north", owner("y", pid)).previous == owner("x")
    assert store.owner_of("north") == owner("y", 3)


def test_owners_are_forgotten_once_a_later_one_took_over(store: EpochStore) -> None:
    store.claim("north", owner("x"))
    taken = store.claim("north", owner("y", 1)).epoch
    store.settle("north", taken)
    assert store.claim("north", owner("y", 2)) == Grant(3, owner("y", 1))


def test_an_old_owner_that_says_it_took_over_hides_no_later_one(store: EpochStore) -> None:
    zombie = store.claim("north", owner("x")).epoch
    store.claim("north", owner("z"))
    store.settle("north", zombie)
    assert store.claim("north", owner("x", 2)).previous == owner("z")


def test_a_process_that_starts_again_and_again_does_not_fill_the_table(tmp_path: Path) -> None:
    with closing(EpochStore.open(url_of(tmp_path))) as store:
        store.claim("north", owner("x"))
        for pid in range(1, 30):
            store.claim("north", owner("y", pid))
    with sqlite3.connect(tmp_path / "fleet.db") as file:
        assert file.execute("SELECT count(*) FROM epoch_claims").fetchone() == (3,)


def test_threads_never_get_the_same_epoch(tmp_path: Path) -> None:
    stores = [EpochStore.open(url_of(tmp_path)) for _ in range(4)]
    epochs: list[int] = []
    start = threading.Barrier(8)

    def claim(n: int) -> None:
        start.wait()
        epochs.extend(stores[n % 4].claim("north", owner("x", n)).epoch for _ in range(10))

    threads = [threading.Thread(target=claim, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for opened in stores:
        opened.close()
    assert sorted(epochs) == list(range(1, 81))


def test_processes_never_get_the_same_epoch_and_each_hears_its_own_in_order(
    tmp_path: Path,
) -> None:
    claimers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, url_of(tmp_path) + "?timeout=30", f"host{n}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(3)
    ]
    try:
        for process in claimers:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
        for process in claimers:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said = [process.communicate(timeout=60)[0] for process in claimers]
    finally:
        for process in claimers:
            process.kill()
            process.wait()
    answers = [[int(word) for word in text.split()[:-1]] for text in said]
    assert [epochs for epochs in answers if epochs != sorted(epochs)] == []
    together = sorted(epoch for epochs in answers for epoch in epochs)
    assert together == list(range(1, len(together) + 1))
    assert any(text.endswith("True\n") for text in said)


def test_a_store_that_opens_twice_at_once_opens_twice(tmp_path: Path) -> None:
    start, failed = threading.Barrier(6), []

    def open_it() -> None:
        start.wait()
        try:
            EpochStore.open(url_of(tmp_path)).close()
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []


def test_what_was_not_committed_was_not_granted(tmp_path: Path) -> None:
    store = EpochStore.open(url_of(tmp_path) + "?timeout=0.1")
    store.claim("north", owner("x"))
    with sqlite3.connect(tmp_path / "fleet.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            store.claim("north", owner("y"))
        assert store.current("north") == 1
        other.execute("ROLLBACK")
    assert store.owner_of("north") == owner("x")
    assert store.claim("north", owner("y")) == Grant(2, owner("x"))
    store.close()


def test_a_claim_that_fails_half_way_leaves_no_trace(store: EpochStore) -> None:
    store.claim("north", owner("x"))
    with pytest.raises(StoreError, match="cannot be written"):
        store.claim("north", Owner("y", 2**70, "too large"))
    assert (store.current("north"), store.owner_of("north")) == (1, owner("x"))


def test_each_claim_is_on_the_disk_before_it_is_granted(tmp_path: Path) -> None:
    """After a power cut an epoch must not be handed out a second time."""
    store = EpochStore.open(url_of(tmp_path))
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    store.close()


def test_it_lives_beside_the_accounts_of_an_earlier_version(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "fleet.db") as file:
        file.execute("CREATE TABLE bessai_schema (version INTEGER NOT NULL)")
        file.execute("INSERT INTO bessai_schema VALUES (1)")
    with closing(EpochStore.open(url_of(tmp_path))) as store:
        assert store.claim("north", owner("x")).epoch == 1


def test_a_missing_folder_and_a_wrong_address_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="missing"):
        EpochStore.open(f"sqlite:///{tmp_path / 'missing' / 'fleet.db'}")
    with pytest.raises(ConfigError, match="store url"):
        EpochStore.open("nonsense")
