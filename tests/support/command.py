"""The real ``bessai`` command in a process of its own, as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TypeVar

import psutil

from actors.local.reap import processes_of

ROOT = Path(__file__).resolve().parents[2]
BESSAI = [sys.executable, "-P", "-m", "bessai"]  # -P: as the installed script does
START_S = 120.0
T = TypeVar("T")


class Command:
    """A running command; its output is read in the background."""

    def __init__(
        self, *arguments: str, environment: dict[str, str] | None = None, folder: Path = ROOT
    ) -> None:
        self.process = subprocess.Popen(
            [*BESSAI, *arguments],
            cwd=folder,
            env=os.environ | {"COLUMNS": "160"} | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line

    def wait_for(self, text: str, seconds: float = START_S) -> str:
        """Wait until the output matches; returns the first group, or the match."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := re.search(text, self.output):
                return found[found.lastindex or 0]
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.1)
        raise AssertionError(f"{text!r} did not come; the command said:\n{self.output}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command alone."""
        self.process.send_signal(number)

    def end(self, seconds: float = 60.0) -> int:
        """Wait for the command's own end."""
        status = self.process.wait(seconds)
        self._reader.join(5)
        return status

    @property
    def run_folder(self) -> Path:
        """The run folder of this command, found through its keeper."""
        for child in psutil.Process(self.process.pid).children():
            arguments = child.cmdline()
            if "actors.local.keeper" in arguments:
                return Path(arguments[-1])
        raise AssertionError("the command has no keeper")


@contextmanager
def running(
    *arguments: str, environment: dict[str, str] | None = None, folder: Path = ROOT
) -> Iterator[Command]:
    """A command that is ended, whatever happens."""
    command = Command(*arguments, environment=environment, folder=folder)
    try:
        yield command
    finally:
        if command.process.poll() is None:
            command.send(signal.SIGINT)
            command.end()


def bessai(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command to its end; returns its status and what it said."""
    done = subprocess.run(
        [*BESSAI, *arguments],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "160"} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def eventually(check: Callable[[], T | None], seconds: float = 30.0) -> T:
    """The first truthy answer of ``check``."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, f"not within {seconds:g} s; last answer: {found!r}"
        time.sleep(0.2)
    return found


def nothing_left(folder: Path) -> bool:
    """Whether no process and no file of a run is left."""
    return not processes_of(str(folder)) and not folder.exists()
