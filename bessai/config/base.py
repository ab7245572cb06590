"""Base of all configuration models: unknown fields are errors, values cannot change."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ConfigModel(BaseModel):
    """Frozen, and strict about field names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
