"""The one seam to Ray's own types, which say less than we know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from actors.names import NAMESPACE, actor_options


@dataclass(frozen=True, slots=True)
class Actor:
    """A running actor; answers are ``object``, so that the caller says what it expects."""

    handle: Any

    async def ask(self, method: str, *args: object) -> object:
        """Call a method and await its result.

        Raises:
            RayError: the actor is away, or the method raised.
        """
        found: object = await getattr(self.handle, method).remote(*args)
        return found

    def ask_now(self, method: str, timeout_s: float) -> object:
        """Call a method and block until it answers.

        Raises:
            RayError: the call failed or took longer than ``timeout_s``.
        """
        found: object = ray.get(getattr(self.handle, method).remote(), timeout=timeout_s)
        return found

    def end_for_good(self) -> None:
        """Kill the actor; Ray does not start it again."""
        ray.kill(self.handle, no_restart=True)


def find_actor(name: str) -> Actor:
    """A named actor; may block while Ray's head is away.

    Raises:
        ValueError: there is no such actor.
    """
    return Actor(ray.get_actor(name, NAMESPACE))


def exists(name: str) -> bool:
    """Whether a named actor is registered, alive or restarting."""
    try:
        find_actor(name)
    except ValueError:
        return False
    return True


def start_actor(kind: type, name: str, spec: object, resource: str | None = None) -> Actor:
    """Make a named actor of a plain class, or take the one that runs already."""
    options: Mapping[str, Any] = actor_options(name, resource)
    return Actor(ray.remote(kind).options(**options).remote(spec))
