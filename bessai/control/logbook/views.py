"""Recorded decisions as people and programs read them: over the API, and in the terminal."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from bessai.control.autonomy import Autonomy
from bessai.control.logbook.book import Logbook
from bessai.control.logbook.codec import Codec
from bessai.control.logbook.entries import Settled
from bessai.control.logbook.reader import DecisionQuery, LogReader, Recorded
from bessai.control.ownership import Ownership
from bessai.control.step import CycleInput
from bessai.model import AutonomyLevel, CauseId, Priority, Proposal, Telemetry, Tenure
from bessai.model.outcome import Applied, PartiallyApplied, Rejected

FLUSH_S: Final = 1.0


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitsView(_View):
    """Power in kW AC, + discharge/export."""

    lower_kw: float
    upper_kw: float


class ReasonView(_View):
    """One reason why safety allowed no more."""

    code: str
    text: str
    limits: LimitsView


class MeasuredView(_View):
    """The read that a decision used; null is "not available"."""

    age_s: float
    soc_pct: float | None
    active_power_kw: float | None
    grid_power_kw: float | None
    temperature_c: float | None
    commanded_kw: float | None
    battery_status: str | None
    inverter_status: str | None
    alarms: list[str]


class ProposalView(_View):
    """What somebody wished; ``live`` is false where it had expired, or was not a number."""

    source: str
    priority: str
    preferred_kw: float | None
    limits: LimitsView | None
    expires_in_s: float | None
    live: bool
    cause_id: str


class CommandView(_View):
    """What was written and what came back.

    ``result`` is ``applied``, ``partial``, ``rejected``, or null where no answer is recorded.
    """

    power_kw: float
    kind: str
    result: str | None
    confirmed_kw: float | None
    registers: int | None
    error: str | None


class DecisionView(_View):
    """One control cycle: what was known, wished, allowed, decided, written and answered.

    ``measured`` is null where the read failed. ``coasting`` is true where an older decision was
    kept because of that. ``changed`` marks a cycle that differs from the one before.
    """

    sequence: int
    at: datetime
    market_at: datetime
    changed: bool
    setpoint_kw: float
    source: str
    reason: str
    cause_id: str | None
    autonomy: AutonomyLevel
    autonomy_cause: str
    tenure: Tenure
    tenure_reason: str | None
    coasting: bool
    connection_lost: bool
    measured: MeasuredView | None
    proposals: list[ProposalView]
    allowed: LimitsView
    reasons: list[ReasonView]
    blocked: list[str]
    foreign_command: bool
    not_following: bool
    command: CommandView | None


class DecisionsView(_View):
    """Decisions of one site, oldest first.

    ``lost`` counts what could not be recorded since the site's process started. ``error`` says why
    nothing is recorded now, where the site's own process answers.
    """

    site_id: str
    lost: int
    error: str | None
    decisions: list[DecisionView]


def decisions_view(
    path: Path, site_id: str, query: DecisionQuery, logbook: Logbook | None = None
) -> DecisionsView:
    """The decisions of a file that answer a query, those that wait for the disk included.

    Reads the disk: call it beside the event loop.

    Args:
        path: The site's file.
        site_id: Its name in the answer.
        query: Which cycles.
        logbook: Who writes the file, in the site's own process.

    Raises:
        StoreError: there is no such file, or it cannot be read.
        ProtocolError: it is damaged, or of another version.
    """
    if logbook is not None:
        logbook.flush(FLUSH_S)
    with LogReader(path) as reader:
        found = [decision_view(reader.codec, one) for one in reader.find(query)]
        runs = reader.runs()
        lost, error = runs[max(runs)].lost if runs else 0, None
    if logbook is not None:
        lost, error = logbook.status.lost, logbook.status.error
    return DecisionsView(site_id=site_id, lost=lost, error=error, decisions=found)


def decision_view(codec: Codec, one: Recorded) -> DecisionView:
    """One recorded cycle.

    Raises:
        ProtocolError: it is of another version.
    """
    cycle, decision = one.cycle, one.decision
    setpoint, bounds = decision.setpoint, decision.allowed.bounds
    autonomy = codec.decode(Autonomy, one.after.get("autonomy", {}))
    owner = codec.decode(Ownership, one.after.get("ownership", {}))
    return DecisionView(
        sequence=one.sequence,
        at=one.wall,
        market_at=cycle.market_now,
        changed=one.changed,
        setpoint_kw=setpoint.power_kw,
        source=setpoint.source,
        reason=setpoint.reason,
        cause_id=setpoint.cause_id,
        autonomy=decision.autonomy,
        autonomy_cause=autonomy.cause,
        tenure=owner.tenure,
        tenure_reason=owner.reason,
        coasting=decision.coasting,
        connection_lost=one.lost,
        measured=None if cycle.telemetry is None else _measured(cycle.telemetry, cycle),
        proposals=[_proposal(proposal, cycle) for proposal in _wishes(cycle)],
        allowed=LimitsView(lower_kw=bounds.lower_kw, upper_kw=bounds.upper_kw),
        reasons=[
            ReasonView(
                code=n.code,
                text=n.text,
                limits=LimitsView(lower_kw=n.bounds.lower_kw, upper_kw=n.bounds.upper_kw),
            )
            for n in decision.allowed.narrowings
        ],
        blocked=list(decision.blocked),
        foreign_command=decision.external,
        not_following=decision.effect_failed,
        command=_command(one),
    )


def _measured(seen: Telemetry, cycle: CycleInput) -> MeasuredView:
    return MeasuredView(
        age_s=cycle.now - seen.measured_at,
        soc_pct=_finite(seen.soc_pct),
        active_power_kw=_finite(seen.active_power_kw),
        grid_power_kw=_finite(seen.grid_power_kw),
        temperature_c=_finite(seen.temperature_c),
        commanded_kw=_finite(seen.commanded_kw),
        battery_status=seen.battery_status,
        inverter_status=seen.inverter_status,
        alarms=list(seen.alarms),
    )


def _wishes(cycle: CycleInput) -> list[Proposal]:
    """All proposals, with the schedule's for now; the local policy leaves none in the record."""
    orders = cycle.orders
    schedule = orders.schedule
    interval = None if schedule is None else schedule.at(cycle.market_now)
    if schedule is None or interval is None:
        return list(orders.proposals)
    planned = Proposal(
        source=schedule.source,
        priority=Priority.SCHEDULE,
        preferred_kw=interval.power_kw,
        bounds=None,
        expires_at=orders.leased_until,
        cause_id=CauseId(schedule.schedule_id),
    )
    return [*orders.proposals, planned]


def _proposal(proposal: Proposal, cycle: CycleInput) -> ProposalView:
    bounds = proposal.bounds
    return ProposalView(
        source=proposal.source,
        priority=proposal.priority.name.lower(),
        preferred_kw=_finite(proposal.preferred_kw),
        limits=None
        if bounds is None
        else LimitsView(lower_kw=bounds.lower_kw, upper_kw=bounds.upper_kw),
        expires_in_s=_finite(proposal.expires_at - cycle.now),
        live=cycle.now < proposal.expires_at and math.isfinite(proposal.preferred_kw),
        cause_id=proposal.cause_id,
    )


def _finite(value: float | None) -> float | None:
    """JSON has no infinity."""
    return value if value is not None and math.isfinite(value) else None


def _command(one: Recorded) -> CommandView | None:
    write = one.decision.write
    if write is None:
        return None
    answer = one.settled
    result, confirmed_kw, registers, error = _answer(answer)
    return CommandView(
        power_kw=write.power_kw,
        kind=write.kind.value,
        result=result,
        confirmed_kw=confirmed_kw,
        registers=registers,
        error=error,
    )


def _answer(answer: Settled | None) -> tuple[str | None, float | None, int | None, str | None]:
    match None if answer is None else answer.outcome:
        case None:
            return None, None, None, None
        case Applied(power_kw=power_kw, writes=writes):
            return "applied", power_kw, writes, None
        case PartiallyApplied(writes=writes, failed_point=point, error=error):
            return "partial", None, writes, f"{point}: {error}"
        case Rejected(error=error):
            return "rejected", None, 0, error
