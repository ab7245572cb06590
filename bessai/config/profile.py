"""Device profile: one YAML file per inverter family, checked before any register is touched."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from bessai.config.base import ConfigModel


class PointType(StrEnum):
    """Register encodings, big endian, high word first."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    STRING = "string"
    BITFIELD16 = "bitfield16"


class Persistence(StrEnum):
    """What a write costs: ``stored`` and ``unknown`` registers may wear out flash memory.

    Programs, which are repeated for ever, write ``volatile`` and ``command`` registers only.
    """

    READ_ONLY = "read_only"
    VOLATILE = "volatile"
    STORED = "stored"
    UNKNOWN = "unknown"
    COMMAND = "command"


REGISTERS_PER_TYPE = {
    PointType.U16: 1,
    PointType.I16: 1,
    PointType.BITFIELD16: 1,
    PointType.U32: 2,
    PointType.I32: 2,
}

Address = Annotated[int, Field(ge=0, le=65535)]

PROGRAMS: Final = ("charge", "discharge", "hold", "release")

COMMAND_IN_FORCE: Final = ("forced_command", "forced_charge_kw", "forced_discharge_kw")
"""Telemetry without which a site cannot tell whether its command still holds."""


class Point(ConfigModel):
    """One value of the register map: ``value = sign * raw / gain`` in ``unit``."""

    address: Address
    type: PointType
    count: int = Field(default=1, ge=1, le=125)
    gain: float = Field(default=1.0, gt=0)
    sign: int = 1
    unit: str = ""
    persistence: Persistence = Persistence.READ_ONLY
    enum: dict[int, str] = Field(default_factory=dict)
    bits: dict[int, str] = Field(default_factory=dict)
    not_available: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    source: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        expected = REGISTERS_PER_TYPE.get(self.type)
        if expected is not None and self.count != expected:
            raise ValueError(f"count must be {expected} for type {self.type}, got {self.count}")
        if self.sign not in (1, -1):
            raise ValueError(f"sign must be 1 or -1, got {self.sign}")
        return self


class ReadBlock(ConfigModel):
    """One read request; gaps inside it are readable on the device.

    ``requires`` names a point of an earlier block whose value must be ``equals``, else the
    block is skipped and its points are missing.
    """

    address: Address
    count: int = Field(ge=1, le=125)
    requires: str | None = None
    equals: int | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.requires is None) != (self.equals is None):
            raise ValueError("requires and equals belong together; give both or neither")
        return self

    def covers(self, point: Point) -> bool:
        """Whether the whole point lies inside this block."""
        end = self.address + self.count
        return self.address <= point.address and point.address + point.count <= end


class WriteStep(ConfigModel):
    """Write ``value`` (a number in the point's unit, or the name of a program parameter)."""

    point: str
    value: float | str


class WriteProgram(ConfigModel):
    """Ordered writes; each is read back, the last one is the point of ``forced_command``."""

    steps: tuple[WriteStep, ...] = Field(min_length=1)


class DeadMan(ConfigModel):
    """The device's own timer that ends a forced command when nobody renews it."""

    period_s: int = Field(gt=0)


class Connection(ConfigModel):
    """How this family likes to be talked to, in real seconds."""

    wait_after_connect_s: float = Field(default=0.0, ge=0)
    request_gap_s: float = Field(default=0.0, ge=0)
    request_deadline_s: float = Field(default=3.0, gt=0)
    reconnect_min_s: float = Field(default=1.0, gt=0)
    reconnect_max_s: float = Field(default=10.0, gt=0)
    default_port: int = Field(default=502, ge=1, le=65535)


class ProfileLimits(ConfigModel):
    """What the family allows at most; a site file may narrow it, never widen it."""

    max_charge_kw: float = Field(gt=0)
    max_discharge_kw: float = Field(gt=0)
    soc_min_pct: float = Field(ge=0, le=100)
    soc_max_pct: float = Field(ge=0, le=100)
    temperature_min_c: float
    temperature_max_c: float


class Identification(ConfigModel):
    """How to know that the right device answers."""

    model_point: str
    serial_point: str
    firmware_point: str
    model_prefixes: tuple[str, ...] = Field(min_length=1)


class DeviceProfile(ConfigModel):
    """A family of inverters.

    ``telemetry`` maps fields of :class:`bessai.model.Telemetry` to points and must tell the
    forced command; ``programs`` must hold ``charge``, ``discharge``, ``hold`` and ``release``.
    """

    name: str
    title: str
    source: str
    limits: ProfileLimits
    connection: Connection
    identification: Identification
    dead_man: DeadMan | None
    points: dict[str, Point]
    identification_blocks: tuple[ReadBlock, ...]
    telemetry_blocks: tuple[ReadBlock, ...]
    telemetry: dict[str, str]
    programs: dict[str, WriteProgram]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _require("programs", PROGRAMS, self.programs)
        _require("telemetry", COMMAND_IN_FORCE, self.telemetry)
        self._check_points()
        for label, program in self.programs.items():
            self._check_program(label, program)
        return self

    def _check_points(self) -> None:
        used = list(self.telemetry.values())
        used += [step.point for program in self.programs.values() for step in program.steps]
        used += [b.requires for b in self.telemetry_blocks if b.requires is not None]
        ident = self.identification
        used += [ident.model_point, ident.serial_point, ident.firmware_point]
        for name in used:
            if name not in self.points:
                raise ValueError(f"point {name!r} is used but not defined under points")
        for name in self.telemetry.values():
            if not any(block.covers(self.points[name]) for block in self.telemetry_blocks):
                raise ValueError(f"telemetry point {name!r} lies in no telemetry block")

    def _check_program(self, label: str, program: WriteProgram) -> None:
        for step in program.steps:
            match self.points[step.point].persistence:
                case Persistence.READ_ONLY:
                    raise ValueError(f"program {label!r} writes read-only point {step.point!r}")
                case Persistence.STORED | Persistence.UNKNOWN as persistence:
                    raise ValueError(
                        f"program {label!r} writes {persistence} point {step.point!r}; commands "
                        "are renewed for ever, and such a register may wear out"
                    )
        if program.steps[-1].point != self.telemetry["forced_command"]:
            raise ValueError(f"program {label!r} must write telemetry.forced_command last")


def _require(section: str, needed: tuple[str, ...], given: Mapping[str, object]) -> None:
    missing = [name for name in needed if name not in given]
    if missing:
        raise ValueError(f"{section} lacks {', '.join(missing)}")
