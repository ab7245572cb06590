"""A process that stands still is ended by its own thread: real processes, short limits."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bessai.control import watchdog
from bessai.control.watchdog import CYCLE_STUCK_S, LOOP_STUCK_S, POLL_S, Watchdog

LOOP = """
import asyncio, ctypes, importlib.util, os, sys, time
spec = importlib.util.spec_from_file_location("watchdog", sys.argv[2])
watchdog = importlib.util.module_from_spec(spec)
spec.loader.exec_module(watchdog)
Watchdog = watchdog.Watchdog

def end(cause):
    print(cause, flush=True)
    os._exit(72)

async def main(what):
    dog = Watchdog(end, loop_stuck_s=0.6, cycle_stuck_s=1.5, poll_s=0.05)
    dog.start()
    async def beat():
        while True:
            dog.beat()
            await asyncio.sleep(0.02)
    beats = asyncio.create_task(beat())
    for _ in range(10):
        await asyncio.sleep(0.02)
        dog.cycled()
    print("ready", flush=True)
    if what == "blocked":
        time.sleep(30)
    if what == "stuck":
        await asyncio.sleep(30)
    if what == "gil":  # a call into C that never lets another thread run
        ctypes.PyDLL(None).usleep(1_500_000)
        print("woke", flush=True)
        time.sleep(30)
    while True:
        await asyncio.sleep(0.02)
        dog.cycled()

asyncio.run(main(sys.argv[1]))
"""


@contextmanager
def running(what: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", LOOP, what, watchdog.__file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("blocked", "the event loop has stood still for 0.6 s\n"),
        ("stuck", "the control cycle has stood still for 1.5 s\n"),
    ],
)
def test_what_stands_still_is_ended_and_named(what: str, told: str) -> None:
    with running(what) as process:
        output, _ = process.communicate(timeout=20)
        assert (process.returncode, output) == (72, told)


def test_a_process_that_was_stopped_is_not_killed_for_having_slept() -> None:
    with running("well") as process:
        process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        process.send_signal(signal.SIGCONT)
        time.sleep(2.0)
        assert process.poll() is None


def test_a_call_that_keeps_the_interpreter_is_counted_only_once_it_returns() -> None:
    """No thread of Python runs meanwhile, this one neither: the device's dead-man is what helps."""
    with running("gil") as process:
        output, _ = process.communicate(timeout=20)
        assert process.returncode == 72
        assert output == "woke\nthe event loop has stood still for 0.6 s\n"


def test_one_that_is_stopped_watches_no_more() -> None:
    ended: list[str] = []
    dog = Watchdog(ended.append, loop_stuck_s=0.1, cycle_stuck_s=0.1, poll_s=0.02)
    dog.start()
    dog.stop()
    time.sleep(0.3)
    assert ended == []


def test_it_ends_the_process_once() -> None:
    ended: list[str] = []
    done = threading.Event()

    def end(cause: str) -> None:
        ended.append(cause)
        done.set()

    Watchdog(end, loop_stuck_s=0.1, cycle_stuck_s=0.1, poll_s=0.02).start()
    assert done.wait(5.0)
    time.sleep(0.3)
    assert len(ended) == 1


def test_the_limits_leave_room_for_the_slowest_healthy_cycle() -> None:
    slowest_cycle_s, beat_every_s = 20.0 + 10.0 + 10.0, 5.0 / 4
    assert slowest_cycle_s < CYCLE_STUCK_S
    assert beat_every_s + POLL_S < LOOP_STUCK_S / 2
