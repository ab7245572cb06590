"""An event loop whose time jumps to the next timer, so that a minute of cycles takes no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from bessai.control import Clocks
from bessai.units import MonotonicS

T = TypeVar("T")
WALL_0 = datetime(2026, 1, 1, tzinfo=UTC)


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen")
        if not ready and timeout is not None:
            self.now_s += max(0.0, timeout)
        return ready


class _AtOnce(ThreadPoolExecutor):
    """Runs what is meant for a thread in its place: virtual time does not wait for threads."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed on
            done.set_exception(error)
        return done

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """No thread was started."""


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)
        self.set_default_executor(_AtOnce(1))

    async def shutdown_default_executor(self) -> None:
        """As above; the real one starts a thread to wait for others."""

    def time(self) -> float:
        return self._virtual.now_s

    def skip(self, seconds: float) -> None:
        self._virtual.now_s += seconds


def stand_still(seconds: float) -> None:
    """Let time pass without running anything, as SIGSTOP or a paused machine does."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _VirtualLoop)
    loop.skip(seconds)


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]], limit_s: float = 3600.0) -> T:
    """Run a coroutine in virtual time; ``limit_s`` is virtual too."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(asyncio.wait_for(main(), limit_s))


def virtual_now() -> MonotonicS:
    """Control time of the running virtual loop."""
    return MonotonicS(asyncio.get_running_loop().time())


def virtual_clocks(jitter: float = 0.0) -> Clocks:
    """Control and wall time that follow the virtual loop."""
    return Clocks(
        now=virtual_now,
        wall=lambda: WALL_0 + timedelta(seconds=virtual_now() - 1000.0),
        jitter=lambda: jitter,
    )
