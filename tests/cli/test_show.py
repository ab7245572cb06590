"""What `bessai status`, `sites` and `site` print, from a real HTTP API over a moving fleet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from actors.serve.web import create_app
from bessai.cli.show import show_site, show_sites, show_status
from bessai.errors import BessaiError
from tests.support.web_fake_fleet import HOLDING, SITE_IDS, UNREACHABLE, FakeFleet
from tests.support.web_server import served

KEY = "a-key-of-more-than-16-characters"
DASH = "\N{EN DASH}"


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet()


@pytest.fixture
def url(fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("BESSAI_API_KEY", KEY)
    with served(create_app(fleet, api_key=KEY, loopback_only=True)) as base:
        yield base


def printed(show: Callable[[Console], None], width: int = 140) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width, force_terminal=False))
    return out.getvalue()


def row(text: str, site_id: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(site_id))


def test_status_names_health_fallbacks_and_prices(url: str) -> None:
    text = printed(lambda console: show_status(url, console))
    assert "1 unreachable" in text
    assert "health" in text
    assert url in text


def test_status_of_a_fleet_that_is_down_fails(url: str, fleet: FakeFleet) -> None:
    fleet.health_status = "down"
    with pytest.raises(BessaiError, match="down"):
        printed(lambda console: show_status(url, console))


@pytest.mark.parametrize("width", [60, 80, 140, 220])
def test_sites_fit_the_terminal_and_unknown_is_a_dash(url: str, width: int) -> None:
    text = printed(lambda console: show_sites(url, console), width)
    assert max(map(len, text.splitlines())) <= width
    assert all(row(text, site_id) for site_id in SITE_IDS)
    assert DASH in row(text, UNREACHABLE)
    assert "unreachable" in row(text, UNREACHABLE)
    assert "%" not in row(text, UNREACHABLE)


def test_a_site_says_why_and_shows_its_plan(url: str) -> None:
    text = printed(lambda console: show_site(url, HOLDING, console))
    assert HOLDING in text
    assert "because" in text
    assert "limited by" in printed(lambda console: show_site(url, SITE_IDS[0], console))
    assert text.count("UTC") > 20


def test_an_unreachable_site_has_no_numbers_and_no_claim_about_alarms(url: str) -> None:
    text = printed(lambda console: show_site(url, UNREACHABLE, console))
    values = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()}
    for name in ("SoC", "power", "grid", "temperature", "alarms"):
        assert values[name] == [DASH], name


def test_an_unknown_site_names_the_nearest(url: str) -> None:
    with pytest.raises(BessaiError, match="site-1"):
        printed(lambda console: show_site(url, "site-11", console))


def test_a_wrong_key_is_one_clear_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESSAI_API_KEY", "not-the-right-key-at-all")
    with pytest.raises(BessaiError, match="key") as refused:
        printed(lambda console: show_sites(url, console))
    assert "not-the-right-key" not in str(refused.value)
