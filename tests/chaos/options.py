"""What a campaign is asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bessai.sim.observe import Summary
from tests.chaos.measure import Sample

ABOVE_S = 600.0


@dataclass
class Outcome:
    """All that the report needs."""

    samples: list[Sample] = field(default_factory=list)
    elsewhere: dict[str, int] = field(default_factory=dict)
    summaries: list[Summary] = field(default_factory=list)
    control: dict[str, Summary] = field(default_factory=dict)
    unrecorded: int = 0
    cycles: int = 0
    disk: str = ""
    left: int = 0
    failure: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Options:
    """The command line."""

    report: Path
    minutes: float
    samples: int
    only: tuple[str, ...]
    sites: int
    seed: int
    quick: bool
    nodes: tuple[str, ...]

    @property
    def above_s(self) -> float:
        return 60.0 if self.quick else ABOVE_S

    def wants(self, name: str) -> bool:
        """Whether a fault was asked for, by a part of its name."""
        return not self.only or any(word in name for word in self.only)
