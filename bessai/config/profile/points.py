"""Values of a register map: where each one is, how it is encoded, and what writing it costs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, NamedTuple, Self

from pydantic import Field, model_validator

from bessai.config.base import ConfigModel

MAIN: Final = "main"
"""The unit id that the site file names; other units of the same connection have names."""


class PointType(StrEnum):
    """Register encodings; bytes in a register are big endian, words in ``word_order``."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"
    STRING = "string"
    BITFIELD16 = "bitfield16"
    BITFIELD32 = "bitfield32"
    BITFIELD64 = "bitfield64"


REGISTERS_PER_TYPE: Final = {
    PointType.U16: 1,
    PointType.I16: 1,
    PointType.BITFIELD16: 1,
    PointType.U32: 2,
    PointType.I32: 2,
    PointType.F32: 2,
    PointType.BITFIELD32: 2,
    PointType.U64: 4,
    PointType.I64: 4,
    PointType.F64: 4,
    PointType.BITFIELD64: 4,
}

FLOATS: Final = frozenset({PointType.F32, PointType.F64})
SIGNED: Final = frozenset({PointType.I16, PointType.I32, PointType.I64})
BITFIELDS: Final = frozenset({PointType.BITFIELD16, PointType.BITFIELD32, PointType.BITFIELD64})


class Table(StrEnum):
    """Holding registers are read with FC03 and written with FC06/FC16; input registers by FC04."""

    HOLDING = "holding"
    INPUT = "input"


class WordOrder(StrEnum):
    """Which register of a longer value comes first."""

    BIG = "big"
    LITTLE = "little"


class Refresh(StrEnum):
    """How old a value may be: ``fast`` is read in every cycle, ``slow`` every few seconds.

    A ``slow`` point of ``commanded`` is read in every second cycle while it matters: its mode
    always, its power while that state is in force.
    """

    FAST = "fast"
    SLOW = "slow"


class Persistence(StrEnum):
    """What a write costs: ``stored`` and ``unknown`` registers may wear out flash memory.

    ``volatile`` and ``command`` registers may be renewed for ever; the others are written on
    change only and have a daily budget.
    """

    READ_ONLY = "read_only"
    VOLATILE = "volatile"
    STORED = "stored"
    UNKNOWN = "unknown"
    COMMAND = "command"

    @property
    def budgeted(self) -> bool:
        """Whether each write is counted against the daily budget."""
        return self in (Persistence.STORED, Persistence.UNKNOWN)


Address = Annotated[int, Field(ge=0, le=65535)]


class Space(NamedTuple):
    """Addresses count anew in each unit of the connection and in each table."""

    device: str
    table: Table


class Point(ConfigModel):
    """One value of the register map: ``value = sign * (raw - offset) / gain`` in ``unit``.

    Attributes:
        address: First register; with ``model`` it counts from that SunSpec model's ID register.
        device: Which unit of the connection, a key of ``connection.other_units``.
        scale_factor: Name of the point whose value ``n`` makes the gain ``10**-n``.
        readable: False for a register that can only be written.
        not_available: Raw marker of "no value"; a float that is not finite never is one.
        refresh: Overrides what the use of the point suggests.
    """

    address: Address
    type: PointType
    count: int = Field(default=0, ge=0, le=125)
    gain: float = Field(default=1.0, gt=0)
    offset: float = 0.0
    sign: int = 1
    unit: str = ""
    table: Table = Table.HOLDING
    device: str = MAIN
    word_order: WordOrder = WordOrder.BIG
    model: int | None = Field(default=None, ge=1, le=65534)
    scale_factor: str | None = None
    persistence: Persistence = Persistence.READ_ONLY
    readable: bool = True
    refresh: Refresh | None = None
    enum: dict[int, str] = Field(default_factory=dict)
    bits: dict[int, str] = Field(default_factory=dict)
    not_available: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    title: str = ""
    source: str = ""

    @model_validator(mode="before")
    @classmethod
    def _count_of_type(cls, data: object) -> object:
        """``count`` follows from the type, except for strings."""
        if isinstance(data, dict) and "count" not in data:
            fixed = {kind.value: count for kind, count in REGISTERS_PER_TYPE.items()}
            return {**data, "count": fixed.get(str(data.get("type")), 0)}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        expected = REGISTERS_PER_TYPE.get(self.type)
        if expected is not None and self.count != expected:
            raise ValueError(f"count must be {expected} for type {self.type}, got {self.count}")
        if self.count == 0:
            raise ValueError("count is required for a string; give its number of registers")
        if self.sign not in (1, -1):
            raise ValueError(f"sign must be 1 or -1, got {self.sign}")
        if self.address + self.count > 65536:
            raise ValueError(f"{self.count} registers from {self.address} leave the address range")
        if self.table is Table.INPUT and self.persistence is not Persistence.READ_ONLY:
            raise ValueError("input registers cannot be written; use table: holding")
        if not self.readable and self.persistence is Persistence.READ_ONLY:
            raise ValueError("a point that is neither readable nor writable has no use")
        return self

    @property
    def space(self) -> Space:
        """The address space the point lies in."""
        return Space(self.device, self.table)

    @property
    def end(self) -> int:
        """First address after the point."""
        return self.address + self.count

    @property
    def is_float(self) -> bool:
        """IEEE 754, NaN where not available."""
        return self.type in FLOATS
