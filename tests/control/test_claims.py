"""Asking for epochs beside the cycle, from authorities of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bessai.control.claims import Claims
from bessai.control.journal import Journal
from bessai.control.owner_lock import OwnerLock
from bessai.model import Owner
from tests.support.site_fakes import FakeAuthority, until
from tests.support.site_time import run_virtual, virtual_now
from tests.support.site_values import SITE

ME = Owner("here", 7, "me")
NEAR, FAR = Owner("here", 3, "near"), Owner("there", 4, "far")


def asking(
    script: Callable[[Claims, FakeAuthority], Awaitable[None]],
    authority: FakeAuthority | None = None,
    lock: OwnerLock | None = None,
) -> None:
    authority = authority or FakeAuthority()

    async def main() -> None:
        claims = Claims(SITE, ME, authority, lock, virtual_now, Journal(SITE))
        running = asyncio.create_task(claims.run())
        try:
            await script(claims, authority)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            claims.close()

    run_virtual(main)


def test_the_first_owner_is_alone_and_asks_now_and_then() -> None:
    async def script(claims: Claims, authority: FakeAuthority) -> None:
        await asyncio.sleep(35.0)
        claim = claims.claim
        assert (claim.epoch, claim.alone, claim.rival, claim.problem) == (1, True, None, None)
        assert authority.asked == pytest.approx([1000, 1010, 1020, 1030])

    asking(script)


def test_a_confirmation_counts_from_its_question_not_from_its_answer() -> None:
    async def script(claims: Claims, authority: FakeAuthority) -> None:
        await until(lambda: claims.claim.epoch == 1)
        authority.delay_s = 2.0
        await asyncio.sleep(9.5)
        claims.ask()
        asked_at = virtual_now()
        await asyncio.sleep(1.0)
        doubt_at = virtual_now()
        await asyncio.sleep(1.5)
        assert asked_at <= claims.claim.confirmed_at < doubt_at

    asking(script)


def test_asking_in_the_middle_of_a_question_asks_again_at_once() -> None:
    async def script(claims: Claims, authority: FakeAuthority) -> None:
        await until(lambda: claims.claim.epoch == 1)
        authority.delay_s = 2.0
        claims.ask()
        await asyncio.sleep(1.0)
        doubt_at = virtual_now()
        claims.ask()
        await until(lambda: claims.claim.confirmed_at >= doubt_at, limit_s=3.3)

    asking(script)


@pytest.mark.parametrize("slow_s", [3.5, 1e6])
def test_a_slow_authority_is_a_silent_one_and_is_asked_each_second(slow_s: float) -> None:
    async def script(claims: Claims, authority: FakeAuthority) -> None:
        await until(lambda: claims.claim.epoch == 1)
        authority.delay_s = slow_s
        before = claims.claim.confirmed_at
        await asyncio.sleep(30)
        assert claims.claim.confirmed_at == before
        assert claims.claim.problem == "no answer within 3 s"
        authority.delay_s = 0.0
        await until(lambda: claims.claim.problem is None, limit_s=4.2)

    asking(script)


def test_an_authority_that_fails_changes_nothing_but_the_problem() -> None:
    async def script(claims: Claims, authority: FakeAuthority) -> None:
        await asyncio.sleep(5)
        assert (claims.claim.epoch, claims.claim.alone) == (None, False)
        assert claims.claim.problem == "the supervisor is gone"
        authority.down = False
        await until(lambda: claims.claim.alone, limit_s=1.2)

    authority = FakeAuthority()
    authority.down = True
    asking(script, authority)


def test_a_newer_epoch_ends_the_questions_for_good() -> None:
    async def script(claims: Claims, authority: FakeAuthority) -> None:
        await until(lambda: claims.claim.epoch == 1)
        authority.epoch = 2
        await until(lambda: claims.claim.superseded, limit_s=10.2)
        authority.epoch = 1
        asked = len(authority.asked)
        await asyncio.sleep(60)
        assert claims.claim.superseded
        assert len(authority.asked) == asked

    asking(script)


@pytest.mark.parametrize(
    ("previous", "locked", "taken", "rival"),
    [
        (None, False, False, None),
        (None, True, False, None),
        (NEAR, True, False, None),
        (NEAR, True, True, "another process of this machine, pid 3"),
        (None, True, True, "another process of this machine, pid 3"),
        (NEAR, False, False, "pid 3 on here"),
        (FAR, True, False, "pid 4 on there"),
        (FAR, False, False, "pid 4 on there"),
    ],
)
def test_who_may_still_write(
    tmp_path: Path, previous: Owner | None, locked: bool, taken: bool, rival: str | None
) -> None:
    path = tmp_path / "device.lock"
    other = OwnerLock(path, NEAR)

    async def script(claims: Claims, authority: FakeAuthority) -> None:
        await asyncio.sleep(5.0)
        assert (claims.claim.rival, claims.claim.alone) == (rival, rival is None)
        if taken:
            other.drop()
            await until(lambda: claims.claim.alone, limit_s=1.2)

    if taken:
        assert other.take()
    asking(script, FakeAuthority(previous), OwnerLock(path, ME) if locked else None)
    other.drop()


def test_a_lock_that_cannot_be_used_proves_nothing(tmp_path: Path) -> None:
    async def script(claims: Claims, authority: FakeAuthority) -> None:
        await asyncio.sleep(5.0)
        assert not claims.claim.alone
        assert claims.claim.rival == "another process of this machine"

    asking(script, FakeAuthority(), OwnerLock(tmp_path / "missing" / "device.lock", ME))
