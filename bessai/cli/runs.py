"""Which fleets run here: the run folders of ``up`` and ``demo``, and the ones we joined."""

from __future__ import annotations

from collections import Counter
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

    @classmethod
    def load(cls, path: Path) -> Joined:
        """Read a record.

        Raises:
            BessaiError: it is not one, e.g. of another version.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError:
            raise BessaiError(
                "is not a record of this version",
                field=str(path),
                fix="end that fleet with the version that started it, or remove the file",
            ) from None

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
    def name(self) -> str:
        """The name of its folder, which tells two demos apart."""
        return self.fleet_id if self.folder is None else self.folder.root.name

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
        joined = Joined.load(path)
        found.append(Found(joined.fleet.id, joined.page_url, None, None, joined))
    return found


def the_run(fleet_id: str | None, runs: list[Found]) -> Found:
    """The run with this id or folder name, or the only one.

    Raises:
        BessaiError: none, or more than one.
    """
    matching = [run for run in runs if fleet_id in (None, run.fleet_id, run.name)]
    if len(matching) == 1:
        return matching[0]
    ids = Counter(run.fleet_id for run in runs)
    names = ", ".join(sorted(r.fleet_id if ids[r.fleet_id] == 1 else r.name for r in runs))
    if not matching:
        wanted = "no fleet runs here" if fleet_id is None else "no such fleet runs here"
        raise BessaiError(
            wanted,
            value=fleet_id,
            fix=f"running: {names or 'none'}; start one with: bessai up FLEET.yaml",
        )
    raise BessaiError("more than one fleet runs here", value=names, fix="name one with --fleet")


def _read(folder: RunDir) -> Found | None:
    try:
        plan = RunPlan.load(folder.plan)
    except (OSError, ValidationError):
        return None
    return Found(plan.fleet.id, plan.page_url, folder, plan, None)
