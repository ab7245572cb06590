"""Who may use the one connection next: writes first, but nobody waits for ever.

The choice is a pure function of who waits and how often each was passed over; the class around
it only keeps the queues.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from types import TracebackType
from typing import Final


class Urgency(IntEnum):
    """What a request is for, most urgent first."""

    WRITE = 0
    READ = 1
    BACKGROUND = 2
    """Keep-alives and the guests of a proxy."""


MAX_PASSED: Final = {Urgency.READ: 3, Urgency.BACKGROUND: 8}
"""Turns in a row that others may take while a request of this kind waits.

Three writes are a command in most families, so telemetry goes on during a storm of commands; a
guest gets a tenth of the line at worst. Where both are due the read goes first, so a guest may
wait for one turn more.
"""


def next_urgency(waiting: Sequence[bool], passed: Sequence[int]) -> Urgency | None:
    """Whose turn is next; both sequences go by :class:`Urgency`.

    Args:
        waiting: Whether a request of that kind waits.
        passed: Turns given to others since that kind last had one, while it waited.
    """
    for urgency, most in MAX_PASSED.items():
        if waiting[urgency] and passed[urgency] >= most:
            return urgency
    return next((urgency for urgency in Urgency if waiting[urgency]), None)


class Turns:
    """Gives one turn at a time; first come, first served within one urgency.

    Cancelling a waiter or a holder loses no turn.
    """

    __slots__ = ("_held", "_passed", "_queues")

    def __init__(self) -> None:
        self._held = False
        self._passed = [0 for _ in Urgency]
        self._queues: tuple[deque[asyncio.Future[None]], ...] = tuple(deque() for _ in Urgency)

    @property
    def held(self) -> bool:
        """Whether somebody has the turn."""
        return self._held

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        return sum(not waiter.done() for queue in self._queues for waiter in queue)

    def take(self, urgency: Urgency) -> Turn:
        """``async with turns.take(...)``: wait for a turn and keep it for the block."""
        return Turn(self, urgency)

    async def acquire(self, urgency: Urgency) -> None:
        """Wait for the turn; :meth:`release` must follow."""
        if not self._held:
            # Whoever waits is given the turn at its release, so a free one has no waiters.
            self._held = True
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues[urgency].append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()  # it was given the turn in the moment it was cancelled
            waiter.cancel()
            raise

    def release(self) -> None:
        """Hand the turn to the next one."""
        if not any(self._queues):
            self._held = False
            return
        waiting = [self._waits(queue) for queue in self._queues]
        chosen = next_urgency(waiting, self._passed)
        if chosen is None:
            self._held = False
            return
        for urgency in Urgency:
            passed_over = waiting[urgency] and urgency is not chosen
            self._passed[urgency] = self._passed[urgency] + 1 if passed_over else 0
        self._queues[chosen].popleft().set_result(None)

    def _waits(self, queue: deque[asyncio.Future[None]]) -> bool:
        while queue and queue[0].done():
            queue.popleft()  # cancelled while it waited
        return bool(queue)


class Turn:
    """One turn, taken and given back by ``async with``."""

    __slots__ = ("_turns", "_urgency")

    def __init__(self, turns: Turns, urgency: Urgency) -> None:
        self._turns = turns
        self._urgency = urgency

    async def __aenter__(self) -> None:
        await self._turns.acquire(self._urgency)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turns.release()
