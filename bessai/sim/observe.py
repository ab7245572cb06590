"""Answers about a simulated device: the wire form of its journal and its witness."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from pydantic import AwareDatetime

from bessai.config.base import ConfigModel
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.journal import (
    CommandEntry,
    ConnectionEntry,
    FaultEntry,
    PowerEntry,
    WriteEntry,
)
from bessai.sim.witness import Excess


class Question(StrEnum):
    """What may be asked."""

    SUMMARY = "summary"
    WRITES = "writes"
    COMMANDS = "commands"
    TIMELINE = "timeline"


class Stamp(ConfigModel):
    """Of which device and moment an answer is.

    Attributes:
        clock_s: Control time: real seconds of the host's monotonic clock, the same for every
            process of the host.
        wall_at: Wall time, aware UTC.
    """

    site: str
    clock_s: float
    wall_at: AwareDatetime


class Summary(ConfigModel):
    """How things are, and all that does not grow with time.

    Attributes:
        lost: Connections and fault entries that are forgotten.
        speed: Seconds of the battery per real second.
        power_kw: AC power of the battery, + discharge.
        soc_pct: True state of charge, 0-100.
        commanded_kw: Forced command in force; None in the device's own mode.
        faults: Active now, as text.
        charged_kwh, discharged_kwh: AC energy since the start.
        excesses: For each limit of the spec what went beyond it.
        outside_forced_kwh, outside_own_mode_kwh: Sums over the limits; 0 means never outside.
        writes, commands: How many there ever were.
        connections: Known ones, by number; 0 is the rogue.
        fault_log: When which faults were set.
    """

    stamp: Stamp
    lost: int
    speed: float
    power_kw: float
    soc_pct: float
    commanded_kw: float | None
    faults: str
    charged_kwh: float
    discharged_kwh: float
    excesses: tuple[Excess, ...]
    outside_forced_kwh: float
    outside_own_mode_kwh: float
    writes: int
    commands: int
    connections: tuple[ConnectionEntry, ...]
    fault_log: tuple[FaultEntry, ...]


class Writes(ConfigModel):
    """Write requests, oldest first; ``lost`` are forgotten."""

    stamp: Stamp
    lost: int
    writes: tuple[WriteEntry, ...]


class Commands(ConfigModel):
    """Changes and renewals of the forced command, oldest first; ``lost`` are forgotten."""

    stamp: Stamp
    lost: int
    commands: tuple[CommandEntry, ...]


class Timeline(ConfigModel):
    """What the battery did, oldest first, each until the next; ``lost`` are forgotten."""

    stamp: Stamp
    lost: int
    timeline: tuple[PowerEntry, ...]


Answer = Summary | Writes | Commands | Timeline


def observe(device: SimulatedInverter, question: Question, since_s: float | None) -> Answer:
    """The answer as of the device's last advance.

    Args:
        device: Which one.
        question: What to tell.
        since_s: Control time before which entries are left out; None for all. Of the summary it
            cuts the fault log.
    """
    journal, at = device.journal, device.at
    stamp = Stamp(site=device.spec.site_id, clock_s=at, wall_at=journal.wall_at(at))
    match question:
        case Question.SUMMARY:
            return _summary(device, stamp, since_s)
        case Question.WRITES:
            writes = journal.writes
            return Writes(stamp=stamp, lost=writes.lost, writes=writes.since(since_s))
        case Question.COMMANDS:
            commands = journal.commands
            return Commands(stamp=stamp, lost=commands.lost, commands=commands.since(since_s))
        case Question.TIMELINE:
            line = journal.timeline
            return Timeline(stamp=stamp, lost=line.lost, timeline=line.since(since_s))
        case _:
            assert_never(question)


def _summary(device: SimulatedInverter, stamp: Stamp, since_s: float | None) -> Summary:
    journal, excesses = device.journal, device.witness.excesses()
    charged_kwh, discharged_kwh = device.throughput_kwh
    return Summary(
        stamp=stamp,
        lost=journal.connections.lost + journal.faults.lost,
        speed=device.speed,
        power_kw=device.power_kw,
        soc_pct=device.soc_pct,
        commanded_kw=device.commanded_kw,
        faults=str(device.faults),
        charged_kwh=charged_kwh,
        discharged_kwh=discharged_kwh,
        excesses=excesses,
        outside_forced_kwh=sum(excess.forced_kwh for excess in excesses),
        outside_own_mode_kwh=sum(excess.own_mode_kwh for excess in excesses),
        writes=journal.writes.total,
        commands=journal.commands.total,
        connections=journal.connections.entries(),
        fault_log=journal.faults.since(since_s),
    )
