"""What the keeper tells the command while things start: one JSON object per line."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Step = Literal["inverters", "ray", "sites", "fleet", "models", "cycles", "ready", "failed", "ended"]


class Progress(BaseModel):
    """One line: a step began or moved; ``failed`` and ``ended`` are the last words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Step
    text: str
    done: int = 0
    of: int = 0

    def line(self) -> str:
        """The wire form."""
        return self.model_dump_json() + "\n"
