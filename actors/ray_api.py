"""The one seam to Ray's own types, which say less than we know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorDiedError

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


class NamedActor:
    """An actor that is looked up when it is first asked, and again once it is gone for good."""

    def __init__(self, name: str, find: Callable[[str], Actor] = find_actor) -> None:
        self._name = name
        self._find = find
        self._known: Actor | None = None
        self._search: asyncio.Task[Actor] | None = None

    async def ask(self, method: str, *args: object) -> object:
        """Call a method and await its result.

        Raises:
            RayError: the actor is away, or the method raised.
            ValueError: there is no such actor.
        """
        actor = await self._found()
        try:
            return await actor.ask(method, *args)
        except ActorDiedError:
            self._known = None  # an actor that restarts keeps its handle
            raise

    async def _found(self) -> Actor:
        """The actor; looking up its name blocks a thread while Ray's head is away.

        One search at a time, whatever became of the question that began it: the inverter's host
        name is looked up in the same few threads.
        """
        if self._known is not None:
            return self._known
        search = self._search or asyncio.create_task(asyncio.to_thread(self._find, self._name))
        self._search = search
        try:
            self._known = await asyncio.shield(search)
        finally:
            if search.done():
                self._search = None
        return self._known


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
