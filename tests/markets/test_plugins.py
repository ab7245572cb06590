from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bessai.errors import ConfigError
from bessai.plugins import known_plugins, load_plugin


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "dropins_under_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "good.py").write_text("def open_it():\n    return 42\n")
    (folder / "helper.py").write_text("from dropins_under_test.good import open_it\n")
    (folder / "needy.py").write_text("import a_package_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield_name = folder.name
    for name in [n for n in sys.modules if n.startswith(yield_name)]:
        del sys.modules[name]
    return yield_name


def test_one_new_file_is_a_drop_in(package: str) -> None:
    assert load_plugin(package, "good", "open_it", field="x")() == 42
    assert known_plugins(package, "open_it") == ["good"]


def test_unknown_name_lists_the_known_ones(package: str) -> None:
    for name in ("bad", "helper", "..good", "good.open_it", ""):
        with pytest.raises(ConfigError, match=r"x: is not one of .*use one of good$"):
            load_plugin(package, name, "open_it", field="x")


def test_a_missing_dependency_says_which(package: str) -> None:
    with pytest.raises(ConfigError, match="a_package_nobody_has"):
        load_plugin(package, "needy", "open_it", field="x")
