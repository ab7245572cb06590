"""Drop-in dispatch policies: each module with an ``open_policy`` function is one policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from bessai.plugins import load_plugin
from bessai.ports import DispatchModel

__all__ = ["open_policy"]


def open_policy(name: str) -> DispatchModel:
    """Load a dispatch policy by name, e.g. ``linear``.

    Raises:
        ConfigError: no such policy; the message lists the known ones.
    """
    entry = load_plugin("bessai.policies", name, "open_policy", field="policy")
    return cast("Callable[[], DispatchModel]", entry)()
