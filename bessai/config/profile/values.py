"""From points to what a site wants to know: telemetry, the command in force, plausibility."""

from __future__ import annotations

from typing import Final, Self

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from bessai.config.base import ConfigModel

NUMBER_UNITS: Final = {
    "soc_pct": "%",
    "soh_pct": "%",
    "capacity_kwh": "kWh",
    "active_power_kw": "kW",
    "grid_power_kw": "kW",
    "pv_power_kw": "kW",
    "temperature_c": "degC",
    "charge_limit_kw": "kW",
    "discharge_limit_kw": "kW",
    "exported_wh": "Wh",
    "imported_wh": "Wh",
}
"""Fields of :class:`bessai.model.Telemetry` that are numbers, with their unit."""

ENUM_KEYS: Final = frozenset({"battery_status", "inverter_status"})
ALARM_PREFIX: Final = "alarms_"
FAST_KEYS: Final = frozenset({"soc_pct", "active_power_kw", "grid_power_kw", "battery_status"})
"""Telemetry read in every cycle unless its point says otherwise."""


class Ready(ConfigModel):
    """Names of states in which the battery may be used; any other state holds it at rest."""

    battery_status: tuple[str, ...] = ()
    inverter_status: tuple[str, ...] = ()


class Term(ConfigModel):
    """A point times a factor."""

    point: str
    factor: float = 1.0


class Value(ConfigModel):
    """How a telemetry field follows from points; exactly one of the forms.

    Attributes:
        any_of: The first point that exists and is available.
        sum: All terms; one missing makes the value missing.
        product: Two points, e.g. volts and amperes for a power.
        max_of: The highest of the points that are available.
    """

    any_of: tuple[str, ...] = ()
    sum: tuple[Term, ...] = ()
    product: tuple[str, ...] = ()
    max_of: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: object) -> object:
        """A bare name is ``any_of`` with one point."""
        return {"any_of": [data]} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema of both forms, for editors."""
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}

    @model_validator(mode="after")
    def _check(self) -> Self:
        forms = [form for form in (self.any_of, self.sum, self.product, self.max_of) if form]
        if len(forms) != 1:
            raise ValueError("give exactly one of any_of, sum, product, max_of, or a point's name")
        if self.product and len(self.product) != 2:
            raise ValueError("product takes two points")
        return self

    @property
    def points(self) -> tuple[str, ...]:
        """Names of all points used."""
        return (*self.any_of, *(t.point for t in self.sum), *self.product, *self.max_of)


class CommandInForce(ConfigModel):
    """One state of the control registers that means "a forced command is held".

    The states are tried in order; where none fits, the device follows its own mode.

    Attributes:
        when: Raw values, all of which must be held.
        point: Point that holds the power; without one the power is 0.
        factor: Makes the power + for discharge.
        percent_of: Point whose value is 100 %, where ``point`` is in percent.
    """

    when: dict[str, int] = Field(min_length=1)
    point: str | None = None
    factor: float = 1.0
    percent_of: str | None = None

    @property
    def points(self) -> tuple[str, ...]:
        """Names of all points used."""
        more = (self.point, self.percent_of)
        return (*self.when, *(name for name in more if name is not None))


class Product(ConfigModel):
    """Factor times one or two points."""

    points: tuple[str, ...] = Field(min_length=1, max_length=2)
    factor: float = 1.0


class Check(ConfigModel):
    """A law of physics between points, for commissioning: wrong addresses and signs break it.

    Both sides are sums of products in the same unit; they may differ by ``tolerance_pct`` of
    the larger one plus ``tolerance``.
    """

    name: str
    left: tuple[Product, ...] = Field(min_length=1)
    right: tuple[Product, ...] = Field(min_length=1)
    unit: str = "W"
    magnitude: bool = False
    tolerance: float = Field(default=100.0, ge=0)
    tolerance_pct: float = Field(default=10.0, ge=0)

    @property
    def points(self) -> tuple[str, ...]:
        """Names of all points used."""
        return tuple(name for side in (self.left, self.right) for p in side for name in p.points)
