"""Each import contract is proven by planting the violation that it is there to catch."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("bessai", "actors", "training")
LINT = str(Path(sys.executable).parent / "lint-imports")
VERDICT = re.compile(r"^(.+) (KEPT|BROKEN)\b", re.MULTILINE)
HEAVY = (
    "torch",
    "pandas",
    "sklearn",
    "numba",
    "google.cloud",
    "polars",
    "highspy",
    "scipy",
    "sqlalchemy",
    "ray.rllib",
    "ray.serve",
)


class Plant(NamedTuple):
    contract: str
    file: str
    line: str


PLANTS = [
    Plant("shells", "bessai/backtest/__init__.py", "import training"),
    Plant("shells", "bessai/fleet/views.py", "import actors"),
    Plant("no-ray", "bessai/markets/__init__.py", "import ray"),
    Plant("no-ray", "bessai/markets/__init__.py", "from ray import serve"),
    Plant("light-site", "actors/site.py", "import torch"),
    Plant("light-site", "actors/site.py", "from google.cloud import pubsub"),
    Plant("light-site", "bessai/build.py", "import sqlalchemy"),
    Plant("light-site", "bessai/control/step.py", "import pandas"),
    Plant("light-site", "bessai/units.py", "import polars"),
    Plant("apart", "training/__init__.py", "import actors"),
    Plant("layers", "bessai/model/clock.py", "import bessai.ports"),
    Plant("layers", "bessai/safety/__init__.py", "import bessai.devices"),
    Plant("layers", "bessai/plant/__init__.py", "import bessai.sim"),
]


class Verdict(NamedTuple):
    kept: frozenset[str]
    broken: frozenset[str]
    text: str


def contracts() -> dict[str, str]:
    """Contract ids by name, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {c["name"]: c["id"] for c in project["tool"]["importlinter"]["contracts"]}


def lint(folder: Path) -> Verdict:
    result = subprocess.run(
        [LINT, "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found: dict[str, set[str]] = {"KEPT": set(), "BROKEN": set()}
    for name, word in VERDICT.findall(result.stdout):
        found[word].add(contracts()[name])
    return Verdict(frozenset(found["KEPT"]), frozenset(found["BROKEN"]), result.stdout)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_clean_copy_keeps_every_contract(copy: Path) -> None:
    verdict = lint(copy)
    assert verdict.kept == frozenset(contracts().values()), verdict.text


def test_every_contract_has_a_planted_violation() -> None:
    assert {plant.contract for plant in PLANTS} == set(contracts().values())


@pytest.mark.parametrize("plant", PLANTS, ids=lambda p: f"{p.contract}-{p.file}-{p.line}")
def test_a_planted_violation_breaks_exactly_its_contract(copy: Path, plant: Plant) -> None:
    path = copy / plant.file
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{plant.line}\n", encoding="utf-8")
    verdict = lint(copy)
    assert verdict.broken == {plant.contract}, verdict.text


def modules_after(statement: str) -> list[str]:
    """Names of all modules that a fresh interpreter holds after ``statement``."""
    code = f"{statement}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    names: list[str] = json.loads(result.stdout.splitlines()[-1])
    return names


def heavy_in(modules: list[str]) -> list[str]:
    return sorted({h for h in HEAVY for m in modules if m == h or m.startswith(h + ".")})


def test_importing_the_site_actor_loads_nothing_heavy() -> None:
    modules = modules_after("import actors.site")
    assert "bessai.control" in modules
    assert heavy_in(modules) == []


def test_the_runtime_check_sees_what_the_static_one_cannot() -> None:
    hidden = "import importlib; importlib.import_module('sqlalchemy')"
    assert heavy_in(modules_after(hidden)) == ["sqlalchemy"]
