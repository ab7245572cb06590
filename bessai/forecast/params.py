"""What training chose and a model folder holds: the whole seasonal model as numbers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

HOURS_PER_DAY = 24
Margin = Annotated[float, Field(ge=-1, le=5)]


class SeasonalParams(BaseModel):
    """Parameters of :class:`bessai.forecast.seasonal.SeasonalModel`; free of price units.

    Attributes:
        window_days: Days of the same hour (UTC: solar noon does not move with summer time)
            that a quantile is made of.
        half_life_days: Age at which a day counts half.
        other_day_weight: Weight of a day of another type (work day, Saturday, Sunday); 1 is off.
        weekday_offset_h: Hours added to UTC before the type of day is read.
        level_gain, level_decay_h: How far the last day's level, against its own seasonal
            median, shifts the next hours, and how fast this fades.
        now_gain, now_decay_h: The same for the newest price alone.
        floor: Lowest price that the node's market rules allow, in its unit, or None.
        margin_low, margin_high: Conformal margins per UTC hour of day, in units of the
            local spread; positive widens.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["seasonal"] = "seasonal"
    version: str
    node: str
    unit: str
    window_days: int = Field(default=28, ge=2, le=120)
    half_life_days: float = Field(default=5.0, gt=0)
    other_day_weight: float = Field(default=0.7, gt=0, le=1)
    weekday_offset_h: float = Field(default=0.0, ge=-12, le=14)
    level_gain: float = Field(default=0.5, ge=0, le=1)
    level_decay_h: float = Field(default=18.0, gt=0)
    now_gain: float = Field(default=0.4, ge=0, le=1)
    now_decay_h: float = Field(default=3.0, gt=0)
    floor: float | None = None
    margin_low: tuple[Margin, ...] = (0.0,) * HOURS_PER_DAY
    margin_high: tuple[Margin, ...] = (0.0,) * HOURS_PER_DAY

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("margin_low", "margin_high"):
            if len(getattr(self, name)) != HOURS_PER_DAY:
                raise ValueError(f"{name} must hold one margin for each of 24 hours")
        return self
