"""A device profile: one YAML file per inverter family, checked before any register is touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from bessai.config.base import ConfigModel
from bessai.config.profile.connection import Connection, Identification, SunSpec
from bessai.config.profile.maturity import Maturity, Simulation
from bessai.config.profile.points import (
    MAIN,
    Address,
    Persistence,
    Point,
    PointType,
    Space,
    Table,
    WordOrder,
)
from bessai.config.profile.programs import (
    PROGRAMS,
    DeadMan,
    EffectCheck,
    Parameter,
    ProfileLimits,
    WriteBudget,
    WriteProgram,
    WriteStep,
)
from bessai.config.profile.values import (
    ALARM_PREFIX,
    ENUM_KEYS,
    NUMBER_UNITS,
    Check,
    CommandInForce,
    Ready,
    Value,
)


class Capability(StrEnum):
    """What a family offers through its Modbus interface."""

    METER = "meter"
    FORCED_CONTROL = "forced_control"
    DEVICE_LIMITS = "device_limits"
    EXPORT_LIMIT = "export_limit"
    WORKING_MODE = "working_mode"
    ALARMS = "alarms"


class PointDefaults(ConfigModel):
    """What every point has that does not say otherwise."""

    table: Table = Table.HOLDING
    word_order: WordOrder = WordOrder.BIG
    source: str = ""


class Guard(ConfigModel):
    """Registers that may be read only while ``requires`` holds the raw value ``equals``."""

    first: Address
    last: Address
    device: str = MAIN
    table: Table = Table.HOLDING
    requires: str
    equals: int

    def touches(self, space: Space, address: int, count: int) -> bool:
        """Whether a read would enter the guarded registers."""
        here = space == Space(self.device, self.table)
        return here and address <= self.last and address + count > self.first


class DeviceProfile(ConfigModel):
    """A family of inverters.

    ``telemetry`` maps fields of :class:`bessai.model.Telemetry` to points. A family that can be
    commanded has all four ``programs``, and ``commanded`` tells which command it holds; one
    without has none of them and is a monitor only.
    """

    name: str
    title: str
    source: str
    capabilities: tuple[Capability, ...] = ()
    limits: ProfileLimits
    connection: Connection
    identification: Identification
    sunspec: SunSpec | None = None
    dead_man: DeadMan | None
    write_budget: WriteBudget = WriteBudget()
    effect: EffectCheck = EffectCheck()
    maturity: Maturity
    point_defaults: PointDefaults = PointDefaults()
    markers: dict[PointType, int] = Field(default_factory=dict)
    guards: tuple[Guard, ...] = ()
    telemetry: dict[str, Value]
    ready: Ready = Ready()
    commanded: tuple[CommandInForce, ...] = ()
    programs: dict[str, WriteProgram] = Field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    points: dict[str, Point]
    simulation: Simulation = Simulation()

    @model_validator(mode="before")
    @classmethod
    def _expand_defaults(cls, data: object) -> object:
        """Give each point the defaults and the marker of its type."""
        if not isinstance(data, dict) or not isinstance(data.get("points"), dict):
            return data
        defaults, markers = data.get("point_defaults"), data.get("markers")
        defaults = defaults if isinstance(defaults, dict) else {}
        markers = markers if isinstance(markers, dict) else {}
        points = {name: _expanded(p, defaults, markers) for name, p in data["points"].items()}
        return {**data, "points": points}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, where in self._used():
            if name not in self.points:
                raise ValueError(f"{where} uses point {name!r}, which is not defined under points")
        self._check_telemetry()
        self._check_ready()
        self._check_points()
        self._check_control()
        return self

    @property
    def controllable(self) -> bool:
        """Whether the family can be told a power."""
        return bool(self.programs)

    @property
    def power_wears(self) -> bool:
        """Whether each new power is written to a register that may wear out."""
        steps = (step for program in self.programs.values() for step in program.steps)
        powers = (Parameter.POWER, Parameter.SIGNED_POWER)
        return any(s.value in powers and self.points[s.point].persistence.budgeted for s in steps)

    @property
    def command_readable(self) -> bool:
        """Whether the device tells which command it holds."""
        names = (name for state in self.commanded for name in state.points)
        return bool(self.commanded) and all(self.points[name].readable for name in names)

    def _used(self) -> Iterator[tuple[str, str]]:
        yield from _named("identification", self.identification.points)
        for key, value in self.telemetry.items():
            yield from _named(f"telemetry.{key}", value.points)
        for state in self.commanded:
            yield from _named("commanded", state.points)
        for guard in self.guards:
            yield guard.requires, "guards"
        for label, program in self.programs.items():
            steps = program.steps
            yield from _named(f"programs.{label}", (s.point for s in steps))
            yield from _named(f"programs.{label}", (s.percent_of for s in steps if s.percent_of))
        for check in self.checks:
            yield from _named(f"checks {check.name!r}", check.points)
        scales = (p.scale_factor for p in self.points.values() if p.scale_factor)
        yield from _named("scale_factor", scales)
        yield from _named("simulation", self.simulation.points)
        if self.connection.keep_alive is not None:
            yield self.connection.keep_alive.point, "connection.keep_alive"
        if self.dead_man is not None:
            yield from _named("dead_man", (*self.dead_man.restarted_by, *self.dead_man.on_expiry))

    def _check_telemetry(self) -> None:
        for key, value in self.telemetry.items():
            if (
                key not in NUMBER_UNITS
                and key not in ENUM_KEYS
                and not key.startswith(ALARM_PREFIX)
            ):
                known = ", ".join(sorted(NUMBER_UNITS.keys() | ENUM_KEYS))
                raise ValueError(
                    f"telemetry.{key} is not a telemetry field; use one of {known}, "
                    f"or {ALARM_PREFIX}<n>"
                )
            if key not in NUMBER_UNITS and not value.any_of:
                raise ValueError(f"telemetry.{key} is no number; name its point")
            if any(not self.points[name].readable for name in value.points):
                raise ValueError(f"telemetry.{key} uses a point that cannot be read")

    def _check_ready(self) -> None:
        for key, names in self.ready:
            mapped = self.telemetry.get(key)
            known = (
                {n for p in mapped.points for n in self.points[p].enum.values()}
                if mapped
                else set()
            )
            for name in names:
                if name not in known:
                    raise ValueError(
                        f"ready.{key}: {name!r} is no state of the points it is read from"
                    )
            if mapped and self.programs and not names:
                raise ValueError(
                    f"ready.{key} is required: in which states may the battery be used?"
                )

    def _check_points(self) -> None:
        known = {MAIN, *self.connection.other_units}
        models = set() if self.sunspec is None else set(self.sunspec.models)
        for name, point in self.points.items():
            if point.device not in known:
                raise ValueError(
                    f"point {name!r} is of device {point.device!r}; "
                    "name it under connection.other_units"
                )
            if point.model is not None and point.model not in models:
                raise ValueError(
                    f"point {name!r} is of model {point.model}; add it to sunspec.models"
                )

    def _check_control(self) -> None:
        if not self.programs:
            if Capability.FORCED_CONTROL in self.capabilities:
                raise ValueError("capabilities claim forced_control, but programs is empty")
            return
        missing = [name for name in PROGRAMS if name not in self.programs]
        if missing:
            raise ValueError(f"programs lacks {', '.join(missing)}")
        if not self.commanded:
            raise ValueError("commanded is required with programs: which command is in force?")
        for label, program in self.programs.items():
            self._check_program(label, program)

    def _check_program(self, label: str, program: WriteProgram) -> None:
        for step in program.steps:
            self._check_step(label, step)
        last = program.steps[-1].point
        if last not in {name for state in self.commanded for name in state.points}:
            raise ValueError(f"program {label!r} must end with a point of commanded, not {last!r}")
        if self.dead_man is not None and label != "release":
            renewed = {step.point for step in self.renewed(program)}
            if not renewed & set(self.dead_man.restarted_by):
                raise ValueError(f"program {label!r} renews nothing that restarts the dead-man")

    def _check_step(self, label: str, step: WriteStep) -> None:
        persistence = self.points[step.point].persistence
        if persistence is Persistence.READ_ONLY:
            raise ValueError(f"program {label!r} writes read-only point {step.point!r}")
        if step.renew and persistence.budgeted:
            raise ValueError(
                f"program {label!r} renews {persistence} point {step.point!r}; commands are "
                "renewed for ever, and such a register may wear out"
            )
        if step.value is Parameter.DEAD_MAN and self.dead_man is None:
            raise ValueError(f"program {label!r} uses dead_man, but the profile has none")

    def renewed(self, program: WriteProgram) -> tuple[WriteStep, ...]:
        """Steps that are written again although the device holds them: they restart the timer."""
        last = program.steps[-1]
        return tuple(
            step
            for step in program.steps
            if step.renew or (step is last and not self.points[step.point].persistence.budgeted)
        )


def _named(where: str, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((name, where) for name in names)


def _expanded(point: object, defaults: dict[str, object], markers: dict[str, object]) -> object:
    if not isinstance(point, dict):
        return point
    full = {**defaults, **point}
    if "persistence" in point and "table" not in point:
        full["table"] = Table.HOLDING.value
    kind = str(point.get("type"))
    if "not_available" not in point and kind in markers:
        full["not_available"] = markers[kind]
    return full
