"""Server-sent events: one poll of the fleet, shared by all who watch.

A watcher holds one slot for the newest event. A slow one misses old snapshots instead of
growing a queue; one that leaves frees its slot, and the last one ends the poll. Ray Serve's
proxy does queue for a client that stopped reading, without a limit (measured: its memory grows
by all that is sent): so every stream ends after a while, and the client opens the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from actors.serve.gateway import FleetGateway
from actors.serve.problems import problem_of
from bessai.errors import BessaiError
from bessai.fleet.views import ProblemView

log = logging.getLogger(__name__)

KEEP_ALIVE = b": keep-alive\n\n"
RENEW = b"event: renew\ndata: {}\n\n"


@dataclass(frozen=True, slots=True)
class EventTiming:
    """Real seconds of the event stream.

    Attributes:
        period_s: From one poll of the fleet to the next.
        poll_timeout_s: A fleet that takes longer counts as unavailable.
        keep_alive_s: Longest silence on a connection.
        retry_s: What a client is told to wait before it reconnects.
        longest_s: Life of one stream; ``renew`` is its last event.
    """

    period_s: float = 1.0
    poll_timeout_s: float = 3.0
    keep_alive_s: float = 10.0
    retry_s: float = 1.0
    longest_s: float = 120.0


def encode_event(name: str, payload: BaseModel) -> bytes:
    """One event in wire format; JSON holds no line break, so one data line is enough."""
    return f"event: {name}\ndata: {payload.model_dump_json()}\n\n".encode()


class _Slot:
    """The newest event that one watcher has not taken yet."""

    def __init__(self) -> None:
        self._newest: bytes | None = None
        self._filled = asyncio.Event()
        self.closed = False

    def put(self, event: bytes) -> None:
        self._newest = event
        self._filled.set()

    def close(self) -> None:
        self.closed = True
        self._filled.set()

    async def take(self) -> bytes | None:
        """The newest event, or None when the stream is over."""
        await self._filled.wait()
        self._filled.clear()
        return None if self.closed else self._newest


class EventHub:
    """Fans one poll of the fleet out to all watchers.

    Made without a running event loop (an app may travel to the process that serves it); the
    poll starts with the first watcher, in that watcher's loop.
    """

    def __init__(self, gateway: FleetGateway, timing: EventTiming) -> None:
        self._gateway = gateway
        self._timing = timing
        self._slots: set[_Slot] = set()
        self._poll: asyncio.Task[None] | None = None
        self._newest: bytes | None = None
        self._was_available = True

    @property
    def watchers(self) -> int:
        """Open event streams."""
        return len(self._slots)

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Wire bytes for one watcher, until it leaves or the hub closes."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timing.longest_s
        with self._watching() as slot:
            yield f"retry: {round(self._timing.retry_s * 1000)}\n\n".encode()
            while (left_s := end - loop.time()) > 0:
                try:
                    event = await asyncio.wait_for(
                        slot.take(), min(self._timing.keep_alive_s, left_s)
                    )
                except TimeoutError:
                    event = KEEP_ALIVE
                if event is None:
                    return
                yield event
            yield RENEW

    def close(self) -> None:
        """End all streams; each watcher's connection then closes."""
        for slot in self._slots:
            slot.close()

    @contextmanager
    def _watching(self) -> Iterator[_Slot]:
        slot = _Slot()
        if self._newest is not None:
            slot.put(self._newest)
        self._slots.add(slot)
        if self._poll is None:
            self._poll = asyncio.get_running_loop().create_task(self._poll_forever())
            self._poll.add_done_callback(self._poll_ended)
        try:
            yield slot
        finally:
            self._slots.discard(slot)
            if not self._slots:
                self._stop_polling()

    def _stop_polling(self) -> None:
        poll, self._poll, self._newest = self._poll, None, None
        if poll is not None:
            poll.cancel()

    async def _poll_forever(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._newest = await self._next_event()
            for slot in self._slots:
                slot.put(self._newest)
            due = max(due + self._timing.period_s, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _next_event(self) -> bytes:
        try:
            async with asyncio.timeout(self._timing.poll_timeout_s):
                live = await self._gateway.live()
        except TimeoutError:
            return self._unavailable(ProblemView(error="the fleet does not answer in time"))
        except BessaiError as error:
            return self._unavailable(problem_of(error))
        if not self._was_available:
            log.info("fleet answers again")
        self._was_available = True
        return encode_event("snapshot", live)

    def _unavailable(self, problem: ProblemView) -> bytes:
        if self._was_available:
            log.warning("fleet is unavailable", extra={"problem": problem.error})
        self._was_available = False
        return encode_event("unavailable", problem)

    def _poll_ended(self, poll: asyncio.Task[None]) -> None:
        if poll.cancelled() or (error := poll.exception()) is None:
            return
        log.error("polling the fleet failed; watchers must reconnect", exc_info=error)
        self._poll, self._newest = None, None
        self.close()


class EventStreamResponse(StreamingResponse):
    """Streams events and frees the watcher's slot however the connection ends."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], status_code: int = 200) -> None:
        # X-Accel-Buffering keeps nginx from collecting events before it passes them on.
        super().__init__(events, status_code, headers={"x-accel-buffering": "no"})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the client leaves, the hub closes or the server stops."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()
