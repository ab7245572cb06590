"""SunSpec models: defined once in ``registry/sunspec``, used by every profile that names them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from bessai.config.yaml_file import load_yaml
from bessai.errors import ConfigError


def with_sunspec_models(data: object, folder: Path) -> object:
    """A profile's data with the points of its SunSpec models, as ``m<model>.<point>``.

    What the profile says of such a point is laid over the model's own definition. Data without
    a usable ``sunspec`` section comes back as it is: validation will name the mistake.

    Raises:
        ConfigError: a model has no definition.
    """
    section = data.get("sunspec") if isinstance(data, dict) else None
    models = section.get("models") if isinstance(section, dict) else None
    if not isinstance(data, dict) or not isinstance(models, list):
        return data
    own = data.get("points") or {}
    if not isinstance(own, dict):
        return data
    points: dict[str, object] = {}
    for model in models:
        points.update(_model_points(folder, str(model)))
    for name, point in own.items():
        base = points.get(name)
        both = isinstance(base, Mapping) and isinstance(point, dict)
        points[name] = {**base, **point} if both else point  # type: ignore[dict-item]
    return {**data, "points": points}


@cache
def _model_points(folder: Path, model: str) -> Mapping[str, dict[str, object]]:
    path = folder / f"model_{model}.yaml"
    if not path.is_file():
        known = ", ".join(
            sorted(p.stem.removeprefix("model_") for p in folder.glob("model_*.yaml"))
        )
        raise ConfigError(
            "is not a known SunSpec model",
            field="sunspec.models",
            value=model,
            fix=f"use {known}, or add {folder.name}/{path.name}",
        )
    data = load_yaml(path)
    points = data.get("points") if isinstance(data, dict) else None
    if not isinstance(points, dict):
        raise ConfigError("is required", field=f"{path.name}: points", fix="add it")
    return MappingProxyType(
        {f"m{model}.{name}": _placed(point, model) for name, point in points.items()}
    )


def _placed(point: object, model: str) -> dict[str, object]:
    placed: dict[str, object] = {"model": int(model), **(point if isinstance(point, dict) else {})}
    if "scale_factor" in placed:
        placed["scale_factor"] = f"m{model}.{placed['scale_factor']}"
    return placed
