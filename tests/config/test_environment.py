"""Keys and variables of the environment: what is taken, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from bessai.config import ApiConfig
from bessai.config.legacy import apply_environment, unused_variables
from bessai.config.secret import (
    KEY_FILE_VARIABLE,
    KEY_VARIABLES,
    api_key,
    require_key_beyond_loopback,
)
from bessai.errors import ConfigError
from tests.config.files import DELETE, Folder

KEY = "0123456789abcdef"
LEGACY = (
    "SITE_ID", "INVERTER_IP", "GCP_PROJECT_ID", "GCP_PUBSUB_TOPIC",
    "GOOGLE_APPLICATION_CREDENTIALS", "P2P_LEDGER_ENDPOINT", "BIGQUERY_PROJECT_ID",
    "BIGQUERY_DATASET",
)  # fmt: skip


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*LEGACY, *KEY_VARIABLES, KEY_FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_without_variables_the_file_stands(folder: Folder) -> None:
    fleet = folder.load()
    assert apply_environment(fleet) is fleet
    assert unused_variables() == []
    assert api_key() is None


def test_the_only_site_takes_its_id_and_address(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = folder.load({("sites", 1): DELETE})
    monkeypatch.setenv("SITE_ID", "from-outside")
    monkeypatch.setenv("INVERTER_IP", "192.0.2.77")
    (site,) = apply_environment(fleet).sites
    assert (site.id, site.host) == ("from-outside", "192.0.2.77")
    assert site.battery == fleet.sites[0].battery


def test_one_of_several_sites_cannot_be_meant(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVERTER_IP", "192.0.2.77")
    with pytest.raises(ConfigError, match=r"INVERTER_IP: would change one of 2 sites"):
        apply_environment(folder.load())


def test_a_wrong_value_is_named(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_ID", "Not An Id")
    with pytest.raises(ConfigError, match=r"^environment: sites\[0\]\.id: .*got 'Not An Id'"):
        apply_environment(folder.load({("sites", 1): DELETE}))


def test_a_replay_never_reaches_a_real_inverter_by_the_environment(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = {
        ("sites", 1): DELETE,
        ("sites", 0, "host"): "127.0.0.1",
        ("simulation",): {"start": "2024-01-01T00:00Z"},
    }
    fleet = folder.load(replay)
    monkeypatch.setenv("INVERTER_IP", "192.0.2.77")
    with pytest.raises(ConfigError, match="never touches a real inverter"):
        apply_environment(fleet)


@pytest.mark.parametrize("name", LEGACY[2:])
def test_a_variable_without_a_part_is_named_with_the_reason(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    ((found, why),) = unused_variables()
    assert found == name
    assert "version" in why


@pytest.mark.parametrize("name", KEY_VARIABLES)
def test_a_key_comes_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, f" {KEY}\n")
    assert api_key() == KEY


def test_a_key_comes_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n", encoding="utf-8")
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(path))
    assert api_key() == KEY


def test_a_key_file_that_cannot_be_read_is_not_an_open_api(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=f"{KEY_FILE_VARIABLE}: cannot be read"):
        api_key()


@pytest.mark.parametrize("text", ["", KEY[:-1]])
def test_a_key_too_short_is_refused_and_not_shown(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(path))
    with pytest.raises(ConfigError, match="is shorter than 16 characters") as caught:
        api_key()
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "bess.example.com"])
def test_beyond_this_machine_a_key_is_needed(host: str) -> None:
    with pytest.raises(ConfigError, match=r"api\.host.*needs an API key"):
        require_key_beyond_loopback(ApiConfig(host=host), None)
    require_key_beyond_loopback(ApiConfig(host=host), KEY)
    require_key_beyond_loopback(ApiConfig(), None)
