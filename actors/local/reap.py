"""Ends the processes of one run and no other: they all inherited the run's mark."""

from __future__ import annotations

import contextlib
import os
import time

import psutil

RUN_MARK = "BESSAI_RUN"


def processes_of(marker: str) -> list[psutil.Process]:
    """Living processes of this user whose environment carries the run's mark."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if is_alive(process) and process.environ().get(RUN_MARK) == marker:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue
    return found


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that merely waits to be collected does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def named_process(marker: str, name: str) -> psutil.Process | None:
    """The process of a run with this name, e.g. ``raylet``: actors live as long as that does."""
    for process in processes_of(marker):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() == name:
                return process
    return None


def reap(marker: str, *, grace_s: float = 0.0, deadline_s: float = 10.0) -> int:
    """End every process of a run; returns how many are left (0 is the rule).

    Args:
        marker: The run's mark.
        grace_s: Seconds between the polite signal and the final one; 0 skips the polite one.
        deadline_s: When to give up.
    """
    if grace_s > 0:
        _signal(processes_of(marker), polite=True)
        _wait_until_gone(marker, grace_s)
    end = time.monotonic() + deadline_s
    while left := processes_of(marker):
        if time.monotonic() > end:
            return len(left)
        _signal(left, polite=False)
        psutil.wait_procs(left, timeout=0.5)
    return 0


def _signal(processes: list[psutil.Process], *, polite: bool) -> None:
    for process in processes:
        try:
            if polite:
                process.terminate()
            else:
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def _wait_until_gone(marker: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and processes_of(marker):
        time.sleep(0.1)
