"""Which fleets run here: the run folders of ``up`` and ``demo``, and the ones we joined."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from actors.local import rundir
from actors.local.plan import RunPlan
from actors.local.rundir import RunDir
from bessai.cli.launch import keeper_of
from bessai.config import FleetConfig
from bessai.config.paths import state_folder
from bessai.errors import BessaiError


class Joined(BaseModel):
    """A fleet that ``up --address`` put on somebody's Ray."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    page_url: str
    fleet: FleetConfig

    @staticmethod
    def path(fleet_id: str) -> Path:
        """Where the record of a joined fleet lies."""
        return state_folder() / f"joined-{fleet_id}.json"

    def save(self) -> None:
        """Write the record."""
        path = self.path(self.fleet.id)
        path.write_text(self.model_dump_json(indent=1), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Found:
    """One fleet that ``bessai`` knows of on this machine."""

    fleet_id: str
    page_url: str
    folder: RunDir | None
    plan: RunPlan | None
    joined: Joined | None

    @property
    def is_background(self) -> bool:
        """Whether ``up`` started or joined it."""
        return self.joined is not None or (self.plan is not None and not self.plan.tied)


def find_runs() -> list[Found]:
    """Fleets with a living keeper, background ones with leftovers, and joined ones."""
    found = []
    for prefix in (rundir.UP_PREFIX, rundir.DEMO_PREFIX):
        for root in sorted(rundir.base_folder().glob(f"{prefix}*")):
            run = _read(RunDir(root))
            if run is not None and (run.is_background or keeper_of(RunDir(root)) is not None):
                found.append(run)
    for path in sorted(state_folder().glob("joined-*.json")):
        joined = Joined.model_validate_json(path.read_text(encoding="utf-8"))
        found.append(Found(joined.fleet.id, joined.page_url, None, None, joined))
    return found


def the_run(fleet_id: str | None, runs: list[Found]) -> Found:
    """The run with this id, or the only one.

    Raises:
        BessaiError: none, or more than one.
    """
    matching = [run for run in runs if fleet_id is None or run.fleet_id == fleet_id]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(sorted(run.fleet_id for run in runs)) or "none"
    if not matching:
        wanted = "no fleet runs here" if fleet_id is None else "no such fleet runs here"
        raise BessaiError(
            wanted, value=fleet_id, fix=f"running: {names}; start one with: bessai up FLEET.yaml"
        )
    raise BessaiError("more than one fleet runs here", value=names, fix="name one with --fleet")


def _read(folder: RunDir) -> Found | None:
    try:
        plan = RunPlan.load(folder.plan)
    except (OSError, ValidationError):
        return None
    return Found(plan.fleet.id, plan.page_url, folder, plan, None)
