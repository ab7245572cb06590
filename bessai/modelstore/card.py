"""The model card: where a version comes from, how good it was and what its file hashes to."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"


class DataUsed(BaseModel):
    """What a model was chosen on and what it was judged on; the two never overlap.

    Attributes:
        file: Name of the file, or market and node of a source without one.
        sha256: Hash of that file, or of the prices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str = Field(pattern=SHA256_PATTERN)
    train_start: AwareDatetime
    train_end: AwareDatetime
    test_start: AwareDatetime
    test_end: AwareDatetime


class ModelCard(BaseModel):
    """Card of one model version.

    Attributes:
        artefact: File name of the model beside the card; ``sha256`` is its hash.
        metrics: Name with unit to value, on the test period unless the name says otherwise.
        software: Package to version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str = Field(pattern=NAME_PATTERN)
    version: str = Field(pattern=NAME_PATTERN)
    created_at: datetime
    node: str
    unit: str
    summary: str
    features: tuple[str, ...]
    data: DataUsed
    metrics: dict[str, float]
    artefact: str = Field(pattern=NAME_PATTERN)
    sha256: str = Field(pattern=SHA256_PATTERN)
    software: dict[str, str]
