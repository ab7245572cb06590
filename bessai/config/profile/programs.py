"""How a family is commanded: ordered writes, the device's own dead-man, the check of the effect."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self

from pydantic import Field, model_validator

from bessai.config.base import ConfigModel

PROGRAMS: Final = ("charge", "discharge", "hold", "release")


class Parameter(StrEnum):
    """What a program is told.

    ``power`` is the magnitude of the wanted power, ``signed_power`` is + for discharge,
    ``dead_man`` the period of the device's own timer; all come in the point's unit.
    """

    POWER = "power"
    SIGNED_POWER = "signed_power"
    DEAD_MAN = "dead_man"


class WriteStep(ConfigModel):
    """Write ``value``: a number in the point's unit, or a parameter times ``factor``.

    Attributes:
        percent_of: Point whose value is 100 %, where the point takes power in percent.
        renew: Written again to restart the dead-man even where the register holds the value;
            the last step of a program always is, where its register may be renewed.
    """

    point: str
    value: Parameter | float
    factor: float = 1.0
    percent_of: str | None = None
    renew: bool = False


class WriteProgram(ConfigModel):
    """Ordered writes, the command register last; each is read back where it can be read."""

    steps: tuple[WriteStep, ...] = Field(min_length=1)


class DeadMan(ConfigModel):
    """The device's own timer that ends a forced command when nobody renews it.

    Attributes:
        period_s: Real seconds without renewal after which the command ends.
        restarted_by: Points whose write restarts the timer.
        on_expiry: Raw values that the device falls back to.
        renew_s: Where devices of the family are known to end a command earlier than after
            ``period_s``, how often it is renewed; otherwise at half the period.
    """

    period_s: int = Field(gt=0)
    restarted_by: tuple[str, ...] = Field(min_length=1)
    on_expiry: dict[str, int] = Field(min_length=1)
    renew_s: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.renew_s is not None and self.renew_s > self.period_s / 2:
            raise ValueError(
                f"renew_s {self.renew_s:g} is more than half of period_s {self.period_s}; "
                "one lost renewal would end the command"
            )
        return self

    @property
    def renewal_s(self) -> float:
        """Real seconds from one renewal to the next."""
        return self.period_s / 2 if self.renew_s is None else self.renew_s


class WriteBudget(ConfigModel):
    """How often ``stored`` and ``unknown`` registers may be written, per register.

    Attributes:
        per_day: Writes in any 24 hours; commands that bring the battery to rest or release it
            are never refused.
        min_interval_s: Least time between two writes of one register.
    """

    per_day: int = Field(default=50, ge=1)
    min_interval_s: float = Field(default=30.0, ge=0)


class EffectCheck(ConfigModel):
    """How soon the measured power follows a command.

    Attributes:
        within_s: Real seconds a device may take.
    """

    within_s: float = Field(default=10.0, gt=0)


class ProfileLimits(ConfigModel):
    """What the family allows at most; a site file may narrow it, never widen it."""

    max_charge_kw: float = Field(gt=0)
    max_discharge_kw: float = Field(gt=0)
    soc_min_pct: float = Field(ge=0, le=100)
    soc_max_pct: float = Field(ge=0, le=100)
    temperature_min_c: float
    temperature_max_c: float
