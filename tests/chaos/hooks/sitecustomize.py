"""Loaded by every Python of a worker node of the bed: a wall clock that the campaign can set.

Only what the site's control loop calls wall time moves, and only in the process that the file
names: the machine's clock belongs to others too, and Ray's own timers must not notice.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import ModuleType

FOLDER = "BESSAI_CHAOS_CLOCK"
TARGET = "bessai.control.clocks"


def offset_s() -> float:
    try:
        path = Path(os.environ[FOLDER]) / str(os.getpid())
        return float(path.read_text(encoding="ascii") or 0)
    except (OSError, ValueError):
        return 0.0


class Shifted:
    """In place of the class ``datetime``; makes plain ones, which other processes can read."""

    @staticmethod
    def now(tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + timedelta(seconds=offset_s())


class Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.__dict__["datetime"] = Shifted


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != TARGET:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = Loader(name, spec.origin)
        return spec


if FOLDER in os.environ:
    sys.meta_path.insert(0, Finder())
