"""`make` targets that a newcomer meets first, run in a copy with a stand-in interpreter."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE_BESSAI = """#!/bin/sh
trap 'echo stopped > "{folder}/stopped"; exit 0' INT
echo "$@" > "{folder}/arguments"
while :; do sleep 0.05; done
"""

INHERITED = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS", "VENV", "PYTHON"}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in INHERITED}


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose environment is up to date, with a stand-in for the command."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    command = tmp_path / ".venv" / "bin" / "bessai"
    command.parent.mkdir(parents=True)
    command.write_text(FAKE_BESSAI.format(folder=tmp_path), encoding="utf-8")
    command.chmod(0o755)
    stamps = tmp_path / ".venv" / ".stamps"
    stamps.mkdir()
    for name in ("venv", "core", "project"):
        (stamps / name).touch()
    return tmp_path


def test_help_lists_every_promised_target() -> None:
    listed = {line.split()[1] for line in make(ROOT, "help").stdout.splitlines()}
    promised = "setup demo test test-all lint types fmt bench docs clean help"
    assert set(promised.split()) <= listed


def test_setup_does_nothing_when_nothing_changed(checkout: Path) -> None:
    result = make(checkout, "setup")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Nothing to be done" in result.stdout


def test_a_changed_lock_is_installed_again(checkout: Path) -> None:
    later = time.time() + 5
    os.utime(checkout / "requirements" / "core.lock", (later, later))
    assert "--requirement requirements/core.lock" in make(checkout, "--dry-run", "setup").stdout


def test_an_old_python_gets_one_clear_line(checkout: Path) -> None:
    result = make(checkout, "setup", "VENV=other", "PYTHON=false")
    assert result.returncode != 0
    assert result.stderr.splitlines()[0].startswith("BESSAI needs Python 3.11 or newer")
    assert not (checkout / "other").exists()


def test_demo_gets_the_options_and_ends_with_ctrl_c(checkout: Path) -> None:
    process = subprocess.Popen(
        ["make", "demo", "ARGS=--sites 3 --for 30s"],
        cwd=checkout,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        arguments = checkout / "arguments"
        deadline = time.monotonic() + 10
        while not arguments.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=10)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert arguments.read_text(encoding="utf-8").strip() == "demo --sites 3 --for 30s"
    assert (checkout / "stopped").exists()
