"""Where a model comes from: its data and the software that made it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bessai.config import MarketConfig
from bessai.errors import MarketError
from bessai.markets.chile_cen import bundled_path
from bessai.modelstore.store import sha256_hex
from bessai.ports import PriceSource

BUNDLED = "chile_cen"
PACKAGES = ("bessai-fleet", "numpy", "polars", "highspy", "pydantic")


def data_used(market: MarketConfig, source: PriceSource) -> tuple[str, str]:
    """Name and SHA-256 of the file that the prices come from, or of the prices themselves.

    Raises:
        MarketError: the file cannot be read.
    """
    if market.path is not None:
        return _file(Path(market.path))
    if source.market == BUNDLED:
        return _file(bundled_path(source.node))
    start, end = source.coverage
    prices = source.prices_between(start, end).astype("<f8").tobytes()
    grid = f"{start.isoformat()} {source.step} {source.unit}\n".encode()
    return f"{source.market} {source.node}", sha256_hex(grid + prices)


def _file(path: Path) -> tuple[str, str]:
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
