"""Files that a site names: certificates and the password of its device."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bessai.build import SiteSpec
from bessai.config import SiteConfig
from bessai.config.secret import password_from
from bessai.errors import ConfigError
from bessai.model import MarketClock
from tests.config.files import Change, Folder
from tests.support.site_build import built
from tests.support.site_fakes import FakeUplink
from tests.support.site_play import LEASED, site_config

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def build(site: SiteConfig) -> None:
    built(SiteSpec(site, MarketClock(NOW, NOW, 1.0), simulated=True), FakeUplink(LEASED))


def test_paths_count_from_the_fleet_file(folder: Folder) -> None:
    change: Change = {
        ("sites", 0, "tls"): {"ca_file": "certificates/ca.pem"},
        ("sites", 1, "tls"): {"ca_file": "/etc/ssl/device.pem", "server_name": "battery"},
    }
    first, second = folder.load(change).sites
    assert first.tls is not None
    assert second.tls is not None
    assert first.tls.ca_file == folder.path.resolve() / "certificates" / "ca.pem"
    assert (second.tls.ca_file, second.tls.server_name) == (Path("/etc/ssl/device.pem"), "battery")


def test_a_password_is_the_first_line_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("00000a \nsecond line\n", encoding="utf-8")
    assert password_from(file, "login.password_file") == "00000a "


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read"), (b"", "is empty"), (b"\n00000a", "is empty"), (b"\xff", "UTF-8")],
)
def test_a_password_that_is_not_there_is_one_line_that_names_the_file(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        build(site_config(login={"password_file": file}))
    assert caught.value.field == "login.password_file"
    assert caught.value.value == str(file)


def test_a_site_with_a_password_is_built_and_one_without_certificate_is_not(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("00000a\n", encoding="utf-8")
    build(site_config(login={"password_file": file}))
    with pytest.raises(ConfigError, match=r"tls\.ca_file"):
        build(site_config(tls={"ca_file": tmp_path / "missing.pem"}))
