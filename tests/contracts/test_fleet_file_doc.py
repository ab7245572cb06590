"""``docs/reference/fleet-file.md`` names each field of the fleet file as the models have it."""

from __future__ import annotations

import re

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bessai.config import ApiConfig, BatteryConfig, FleetConfig, SimulationConfig, SiteConfig
from bessai.config.fleet import MarketConfig
from bessai.config.site import LoginConfig, TlsConfig
from tools.doclinks import ROOT

TEXT = (ROOT / "docs" / "reference" / "fleet-file.md").read_text(encoding="utf-8")
MODELS: dict[str, type[BaseModel]] = {
    "Fleet": FleetConfig,
    "Market": MarketConfig,
    "Api": ApiConfig,
    "Simulation": SimulationConfig,
    "Site": SiteConfig,
    "Battery": BatteryConfig,
    "Tls": TlsConfig,
    "Login": LoginConfig,
}


def rows(section: str) -> dict[str, tuple[str, str]]:
    """Default and limits of each field in the table of ``section``."""
    _, _, after = TEXT.partition(f"\n## {section}\n")
    body, _, _ = after.partition("\n## ")
    found = re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|([^|]*)\|", body, re.MULTILINE)
    return {name: (default, limits.strip()) for name, default, limits in found}


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "none"
    if isinstance(field.default, BaseModel):
        return "all defaults"
    return f"`{str(field.default).lower()}`"


def limits_of(field: FieldInfo) -> str | None:
    """Numeric limits in the words of the document, or None where there are none."""
    least = next((m for m in field.metadata if isinstance(m, Ge | Gt)), None)
    most = next((m for m in field.metadata if isinstance(m, Le | Lt)), None)
    if isinstance(least, Ge) and isinstance(most, Le):
        return f"{least.ge:g} to {most.le:g}"
    parts = []
    if isinstance(least, Ge | Gt):
        parts.append(f"≥ {least.ge:g}" if isinstance(least, Ge) else f"> {least.gt:g}")
    if isinstance(most, Le | Lt):
        parts.append(f"≤ {most.le:g}" if isinstance(most, Le) else f"< {most.lt:g}")
    return ", ".join(parts) or None


@pytest.mark.parametrize(("section", "model"), MODELS.items(), ids=MODELS)
def test_each_field_stands_there_with_its_default_and_limits(
    section: str, model: type[BaseModel]
) -> None:
    documented = rows(section)
    assert list(documented) == list(model.model_fields)
    for name, field in model.model_fields.items():
        default, limits = documented[name]
        assert default == default_of(field), name
        assert limits_of(field) in (None, limits), name


def test_each_section_of_the_fleet_file_is_documented() -> None:
    nested = {
        found
        for model in MODELS.values()
        for field in model.model_fields.values()
        for found in models_in(field.annotation)
    }
    assert nested <= set(MODELS.values())


def models_in(annotation: object) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {m for inner in getattr(annotation, "__args__", ()) for m in models_in(inner)}
