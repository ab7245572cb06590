"""The folder of one run: plan, token, logs and Ray's files, with a lock that says who lives.

The lock is held by the command and by its keeper. A folder whose lock is free belongs to
nobody any more, so the next start may remove it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bessai.errors import BessaiError

DEMO_PREFIX = "demo-"
UP_PREFIX = "up-"
MAX_SOCKET_ROOT = 40  # Ray adds about 65 characters; a Unix socket's path may hold 107


@dataclass(frozen=True, slots=True)
class RunDir:
    """Paths of one run."""

    root: Path

    @property
    def plan(self) -> Path:
        """What runs: :class:`actors.local.plan.RunPlan` as JSON."""
        return self.root / "plan.json"

    @property
    def token(self) -> Path:
        """Ray's token, readable by its owner only."""
        return self.root / "token"

    @property
    def ray(self) -> Path:
        """Ray's temp folder."""
        return self.root / "ray"

    @property
    def logs(self) -> Path:
        """Output of the processes that the keeper starts."""
        return self.root / "logs"

    @property
    def sim_spec(self) -> Path:
        """What the simulator process hosts."""
        return self.root / "sim.json"

    @property
    def sim_ready(self) -> Path:
        """Ports of the simulated inverters, written by the simulator."""
        return self.root / "sim-ready.json"

    @property
    def sim_control(self) -> Path:
        """Socket for fault injection."""
        return self.root / "sim.sock"

    @property
    def keeper_pid(self) -> Path:
        """Process id of the keeper."""
        return self.root / "keeper.pid"

    @property
    def marker(self) -> str:
        """Environment mark that every process of this run inherits."""
        return str(self.root)

    def log_tail(self, name: str, lines: int = 1) -> str:
        """The last lines of a log, for an error message; empty where there is none."""
        path = self.logs / name
        if not path.is_file():
            return ""
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        return "\n".join(text.splitlines()[-lines:])


def base_folder() -> Path:
    """Folder of all runs of this user.

    Raises:
        BessaiError: somebody else owns the folder.
    """
    root = Path(tempfile.gettempdir())
    if len(str(root)) > MAX_SOCKET_ROOT:
        root = Path("/tmp")  # noqa: S108  Unix socket paths are short; the folder below is private
    base = root / f"bessai-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    info = base.lstat()
    if info.st_uid != os.getuid() or base.is_symlink() or info.st_mode & 0o077:
        raise BessaiError(
            "folder for temporary files is not private",
            field=str(base),
            fix="remove it, or set TMPDIR to a folder of your own",
        )
    return base


def create(prefix: str, name: str | None = None) -> tuple[RunDir, int]:
    """Make a run folder and take its lock; returns the folder and the lock's descriptor."""
    root = base_folder() / f"{prefix}{name or secrets.token_hex(3)}"
    root.mkdir(mode=0o700, exist_ok=name is not None)
    run = RunDir(root)
    lock = take_lock(run)
    if lock is None:
        raise BessaiError("is in use by another command", field=str(root), fix="wait for it to end")
    run.logs.mkdir(exist_ok=True)
    run.token.write_text(secrets.token_hex(32), encoding="ascii")
    run.token.chmod(0o600)
    return run, lock


def take_lock(run: RunDir) -> int | None:
    """Lock a run folder; None when a living process holds it."""
    descriptor = os.open(run.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def abandoned(prefix: str) -> Iterator[RunDir]:
    """Run folders whose owner is gone."""
    for root in sorted(base_folder().glob(f"{prefix}*")):
        if not root.is_dir() or root.is_symlink():
            continue
        run = RunDir(root)
        lock = take_lock(run)
        if lock is not None:
            try:
                yield run
            finally:
                os.close(lock)


def remove(run: RunDir) -> None:
    """Remove a run folder; files that vanish meanwhile do not matter."""
    shutil.rmtree(run.root, ignore_errors=True)
