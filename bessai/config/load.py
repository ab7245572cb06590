"""Files to models, with one clear line per mistake."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bessai.config.fleet import FleetConfig
from bessai.config.profile import DeviceProfile
from bessai.config.site import SiteConfig
from bessai.config.sunspec import with_sunspec_models
from bessai.config.yaml_file import load_yaml
from bessai.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], data: object, origin: str) -> M:
    """Validate ``data``; the first mistake becomes one line that names field, value and fix.

    Raises:
        ConfigError: with the field path, e.g. ``fleet.yaml: sites[1].battery.soc_min_pct``.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # A misspelt field is also a missing one; the spelling is the mistake to name.
        mistakes = sorted(_mistakes(error), key=lambda m: m["type"] != "extra_forbidden")
        raise _first_mistake(model, mistakes[0], len(mistakes), origin) from None


def load_fleet(path: Path) -> FleetConfig:
    """Read and check a fleet file against the profiles it names.

    Raises:
        ConfigError: one line about the first mistake.
    """
    fleet = _with_absolute_paths(parse(FleetConfig, load_yaml(path), path.name), path.parent)
    resolve_profiles(fleet)
    return fleet


def _with_absolute_paths(fleet: FleetConfig, folder: Path) -> FleetConfig:
    """The fleet with its file names as its other processes, which run elsewhere, find them."""
    update: dict[str, object] = {
        "sites": tuple(_site_with_absolute_paths(site, folder.resolve()) for site in fleet.sites)
    }
    if fleet.market.path is not None:
        found = str((folder / fleet.market.path).resolve())
        update["market"] = fleet.market.model_copy(update={"path": found})
    return fleet.model_copy(update=update)


def _site_with_absolute_paths(site: SiteConfig, folder: Path) -> SiteConfig:
    update = {
        name: section.model_copy(
            update={field: folder / value for field, value in section if isinstance(value, Path)}
        )
        for name, section in (("tls", site.tls), ("login", site.login))
        if section is not None
    }
    return site.model_copy(update=update) if update else site


def resolve_profiles(fleet: FleetConfig) -> dict[str, DeviceProfile]:
    """Load each profile that the fleet names and check each site's limits against it.

    Raises:
        ConfigError: an unknown profile, a limit outside it, or two sites on one inverter.
    """
    profiles: dict[str, DeviceProfile] = {}
    for index, site in enumerate(fleet.sites):
        field = f"sites[{index}]"
        if site.profile not in profiles:
            profiles[site.profile] = load_profile(site.profile, field=f"{field}.profile")
        site.check_against(profiles[site.profile], field)
    _check_addresses(fleet, profiles)
    return profiles


def _check_addresses(fleet: FleetConfig, profiles: Mapping[str, DeviceProfile]) -> None:
    """Refuse two sites on one inverter: each would undo what the other commands."""
    seen: dict[tuple[str, int, int], int] = {}
    for index, site in enumerate(fleet.sites):
        if fleet.simulation is not None and site.port is None:
            continue  # a simulated inverter takes a free port
        port = site.port or profiles[site.profile].connection.default_port
        default_unit = profiles[site.profile].connection.default_unit_id
        unit = default_unit if site.unit_id is None else site.unit_id
        address = (site.host.lower(), port, unit)
        if address in seen:
            raise ConfigError(
                f"is the inverter of sites[{seen[address]}] already",
                field=f"sites[{index}].host",
                value=f"{site.host}:{port}, unit {unit}",
                fix="give each site its own host, port or unit_id",
            )
        seen[address] = index


def registry_root() -> Path:
    """Folder that holds ``devices/`` and ``models/``: the checkout's, or the wheel's copy."""
    override = os.environ.get("BESSAI_REGISTRY")
    if override:
        return Path(override)
    package = Path(__file__).resolve().parents[1]
    bundled = package / "_registry"
    return bundled if bundled.is_dir() else package.parent / "registry"


def data_root() -> Path:
    """Folder of the bundled data files: the checkout's, or the wheel's copy."""
    override = os.environ.get("BESSAI_DATA")
    if override:
        return Path(override)
    package = Path(__file__).resolve().parents[1]
    bundled = package / "_data"
    return bundled if bundled.is_dir() else package.parent / "data"


def profile_path(name: str) -> Path:
    """Path of a profile's YAML file; it may not exist."""
    return registry_root() / "devices" / f"{name}.yaml"


@cache
def _load_profile_file(path: Path) -> DeviceProfile:
    data = with_sunspec_models(load_yaml(path), path.parent.parent / "sunspec")
    return parse(DeviceProfile, data, path.name)


def load_profile(name: str, *, field: str = "profile") -> DeviceProfile:
    """Load a device profile by name.

    Raises:
        ConfigError: no such profile, or the file is wrong.
    """
    path = profile_path(name)
    known = sorted(p.stem for p in path.parent.glob("*.yaml"))
    if name not in known:
        raise ConfigError(
            "is not a known device profile",
            field=field,
            value=repr(name),
            fix=f"use one of {', '.join(known)}, or add {path.parent.name}/{name}.yaml",
        )
    return _load_profile_file(path)


def _mistakes(error: ValidationError) -> list[ErrorDetails]:
    """All mistakes, less the echo "too short" of a list whose items are wrong themselves."""
    found = error.errors()
    inner = {d["loc"][:n] for d in found for n in range(1, len(d["loc"]))}
    return [d for d in found if d["type"] != "too_short" or d["loc"] not in inner]


def _first_mistake(
    model: type[BaseModel], detail: ErrorDetails, count: int, origin: str
) -> ConfigError:
    field = _dotted(detail["loc"])
    more = f" ({count - 1} more after this one)" if count > 1 else ""
    where = f"{origin}: {field}" if field else origin
    if detail["type"] == "extra_forbidden":
        known = _known_fields(model, detail["loc"][:-1])
        close = get_close_matches(str(detail["loc"][-1]), known, n=1)
        fix = f"did you mean {close[0]!r}?" if close else f"known fields: {', '.join(known)}"
        return ConfigError("unknown field" + more, field=where, fix=fix)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        return ConfigError("is required" + more, field=where, fix="add it")
    value = detail.get("input")
    shown = repr(value) if isinstance(value, str | int | float | bool) or value is None else None
    return ConfigError(message + more, field=where, value=shown)


def _dotted(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def _known_fields(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    current: type[BaseModel] = model
    for part in location:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part)
        nested = _nested_model(field.annotation) if field is not None else None
        if nested is None:
            return []
        current = nested
    return list(current.model_fields)


def _nested_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _nested_model(inner)
        if found is not None:
            return found
    return None
