"""Proof that no other process of this machine controls a device: a lock that dies with its owner.

The kernel drops it when a process ends, however that happens; a frozen process keeps it. A pid
alone could be another process by now.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Final

from bessai.model import Owner

_ATTEMPTS: Final = 3


class OwnerLock:
    """One lock per device and machine; free to construct, takes nothing by itself.

    Args:
        path: Lock file; its folder exists.
        owner: This process; written into the file for others to read.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path = path
        self._owner = owner
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process has it."""
        return self._file is not None

    def take(self) -> bool:
        """Take it if nobody has it; whether this process has it now.

        Raises:
            OSError: the file cannot be made or locked.
        """
        for _ in range(_ATTEMPTS):
            if self._file is not None:
                return True
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                return False
            if self._is_still_the_file(file):
                self._file = file
                self._sign(file)
            else:
                os.close(file)  # its owner removed it between open and lock
        return self._file is not None

    def holder(self) -> str:
        """Who has it, for people."""
        try:
            told: object = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            told = None
        pid = told.get("pid") if isinstance(told, dict) else None
        return "another process of this machine" + ("" if pid is None else f", pid {pid}")

    def drop(self) -> None:
        """Give it back and remove the file."""
        if self._file is None:
            return
        self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = None

    def _is_still_the_file(self, file: int) -> bool:
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(file)
        return (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)

    def _sign(self, file: int) -> None:
        text = json.dumps({"pid": self._owner.pid, "host": self._owner.host}).encode()
        os.ftruncate(file, 0)
        os.pwrite(file, text, 0)
