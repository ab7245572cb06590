from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from tests.helm.chart import ROOT

FILES = sorted((ROOT / "serve_configs").glob("*.yaml"))


def load(path: Path) -> dict[str, object]:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_serve_accepts_the_file(path: Path) -> None:
    data = load(path)
    schema = ServeDeploySchema.model_validate(data)
    assert data.keys() <= ServeDeploySchema.model_fields.keys(), "Serve ignores unknown keys"
    assert {app.name: app.route_prefix for app in schema.applications} == {
        "price": None,
        "dispatch": None,
        "api": "/",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_application_can_be_imported(path: Path) -> None:
    for app in ServeDeploySchema.model_validate(load(path)).applications:
        module, _, attribute = app.import_path.partition(":")
        assert attribute == "app"
        assert importlib.util.find_spec(module) is not None, f"{path.name} names {module}"


def test_production_listens_to_the_cluster_and_logs_json() -> None:
    data = load(ROOT / "serve_configs" / "production.yaml")
    schema = ServeDeploySchema.model_validate(data)
    assert (schema.http_options.host, schema.http_options.port) == ("0.0.0.0", 8000)
    assert schema.logging_config is not None
    assert str(schema.logging_config.encoding) == "JSON"
