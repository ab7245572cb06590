"""The lock of one device between real processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bessai.control.owner_lock import OwnerLock
from bessai.model import Owner

HOLD = """
import os, sys, time
from pathlib import Path
from bessai.control.owner_lock import OwnerLock
from bessai.model import Owner
lock = OwnerLock(Path(sys.argv[1]), Owner("here", os.getpid(), "t"))
print(lock.take(), flush=True)
sys.stdin.read()
lock.drop()
"""

CONTEND = """
import os, sys
from pathlib import Path
from bessai.control.owner_lock import OwnerLock
from bessai.model import Owner
path, turns = Path(sys.argv[1]), int(sys.argv[2])
lock, witness = OwnerLock(path, Owner("here", os.getpid(), "t")), path.with_suffix(".inside")
print("ready", flush=True)
sys.stdin.readline()
while turns:
    if lock.take():
        os.close(os.open(witness, os.O_CREAT | os.O_EXCL))  # fails where another one is inside
        witness.unlink()
        lock.drop()
        turns -= 1
"""


@contextmanager
def child(script: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script, *map(str, args)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "10.0.0.7_502.lock"


def mine(path: Path) -> OwnerLock:
    return OwnerLock(path, Owner("here", os.getpid(), "mine"))


def test_a_killed_owner_frees_it_at_once_and_a_frozen_one_keeps_it(path: Path) -> None:
    lock = mine(path)
    with child(HOLD, path) as other:
        assert first_line(other) == "True"
        assert not lock.take()
        assert not lock.held
        assert lock.holder() == f"another process of this machine, pid {other.pid}"
        other.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, other.pid, os.WSTOPPED)
        for _ in range(20):
            assert not lock.take()
            time.sleep(0.01)
        other.kill()
        other.wait()
        assert lock.take()
    assert f'"pid": {os.getpid()}' in path.read_text()
    lock.drop()


def test_one_that_is_given_back_leaves_no_file(path: Path) -> None:
    lock, other = mine(path), mine(path)
    assert lock.take()
    assert lock.take(), "taking twice is no error"
    assert not other.take()
    lock.drop()
    lock.drop()
    assert not path.exists()
    assert other.take()
    other.drop()


def test_a_late_drop_does_not_take_the_lock_of_the_next_owner(path: Path) -> None:
    first, second, third = mine(path), mine(path), mine(path)
    assert first.take()
    first.drop()
    assert second.take()
    first.drop()
    assert not third.take()
    second.drop()


def test_two_are_never_inside_while_others_remove_the_file(path: Path) -> None:
    with child(CONTEND, path, 400) as one, child(CONTEND, path, 400) as two:
        for process in (one, two):
            assert first_line(process) == "ready"
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in (one, two):
            _, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (0, "")


def test_what_a_broken_lock_file_tells_is_no_name(path: Path) -> None:
    for text in ("", "[1]", '{"pid": null}', "\x00"):
        path.write_text(text)
        assert mine(path).holder() == "another process of this machine"
