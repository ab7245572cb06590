"""How often registers that may wear out were written, and whether they may be again.

The count of a day goes by the wall clock, because it must survive a reboot; the least time
between two writes goes by the monotonic clock, because a wall clock may jump.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bessai.config.base import ConfigModel
from bessai.config.profile import WriteBudget
from bessai.units import MonotonicS

log = logging.getLogger(__name__)

DAY_S: Final = 86_400
_EVERY: Final = "*"
"""Register name of writes that nobody can tell apart any more: they count for every register."""


class _Saved(ConfigModel):
    """File form: whole UTC seconds since 1970 of the writes of the last 24 hours."""

    writes: dict[str, tuple[int, ...]]


class Budget:
    """Counts the writes of one device; nothing is refused that brings the battery to rest.

    Args:
        limits: How often each register may be written.
        now: Monotonic seconds.
        wall: Aware UTC.
        path: File that carries the count over a restart; without one it begins at 0. A file that
            cannot be read counts as a budget that is spent for 24 hours: memory that wears out
            is not undone, and commands to rest are let through all the same.
    """

    def __init__(
        self,
        limits: WriteBudget,
        *,
        now: Callable[[], MonotonicS],
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        path: Path | None = None,
    ) -> None:
        self._limits = limits
        self._now = now
        self._wall = wall
        self._path = path
        self._last: dict[str, MonotonicS] = {}
        self._writes: dict[str, list[int]] = {} if path is None else self._load(path)
        self._save_fails = False

    @property
    def over(self) -> tuple[str, ...]:
        """Registers written more often than the budget allows, by commands to rest."""
        names = [name for name in self._writes if name != _EVERY]
        return tuple(sorted(name for name in names if self.spent(name) > self._limits.per_day))

    def spent(self, name: str) -> int:
        """Writes of a register in the last 24 hours."""
        self._forget_old()
        return len(self._writes.get(name, ())) + len(self._writes.get(_EVERY, ()))

    def left(self, name: str) -> int:
        """Writes that the budget still allows now; never negative."""
        return max(0, self._limits.per_day - self.spent(name))

    def check(self, names: Collection[str], *, to_rest: bool = False) -> str | None:
        """Why these registers may not be written now; None where they may.

        Args:
            names: Stored or unknown registers that a command would write.
            to_rest: The command brings the battery to rest or releases it, so it must go through.
        """
        if to_rest:
            return None
        return next((text for name in names if (text := self._refusal(name))), None)

    def spend(self, name: str) -> None:
        """Count a write; before it is sent, for one without an answer may have arrived too."""
        self._forget_old()
        self._writes.setdefault(name, []).append(self._second())
        self._last[name] = self._now()
        if self._path is not None:
            self._save(self._path)

    def _refusal(self, name: str) -> str | None:
        if self.left(name) == 0:
            return (
                f"{name}: was written {self.spent(name)} times in 24 h; {self._limits.per_day} are "
                f"allowed, the next one in {self._free_in_s(name) / 60:.0f} min; raise "
                "write_budget_per_day of the site only if its memory takes it"
            )
        last = self._last.get(name)
        wait_s = 0.0 if last is None else last + self._limits.min_interval_s - self._now()
        if wait_s > 0.0:
            return (
                f"{name}: may be written every {self._limits.min_interval_s:g} s "
                f"(write_budget.min_interval_s), again in {wait_s:.0f} s"
            )
        return None

    def _free_in_s(self, name: str) -> int:
        """Seconds until enough writes are a day old."""
        writes: list[int] = sorted((*self._writes.get(name, ()), *self._writes.get(_EVERY, ())))
        return writes[len(writes) - self._limits.per_day] + DAY_S - self._second()

    def _second(self) -> int:
        return int(self._wall().timestamp())

    def _forget_old(self) -> None:
        now = self._second()
        for name, writes in list(self._writes.items()):
            # A write of "tomorrow" was noted before the clock was set back; it counts from now.
            kept = [min(at, now) for at in writes if at > now - DAY_S]
            if kept:
                self._writes[name] = kept
            else:
                del self._writes[name]

    def _load(self, path: Path) -> dict[str, list[int]]:
        try:
            saved = _Saved.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            log.warning(
                "write budget counts as spent for 24 h: the file cannot be read; delete it to "
                "begin a new count",
                extra={"path": str(path), "error": _short(error)},
            )
            return {_EVERY: [self._second()] * self._limits.per_day}
        return {name: list(writes) for name, writes in saved.writes.items()}

    def _save(self, path: Path) -> None:
        """Replace the file; the write has its reason, so a full disk is told and not raised."""
        draft = path.with_name(f"{path.name}.new")
        text = json.dumps({"writes": self._writes}, sort_keys=True)
        try:
            _write_through(draft, text)
            draft.replace(path)
        except OSError as error:
            if not self._save_fails:
                log.warning(
                    "write budget is not saved: a restart will forget these writes",
                    extra={"path": str(path), "error": str(error)},
                )
            self._save_fails = True
            with contextlib.suppress(OSError):
                draft.unlink()
            return
        if self._save_fails:
            log.info("write budget is saved again", extra={"path": str(path)})
        self._save_fails = False


def _write_through(path: Path, text: str) -> None:
    """Write to the disk itself, or a power cut leaves an empty file under the new name."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _short(error: Exception) -> str:
    return str(error).splitlines()[0]
