"""How a family likes to be talked to, and how to know that it answers."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from bessai.config.base import ConfigModel

Port = int


class KeepAlive(ConfigModel):
    """A register that keeps a session alive; not a watchdog of the setpoint."""

    point: str
    value: int = Field(ge=0, le=65535)
    every_s: float = Field(gt=0)
    only_when_logged_in: bool = True


class Connection(ConfigModel):
    """Habits of the family's Modbus interface, in real seconds.

    Attributes:
        ports: TCP ports a probe tries; the first one is the default.
        unit_ids: Unit ids a probe tries; the first one is the default.
        other_units: Further units behind the same connection, each with candidate ids.
        max_block: Most registers in one read.
        max_gap: Widest run of unused registers that a read may bridge; all are readable.
        slow_s: Age up to which a slow value is used again.
        busy_exceptions: Exception codes that mean "later"; the driver waits and asks once more.
        permission_exceptions: Exception codes that mean "log in first".
        login: Name of the login procedure in :mod:`bessai.devices.logins`, where there is one.
    """

    ports: tuple[int, ...] = Field(default=(502,), min_length=1)
    unit_ids: tuple[int, ...] = Field(default=(1,), min_length=1)
    other_units: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    max_clients: int | None = Field(default=None, ge=1)
    wait_after_connect_s: float = Field(default=0.0, ge=0)
    request_gap_s: float = Field(default=0.0, ge=0)
    request_deadline_s: float = Field(default=3.0, gt=0)
    reconnect_min_s: float = Field(default=1.0, gt=0)
    reconnect_max_s: float = Field(default=10.0, gt=0)
    max_block: int = Field(default=64, ge=1, le=125)
    max_gap: int = Field(default=0, ge=0, le=124)
    slow_s: float = Field(default=5.0, gt=0, le=10)
    busy_exceptions: tuple[int, ...] = (6,)
    busy_wait_s: float = Field(default=0.5, ge=0)
    permission_exceptions: tuple[int, ...] = ()
    login: str | None = None
    keep_alive: KeepAlive | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for port in self.ports:
            if not 1 <= port <= 65535:
                raise ValueError(f"port {port} is not 1 to 65535")
        for name, ids in (("unit_ids", self.unit_ids), *self.other_units.items()):
            if not ids or any(not 0 <= unit <= 255 for unit in ids):
                raise ValueError(f"{name} must hold unit ids 0 to 255")
        if self.keep_alive is not None and self.keep_alive.only_when_logged_in and not self.login:
            raise ValueError("keep_alive waits for a login, but login names no procedure")
        return self

    @property
    def default_port(self) -> int:
        """Port used where the site file names none."""
        return self.ports[0]

    @property
    def default_unit_id(self) -> int:
        """Unit id used where the site file names none."""
        return self.unit_ids[0]


class Identification(ConfigModel):
    """How to know that the right device answers.

    Attributes:
        model: Points whose texts, or numbers, joined by a space name the model.
        serial, firmware: Points, where the family has them.
        expect: Beginnings of the model text; empty where the family's answers prove nothing
            but that they exist.
    """

    model: tuple[str, ...] = Field(min_length=1)
    serial: str | None = None
    firmware: str | None = None
    expect: tuple[str, ...] = ()

    @property
    def points(self) -> tuple[str, ...]:
        """All points that identification reads."""
        more = (self.serial, self.firmware)
        return (*self.model, *(name for name in more if name is not None))


class SunSpec(ConfigModel):
    """A map that begins with a chain of SunSpec models.

    Source: SunSpec Device Information Model Specification 1.1, "SunS" at 40000, 0 or 50000.

    Attributes:
        models: Models whose definitions ``registry/sunspec`` provides; those that a device
            lacks are left out.
        base_addresses: Where the marker may be, in the order to try.
    """

    models: tuple[int, ...] = Field(min_length=1)
    base_addresses: tuple[int, ...] = (40000, 0, 50000)
