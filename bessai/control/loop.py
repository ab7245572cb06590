"""The thin driver of one site: read, decide, write, tell; every second, for ever."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta
from typing import Final

from bessai.config.profile import Connection
from bessai.config.site import SiteConfig
from bessai.control.clocks import NEVER, Clocks
from bessai.control.contact import Contact
from bessai.control.counters import Tally
from bessai.control.effect import EFFECT_S
from bessai.control.guards import SiteGuards
from bessai.control.journal import Journal
from bessai.control.ledger import ForeignPolicy, Write
from bessai.control.link import Backoff
from bessai.control.ownership import ANY_FAMILY, OwnershipRules
from bessai.control.pace import next_tick
from bessai.control.record import Record, external_text, reading, record
from bessai.control.step import (
    ControlState,
    CycleInput,
    Decision,
    SiteRules,
    decide,
    fresh_for_s,
    settle,
)
from bessai.control.stops import StopKeeper
from bessai.control.uplink import FAREWELL_TIMEOUT_S, Reporter
from bessai.control.validate import validate_state
from bessai.control.vigil import Vigil
from bessai.model import (
    MarketClock,
    SiteLimits,
    SiteSnapshot,
    SiteState,
    Telemetry,
    Tenure,
)
from bessai.model.outcome import Applied, PartiallyApplied, Rejected
from bessai.ports import LocalPolicy, SiteDevice, Uplink
from bessai.units import MonotonicS

STOP_WAIT_S: Final = 5.0
"""Longest wait for a running cycle before the device is released anyway."""

FAULTS_BEFORE_RECONNECT: Final = 3


class SiteLoop:
    """Runs one site until it is stopped; safe to construct anywhere, starts nothing by itself.

    Args:
        site: The site's part of the fleet file.
        device: Its inverter.
        uplink: Its way to the fleet.
        clock: Market time.
        renew_s: Real seconds after which a command is renewed for the device's own timer, or None
            where it has none.
        effect_s: Real seconds in which the device's power follows a command.
        spare_s: Least real seconds between two powers where each one wears memory out, or 0.
        ownership: What the device family allows to conclude about other owners.
        foreign: What to do about a command that is not ours.
        local: What the site does by itself while nobody plans for it, or None to hold.
        guards: What makes this process the one owner, and watches it; left out, it is alone.
        limits: What safety allows at most; left out, what the site file says alone.
        connection: How the device family likes to be connected; of the profile.
        clocks: Control and wall time.
    """

    def __init__(  # noqa: PLR0913 - called at one place, the composition root
        self,
        site: SiteConfig,
        device: SiteDevice,
        uplink: Uplink,
        clock: MarketClock,
        *,
        renew_s: float | None,
        effect_s: float = EFFECT_S,
        spare_s: float = 0.0,
        ownership: OwnershipRules = ANY_FAMILY,
        foreign: ForeignPolicy = ForeignPolicy.REASSERT,
        local: LocalPolicy | None = None,
        guards: SiteGuards | None = None,
        limits: SiteLimits | None = None,
        connection: Connection | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        family = connection or Connection()
        self._site = site
        self._rules = SiteRules(
            limits or site.limits(),
            site.cycle_s,
            clock.speed,
            renew_s,
            effect_s,
            spare_s,
            ownership,
            foreign,
            local,
        )
        self._clock = clock
        self._clocks = clocks or Clocks()
        self._guards = guards or SiteGuards.alone(self._clocks.now, site.cycle_s)
        self._tally = Tally()
        self._journal = Journal(site.site_id)
        address = f"{site.host}:{site.port or family.default_port}"
        backoff = Backoff(family.reconnect_min_s, family.reconnect_max_s)
        self._contact = Contact(device, address, backoff, self._clocks, self._tally, self._journal)
        self._reporter = Reporter(
            site.site_id, uplink, self.snapshot, self._clocks.now, self._journal, self._hear
        )
        self._vigil = Vigil(
            site.site_id,
            self._guards,
            self._clocks,
            site.cycle_s,
            tally=self._tally,
            journal=self._journal,
        )
        self._stops = StopKeeper(self._guards.stops, self._clocks.wall, self._tally, self._journal)
        self._control = ControlState()
        self._record = Record()
        self._sequence = 0
        self._faults = 0
        self._stopping = asyncio.Event()
        self._cycling: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def state(self) -> SiteState:
        """Where the site stands."""
        return self._record.state

    @property
    def superseded(self) -> bool:
        """Whether another process owns the site now; then :meth:`run` ends by itself."""
        return self._control.ownership.tenure is Tenure.SUPERSEDED

    async def run(self) -> None:
        """Run cycles at a fixed rate until :meth:`stop`, cancellation, or a newer owner."""
        self._idle.clear()
        self._stops.recall()
        reports = self._start_reports()
        claims = asyncio.create_task(self._vigil.keep_asking())
        self._guards.watchdog.start()
        # Hear the plan while the device connects: a restart must not dip to 0 kW without need.
        self._reporter.wake()
        try:
            with self._vigil.beating():
                await self._cycles(reports)
        finally:
            for task in (reports, claims):
                task.cancel()
            await asyncio.gather(reports, claims, return_exceptions=True)
            self._guards.watchdog.stop()
            self._idle.set()
        if self.superseded:
            self._journal.event("superseded: another process owns the site")
            await self._contact.leave()
            self._vigil.end()

    async def stop(self) -> None:
        """End the cycles, give the device back to its own mode, close it and say goodbye.

        A process that does not own the site writes nothing, not even a release.
        """
        self._stopping.set()
        with self._vigil.beating():
            try:
                async with asyncio.timeout(STOP_WAIT_S):
                    await self._idle.wait()
            except TimeoutError:
                self._journal.event("cycle still busy at stop")
                await self._end_cycle()
            if await self._still_owns():
                insist = self._still_owns_anew if self._rules.renew_s is None else None
                await self._contact.release(insist)
            else:
                await self._contact.leave()
        self._vigil.end()
        self._control = ControlState()
        self._record = Record(state=SiteState.STOPPED)
        await self._reporter.report(FAREWELL_TIMEOUT_S)

    def close_log(self) -> None:
        """Store what the record of decisions has not stored yet; blocks for at most 2 s."""
        self._guards.log.close()

    def validate(self) -> None:
        """Check the invariants of the control core.

        Raises:
            SafetyError: one of them is broken.
        """
        validate_state(self._control, self._rules)

    def freeze(self, by: str, reason: str) -> None:
        """Rest until a person releases the site; for a guard of the site itself."""
        self._stops.freeze(by, reason)

    def snapshot(self) -> SiteSnapshot:
        """What the site tells the fleet now; ages are those of this moment."""
        now, wall, last = self._clocks.now(), self._clocks.wall(), self._record
        seen = last.telemetry
        fresh = None if seen is None else reading(seen, self._rules.limits, now)
        age_s = 0.0 if fresh is None else fresh.age_s
        self._sequence += 1
        return SiteSnapshot(
            site_id=self._site.site_id,
            sequence=self._sequence,
            reported_at=wall,
            market_at=self._clock.market_at(wall - timedelta(seconds=age_s)),
            state=last.state,
            autonomy=last.autonomy,
            reading=fresh,
            setpoint=last.setpoint,
            envelope=last.envelope,
            narrowings=last.narrowings,
            error=last.error,
            schedule_age_s=self._schedule_age_s(self._clock.market_at(wall)),
            counters=self._tally.counters(),
            pid=os.getpid(),
            epoch=self._vigil.claim.epoch or 0,
            tenure=self._control.ownership.tenure,
            tenure_reason=self._control.ownership.reason,
            autonomy_cause=self._control.autonomy.cause,
            autonomy_since=self._wall_of(self._control.autonomy.since),
            stops=self._stops.stops,
            intrusion_score=self._guards.intruders.score,
            intrusion=self._guards.intruders.findings,
            intrusion_degraded=self._guards.intruders.degraded,
        )

    def _start_reports(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._reporter.run(self._rules.cycle_s))

    def _revived(self, reports: asyncio.Task[None]) -> asyncio.Task[None]:
        """A bug in the uplink must not end the reports either."""
        if not reports.done():
            return reports
        self._journal.crash("report failed", reports.exception())
        self._tally.blocked("internal_fault")
        return self._start_reports()

    async def _cycles(self, reports: asyncio.Task[None]) -> None:
        tick = self._clocks.now()
        while not self._stopping.is_set() and not self.superseded:
            await self._cycle_that_stop_can_end()
            self._guards.watchdog.cycled()
            reports = self._revived(reports)
            self._reporter.wake()
            tick = next_tick(tick, self._clocks.now(), self._rules.cycle_s)
            await self._wait_until(tick)

    def _wall_of(self, moment: MonotonicS) -> datetime | None:
        if moment == NEVER:
            return None
        return self._clocks.wall() - timedelta(seconds=self._clocks.now() - moment)

    async def _cycle_that_stop_can_end(self) -> None:
        """A task of its own, so that no late part of it writes after the release."""
        self._cycling = asyncio.create_task(self._guarded_cycle())
        try:
            await self._cycling
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise

    async def _end_cycle(self) -> None:
        if self._cycling is not None:
            self._cycling.cancel()
        await self._idle.wait()

    async def _guarded_cycle(self) -> None:
        try:
            await self._connect()
            started = self._clocks.now()
            await self._cycle()
            self._tally.cycle(self._clocks.now() - started, self._rules.cycle_s)
            self._faults = 0
        except Exception as error:  # noqa: BLE001 - a bug in one cycle must not end the site
            await self._fault(error)
        else:
            self._journal.change("state", self.state.value)

    async def _still_owns(self) -> bool:
        return await self._vigil.still_owns(self._control.ownership, self._rules.ownership)

    async def _still_owns_anew(self) -> bool:
        """The same on a new connection: somebody else may have closed the old one."""
        self._vigil.doubt()
        return await self._still_owns()

    async def _connect(self) -> None:
        await self._contact.connect_if_due()
        self._vigil.note_connections(self._contact.link.established)

    async def _cycle(self) -> None:
        telemetry, started = None, self._clocks.now()
        if self._contact.link.connected:
            telemetry = await self._contact.read(self._rules.limits.max_age_s)
        if not self._contact.link.connected:
            self._control = self._control.after_loss()
            self._guards.log.lost()
        self._hear()
        self._look_for_intruders(telemetry, self._clocks.now() - started)
        self._vigil.look()
        cycle = self._seen(telemetry)
        before = self._control
        self._control, decision = decide(before, self._rules, cycle)
        self._guards.log.decided(before, self._rules, cycle, self._control, decision)
        validate_state(self._control, self._rules)
        self._vigil.allow(self._control.ownership)
        self._count(decision)
        if decision.write is not None and self._contact.link.connected:
            await self._write(decision.write)
        link, problem = self._contact.link, self._contact.read_error
        self._record = record(link, decision, self._control, telemetry, problem)

    def _look_for_intruders(self, telemetry: Telemetry | None, read_s: float) -> None:
        self._guards.intruders.look(
            telemetry,
            self._control.ledger,
            self._clocks.now(),
            read_s=read_s,
            stops=self._stops,
            tally=self._tally,
            journal=self._journal,
        )

    def _hear(self) -> None:
        orders, told = self._reporter.orders, self._reporter.told
        self._stops.hear(orders.stop, told, answered=orders.heard_until != NEVER)

    def _seen(self, telemetry: Telemetry | None) -> CycleInput:
        return CycleInput(
            now=self._clocks.now(),
            market_now=self._clock.market_at(self._clocks.wall()),
            telemetry=telemetry,
            orders=self._reporter.orders,
            claim=self._vigil.claim,
            doubt_at=self._vigil.doubt_at,
            stops=self._stops.stops,
            stops_known=self._stops.known,
        )

    async def _write(self, write: Write) -> None:
        fresh_s = fresh_for_s(self._control, self._rules, write, self._clocks.now())
        outcome = await self._contact.apply(write.power_kw, fresh_s)
        now = self._clocks.now()
        self._control = settle(self._control, write, outcome, now)
        self._guards.log.settled(write, outcome, now)
        match outcome:
            case Applied() | PartiallyApplied():
                self._tally.wrote(write.kind, outcome.writes, outcome.stored_writes)
                self._guards.intruders.wrote(outcome.writes)
            case Rejected():
                pass
        self._tally.write_failures += not isinstance(outcome, Applied)
        self._journal.note("command not accepted", self._control.write_error)

    def _count(self, decision: Decision) -> None:
        self._tally.blocked(*decision.blocked)
        self._tally.verify_failures += decision.effect_failed
        foreign = external_text(self._control) if self._control.ledger.quarrel else None
        self._journal.note("external change", foreign)
        waits = self._control.effect.failed
        self._journal.note("battery does not follow", "power is off its command" if waits else None)
        autonomy, owner = self._control.autonomy, self._control.ownership
        self._journal.change("autonomy", f"{autonomy.level.value}: {autonomy.cause}")
        self._journal.note("only reads", owner.reason)

    async def _fault(self, error: Exception) -> None:
        self._faults += 1
        self._tally.blocked("internal_fault")
        self._journal.crash("cycle failed", error)
        text = f"internal fault: {type(error).__name__}: {error}; the next cycle goes on"
        self._record = Record(state=SiteState.FAULT, error=text)
        if self._faults >= FAULTS_BEFORE_RECONNECT and self._contact.link.connected:
            await self._contact.drop(text)

    async def _wait_until(self, tick: MonotonicS) -> None:
        try:
            async with asyncio.timeout(tick - self._clocks.now()):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _schedule_age_s(self, market_now: datetime) -> float | None:
        schedule = self._reporter.orders.schedule
        return None if schedule is None else (market_now - schedule.issued_at).total_seconds()
