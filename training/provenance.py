"""Where a model comes from: its data file and the software that made it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bessai.config import MarketConfig
from bessai.errors import MarketError
from bessai.markets.chile_cen import bundled_path
from bessai.modelstore.store import sha256_hex

PACKAGES = ("bessai-fleet", "numpy", "polars", "highspy", "pydantic")


def data_file(market: MarketConfig, node: str) -> tuple[str, str]:
    """Name and SHA-256 of the file that a source reads.

    Raises:
        MarketError: the source reads no file, or it cannot be read.
    """
    path = Path(market.path) if market.path is not None else bundled_path(node)
    try:
        return path.name, sha256_hex(path.read_bytes())
    except OSError as error:
        raise MarketError(f"cannot be read ({error.strerror})", field=str(path)) from error


def software_versions() -> dict[str, str]:
    """Package to version; a package run from a checkout without installation is ``source``."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "source"
    return found
