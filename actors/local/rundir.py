"""The folder of one run: plan, token, logs and Ray's files, with a lock that says who lives.

The lock is held by the command and by its keeper. A folder whose lock is free belongs to
nobody any more, so the next start may remove it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bessai.config.paths import state_folder
from bessai.errors import BessaiError

DEMO_PREFIX = "demo-"
UP_PREFIX = "up-"
PORT_PREFIX = "port-"
MAX_ROOT = 35
"""Longest path of a run folder: Ray adds ``/ray/session_<date>_<pid>/sockets/dash_MetricsHead``,
up to 72 characters, and the path of a Unix socket may hold 107."""
NAME_LENGTH = 6
MIN_FREE_BYTES = 200_000_000
DRAFT_PREFIX = ".new-"
DRAFT_AGE_S = 60.0


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

    def keep_logs(self, fleet_id: str) -> Path:
        """Copy the logs of a failed run to where its end does not remove them.

        Raises:
            BessaiError: the folder of this user cannot be written.
        """
        kept = state_folder() / "failed" / fleet_id
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.logs, kept)
        return kept


def base_folder() -> Path:
    """Folder of all runs of this user.

    Raises:
        BessaiError: somebody else owns the folder.
    """
    name = f"bessai-{os.getuid()}"
    root = Path(tempfile.gettempdir())
    room = MAX_ROOT - len(f"/{name}/{DEMO_PREFIX}") - NAME_LENGTH
    if len(str(root)) > room or " " in str(root):
        # Unix socket paths are short, and Ray splits its command lines at spaces.
        root = Path("/tmp")  # noqa: S108  the folder below is private
    base = root / name
    base.mkdir(mode=0o700, exist_ok=True)
    info = base.lstat()
    if info.st_uid != os.getuid() or base.is_symlink() or info.st_mode & 0o077:
        raise BessaiError(
            "folder for temporary files is not private",
            field=str(base),
            fix="remove it, or set TMPDIR to a folder of your own",
        )
    return base


def fleet_root(fleet_id: str) -> Path:
    """Folder of a background fleet; a long name is cut, with a digest that tells it apart."""
    base = base_folder()
    room = MAX_ROOT - len(f"{base}/{UP_PREFIX}")
    if len(fleet_id) > room:
        digest = hashlib.sha256(fleet_id.encode()).hexdigest()[:NAME_LENGTH]
        fleet_id = f"{fleet_id[: room - NAME_LENGTH - 1]}-{digest}"
    return base / f"{UP_PREFIX}{fleet_id}"


def create(root: Path | None = None) -> tuple[RunDir, int]:
    """Make a run folder, locked from its first moment; returns it and the lock's descriptor.

    Args:
        root: The folder; None takes a new one for a demo.

    Raises:
        BessaiError: the disk is full, or another command made the folder meanwhile.
    """
    base = base_folder()
    _require_space(base)
    if root is None:
        root = base / f"{DEMO_PREFIX}{secrets.token_hex(NAME_LENGTH // 2)}"
    draft = RunDir(Path(tempfile.mkdtemp(prefix=DRAFT_PREFIX, dir=root.parent)))
    lock = take_lock(draft)
    assert lock is not None  # noqa: S101  nobody else knows the folder yet
    draft.logs.mkdir()
    draft.token.touch(mode=0o600)
    draft.token.write_text(secrets.token_hex(32), encoding="ascii")
    try:
        draft.root.rename(root)
    except OSError:
        os.close(lock)
        remove(draft)
        raise BessaiError(
            "is in use by another command", field=str(root), fix="wait for it to end"
        ) from None
    return RunDir(root), lock


def _require_space(base: Path) -> None:
    free = shutil.disk_usage(base).free
    if free < MIN_FREE_BYTES:
        raise BessaiError(
            "has too little space for Ray's files",
            field=str(base),
            value=f"{free / 1e6:.0f} MB",
            fix=f"free {MIN_FREE_BYTES / 1e6:.0f} MB, or set TMPDIR to another disk",
        )


def take_lock(run: RunDir) -> int | None:
    """Lock a run folder; None when a living process holds it, or somebody just removed it."""
    return lock_file(run.root / "lock")


def lock_file(path: Path) -> int | None:
    """Lock a file, made where it is missing; None when it is held, or its folder is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass  # held, or just removed by its last holder
    os.close(descriptor)
    return None


def port_lock(port: int) -> Path:
    """The file whose lock holds a port for one of this user's fleets."""
    return base_folder() / f"{PORT_PREFIX}{port}"


def remove_free_port_locks() -> None:
    """Remove the lock files of ports that no fleet holds any more."""
    for path in base_folder().glob(f"{PORT_PREFIX}*"):
        lock = lock_file(path)
        if lock is not None:
            path.unlink()
            os.close(lock)


def abandoned() -> Iterator[RunDir]:
    """Folders of demos whose owner is gone, and of those killed while they made theirs."""
    base = base_folder()
    drafts = [draft for draft in base.glob(f"{DRAFT_PREFIX}*") if _is_old(draft)]
    for root in sorted(base.glob(f"{DEMO_PREFIX}*")) + drafts:
        if not root.is_dir() or root.is_symlink():
            continue
        run = RunDir(root)
        lock = take_lock(run)
        if lock is not None:
            try:
                yield run
            finally:
                os.close(lock)


def _is_old(draft: Path) -> bool:
    try:
        return time.time() - draft.lstat().st_mtime > DRAFT_AGE_S
    except FileNotFoundError:
        return False


def remove(run: RunDir) -> None:
    """Remove a run folder; files that vanish meanwhile do not matter."""
    shutil.rmtree(run.root, ignore_errors=True)
