from __future__ import annotations

import pytest

from tests.helm.chart import Helm, Manifest, unpack_helm


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(unpack_helm(tmp_path_factory.mktemp("helm")))


@pytest.fixture(scope="session")
def manifests(helm: Helm) -> list[Manifest]:
    return helm.template()
