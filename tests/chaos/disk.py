"""A disk of the run's own that can be made full: a small tmpfs, or a limit on file sizes."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
from collections.abc import Iterable
from pathlib import Path

import psutil

SIZE_MB = 512
CHUNK = b"\0" * 65536


class Disk:
    """What the run stores: site memories, owners' locks, the fleet's database."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "disk"
        self.folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=700", "tmpfs"]
        done = subprocess.run([*mount, str(self.folder)], capture_output=True, check=False)
        self.is_real = done.returncode == 0
        (self.folder / "sites").mkdir()
        (root / "sites").symlink_to(self.folder / "sites")
        self._limited: list[psutil.Process] = []

    @property
    def method(self) -> str:
        if self.is_real:
            return f"a tmpfs of {SIZE_MB} MB filled to the last byte (ENOSPC)"
        return "RLIMIT_FSIZE of 0 on the processes (EFBIG), because no tmpfs may be mounted here"

    def fill(self, pids: Iterable[int]) -> None:
        """No byte can be stored from now on."""
        if not self.is_real:
            for pid in pids:
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(pid)
                    hard = process.rlimit(resource.RLIMIT_FSIZE)[1]
                    process.rlimit(resource.RLIMIT_FSIZE, (0, hard))
                    self._limited.append(process)
            return
        self.top_up()

    def top_up(self) -> None:
        """Fill what became free meanwhile."""
        if not self.is_real:
            return
        with (self.folder / "ballast").open("ab", buffering=0) as file:
            try:
                while file.write(CHUNK):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def empty(self) -> None:
        """There is room again."""
        (self.folder / "ballast").unlink(missing_ok=True)
        for process in self._limited:
            with contextlib.suppress(psutil.Error):
                hard = process.rlimit(resource.RLIMIT_FSIZE)[1]
                process.rlimit(resource.RLIMIT_FSIZE, (hard, hard))
        self._limited.clear()

    @property
    def used_mb(self) -> float:
        usage = os.statvfs(self.folder)
        return (usage.f_blocks - usage.f_bfree) * usage.f_frsize / 1e6
