"""The device as the loop sees it: connected or not, read or not; errors become state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from bessai.control.clocks import Clocks
from bessai.control.counters import Tally
from bessai.control.journal import Journal
from bessai.control.ledger import WriteKind
from bessai.control.link import Backoff, Link
from bessai.errors import DeviceError, DeviceTimeout
from bessai.model import Telemetry
from bessai.model.outcome import Applied, ApplyOutcome, PartiallyApplied, Rejected
from bessai.ports import SiteDevice
from bessai.units import MonotonicS

CONNECT_DEADLINE_S: Final = 20.0
RELEASE_ATTEMPTS: Final = 3
RELEASE_DEADLINE_S: Final = 5.0
RELEASE_RETRY_S: Final = 0.5
NO_DEAD_MAN_RELEASE_S: Final = 20.0


class Contact:
    """Keeps one connection, tries again after a loss, and counts what fails.

    Attributes:
        link: Whether the device is connected, and why not.
        read_error: Why the last read failed on a live connection, or None.
    """

    def __init__(
        self,
        device: SiteDevice,
        address: str,
        backoff: Backoff,
        clocks: Clocks,
        tally: Tally,
        journal: Journal,
    ) -> None:
        self._device = device
        self._address = address
        self._backoff = backoff
        self._clocks = clocks
        self._tally = tally
        self._journal = journal
        self._failing_since: MonotonicS | None = None
        self.link = Link()
        self.read_error: str | None = None

    async def connect_if_due(self) -> None:
        """Try to connect where there is no connection and the wait is over."""
        if not self.link.due(self._clocks.now()):
            return
        try:
            async with asyncio.timeout(CONNECT_DEADLINE_S):
                identity = await self._device.connect()
        except TimeoutError:
            await self.drop(f"no connection within {CONNECT_DEADLINE_S:g} s")
        except DeviceError as error:
            await self.drop(str(error))
        else:
            self.link = self.link.gained()
            self._tally.reconnects += self.link.established > 1
            self._failing_since = None
            self._journal.note("inverter unreachable", None)
            self._journal.event("inverter connected", model=identity.model, address=self._address)

    async def read(self, deadline_s: float) -> Telemetry | None:
        """Read once; None where it failed, and then ``link`` or ``read_error`` says why.

        A lost connection, or reads that fail for ``deadline_s``, end in a new connection.
        """
        try:
            async with asyncio.timeout(deadline_s):
                telemetry = await self._device.read_telemetry()
        except TimeoutError:
            await self._lost(f"no complete read within {deadline_s:g} s")
        except DeviceTimeout as error:
            await self._lost(str(error))
        except DeviceError as error:
            await self._failed(str(error), deadline_s)
        else:
            self._failing_since, self.read_error = None, None
            self._journal.note("read failed", None)
            return telemetry
        return None

    async def apply(self, power_kw: float, deadline_s: float) -> ApplyOutcome:
        """Write a command; errors of the device are outcomes too.

        Nothing is sent after ``deadline_s``: what was read for the decision is too old then.
        """
        try:
            async with asyncio.timeout(deadline_s):
                return await self._device.apply_power(power_kw)
        except TimeoutError:
            text = f"not written and read back within {deadline_s:.1f} s, before its data is stale"
            return PartiallyApplied(0, "command", text)
        except DeviceError as error:
            return Rejected(str(error))

    async def release(self, insist: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Give the device back to its own mode, several times if need be, and close.

        A device whose own timer ends the command is tried :data:`RELEASE_ATTEMPTS` times on the
        connection there is. For one without, ``insist``: it is connected again and tried until
        the release reads back, for at most :data:`NO_DEAD_MAN_RELEASE_S`, because nobody else
        would end the command. ``insist`` is asked on each new connection whether the device is
        still ours.
        """
        if insist is not None and self.link.established:
            await self._release_for_sure(insist)
        else:
            for _ in range(RELEASE_ATTEMPTS if self.link.connected else 0):
                if await self._released():
                    break
        await self._device.close()
        self.link = Link(established=self.link.established)

    async def leave(self) -> None:
        """Close the connection and write nothing: the device is not ours to release."""
        await self._device.close()
        self.link = Link(established=self.link.established)

    async def _release_for_sure(self, ours: Callable[[], Awaitable[bool]]) -> None:
        give_up_at = self._clocks.now() + NO_DEAD_MAN_RELEASE_S
        sure_of = self.link.established if self.link.connected else 0
        while True:
            if not self.link.connected:
                await self.connect_if_due()
            made = self.link.established
            if self.link.connected and (made == sure_of or await ours()):
                sure_of = made
                if await self._released():
                    return
                await self.read(RELEASE_DEADLINE_S)  # notices a connection that is gone
            if self._clocks.now() >= give_up_at:
                return
            await asyncio.sleep(RELEASE_RETRY_S)

    async def _released(self) -> bool:
        problem = await self._release_once()
        self._journal.note("inverter not released", problem)
        return problem is None

    async def drop(self, cause: str) -> None:
        """Close the connection and plan the next attempt."""
        await self._device.close()
        low, high = self._backoff.min_s, self._backoff.max_s
        prefix = "" if self._address in cause else f"{self._address}: "
        text = f"{prefix}{cause}; trying again every {low:g} to {high:g} s"
        self.link = self.link.lost(text, self._clocks.now(), self._backoff, self._clocks.jitter())
        self.read_error = None
        self._journal.note("inverter unreachable", text)

    async def _lost(self, cause: str) -> None:
        self._tally.read_failures += 1
        await self.drop(cause)

    async def _failed(self, cause: str, deadline_s: float) -> None:
        now = self._clocks.now()
        self._tally.read_failures += 1
        since = now if self._failing_since is None else self._failing_since
        self._failing_since = since
        if now - since > deadline_s:
            await self.drop(cause)
            return
        self.read_error = f"read failed: {cause}; trying again in the next cycle"
        self._journal.note("read failed", cause)

    async def _release_once(self) -> str | None:
        try:
            async with asyncio.timeout(RELEASE_DEADLINE_S):
                outcome = await self._device.release()
        except TimeoutError:
            return f"no answer within {RELEASE_DEADLINE_S:g} s"
        except DeviceError as error:
            return str(error)
        match outcome:
            case Applied():
                self._tally.wrote(WriteKind.RELEASE, outcome.writes, outcome.stored_writes)
                return None
            case PartiallyApplied():
                return f"{outcome.failed_point}: {outcome.error}"
            case Rejected():
                return outcome.error
