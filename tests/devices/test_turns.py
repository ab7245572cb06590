"""The order of requests on the one connection: urgent ones first, and nobody starves."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessai.devices.turns import MAX_PASSED, Turns, Urgency, next_urgency

WRITE, READ, BACKGROUND = Urgency


class Queue:
    """Workers on one line, each of which notes when its turn comes."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.served: list[Urgency] = []
        self.holders = 0

    async def work(self, urgency: Urgency, steps: int = 1) -> None:
        async with self.turns.take(urgency):
            self.holders += 1
            assert self.holders == 1
            self.served.append(urgency)
            try:
                for _ in range(steps):
                    await asyncio.sleep(0)
            finally:
                self.holders -= 1

    def start(self, *urgencies: Urgency) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.work(urgency)) for urgency in urgencies]


async def served(*waiting: Urgency) -> list[Urgency]:
    """The order in which these get their turns when all of them wait at once."""
    queue = Queue()
    await queue.turns.acquire(WRITE)
    tasks = queue.start(*waiting)
    await asyncio.sleep(0)
    assert queue.turns.waiting == len(waiting)
    queue.turns.release()
    await asyncio.gather(*tasks)
    assert not queue.turns.held
    return queue.served


async def test_a_write_overtakes_reads_and_guests() -> None:
    assert await served(BACKGROUND, READ, WRITE) == [WRITE, READ, BACKGROUND]


async def test_a_read_gets_its_turn_after_three_writes() -> None:
    writes = [WRITE] * 7
    expected = [WRITE] * 3 + [READ] + [WRITE] * 3 + [READ] + [WRITE]
    assert await served(*writes, READ, READ) == expected


async def test_a_guest_gets_its_turn_in_a_storm_of_reads_and_writes() -> None:
    order = await served(*[WRITE] * 10, *[READ] * 10, BACKGROUND)
    assert order.index(BACKGROUND) <= MAX_PASSED[BACKGROUND] + 1


async def test_one_kind_is_first_come_first_served() -> None:
    turns, seen = Turns(), list[int]()

    async def work(number: int) -> None:
        async with turns.take(READ):
            seen.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(work(number) for number in range(5)))
    assert seen == [0, 1, 2, 3, 4]


async def test_a_cancelled_waiter_gets_no_turn() -> None:
    queue = Queue()
    await queue.turns.acquire(READ)
    gone, stays = queue.start(READ, READ)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    assert queue.turns.waiting == 1
    queue.turns.release()
    await stays
    assert gone.cancelled()
    assert not queue.turns.held


async def test_a_turn_given_to_a_task_that_is_cancelled_in_that_moment_goes_on() -> None:
    queue = Queue()
    await queue.turns.acquire(READ)
    gone, stays = queue.start(READ, READ)
    await asyncio.sleep(0)
    queue.turns.release()
    gone.cancel()
    await stays
    assert queue.served == [READ]
    assert not queue.turns.held


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError()])
async def test_a_holder_that_fails_gives_its_turn_back(error: BaseException) -> None:
    turns = Turns()
    with pytest.raises(type(error)):
        async with turns.take(WRITE):
            raise error
    assert not turns.held


@given(st.lists(st.sampled_from(Urgency), max_size=60))
def test_nobody_is_passed_over_for_ever(arrivals: list[Urgency]) -> None:
    """Whatever arrives, one request per turn: the first of a kind waits for a bounded time."""
    waiting = [0, 0, 0]
    passed = [0, 0, 0]
    since = [0, 0, 0]
    for urgency in arrivals:
        waiting[urgency] += 1
        waits = [count > 0 for count in waiting]
        chosen = next_urgency(waits, passed)
        assert chosen is not None
        assert waiting[chosen] > 0
        waiting[chosen] -= 1
        for kind in Urgency:
            over = waits[kind] and kind is not chosen
            passed[kind] = since[kind] = passed[kind] + 1 if over else 0
        assert since[READ] <= MAX_PASSED[READ]
        assert since[BACKGROUND] <= MAX_PASSED[BACKGROUND] + 1


@given(
    jobs=st.lists(
        st.tuples(st.sampled_from(Urgency), st.integers(0, 3), st.integers(0, 6), st.booleans()),
        max_size=20,
    )
)
def test_every_turn_is_used_once_and_none_is_lost(
    jobs: list[tuple[Urgency, int, int, bool]],
) -> None:
    """Jobs of random length arrive, some are cancelled; the others are served and it ends free."""

    async def run() -> None:
        queue = Queue()
        tasks: list[asyncio.Task[None]] = []

        async def job(urgency: Urgency, steps: int, delay: int) -> None:
            for _ in range(delay):
                await asyncio.sleep(0)
            await queue.work(urgency, steps)

        for urgency, steps, delay, _ in jobs:
            tasks.append(asyncio.create_task(job(urgency, steps, delay)))
        for task, (_, _, delay, cancelled) in zip(tasks, jobs, strict=True):
            if cancelled:
                for _ in range(delay % 3):
                    await asyncio.sleep(0)
                task.cancel()
        done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        kept = [job for job, result in zip(jobs, done, strict=True) if result is None]
        assert all(cancelled for (*_, cancelled), r in zip(jobs, done, strict=True) if r)
        assert len(queue.served) >= len(kept)
        assert not queue.turns.held
        assert queue.turns.waiting == 0

    asyncio.run(run())
