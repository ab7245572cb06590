"""`bessai stop` and `release` against a real HTTP API."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from actors.serve.web import create_app
from bessai.cli import stop as command
from bessai.cli.show import show_site, show_sites
from bessai.cli.stop import Target, order, request_of
from bessai.errors import BessaiError, ConfigError
from bessai.model import AutonomyLevel
from tests.support.web_fake_fleet import SITE_IDS, UNREACHABLE, FakeFleet
from tests.support.web_server import served

KEY = "a-key-of-more-than-16-characters"


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet()


@pytest.fixture
def url(fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("BESSAI_API_KEY", KEY)
    monkeypatch.setattr(command, "OBEY_S", 30.0)
    monkeypatch.setattr(command, "POLL_S", 0.05)
    with served(create_app(fleet, api_key=KEY, loopback_only=True)) as base:
        yield base


def give(
    url: str, site_id: str | None, *, stop: bool = True, reason: str = "smoke"
) -> tuple[bool, str]:
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=False)
    obeyed = order(url, Target(site_id), request_of("Ana", reason), console, stop=stop)
    return obeyed, out.getvalue()


def test_a_stop_says_when_the_site_obeys(url: str, fleet: FakeFleet) -> None:
    fleet.obey_s = 0.3
    obeyed, text = give(url, "site-1")
    assert obeyed
    first, second = text.splitlines()
    assert first == "site-1: stop ordered, revision 1"
    assert second.startswith("site-1: obeys after ")
    assert second.endswith("power 0.00 kW")
    assert [(o.by, o.reason, o.stopped) for o in fleet.orders] == [("Ana", "smoke", True)]


def test_a_site_that_does_not_obey_is_a_warning_with_what_is_known(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "OBEY_S", 1.0)
    obeyed, text = give(url, UNREACHABLE)
    assert not obeyed
    assert f"WARNING {UNREACHABLE}: does not obey yet: unreachable, 127.0.0.1:15023" in text
    assert "The order stands" in text
    assert "obeys after" not in text


def test_all_sites_are_stopped_and_each_says_for_itself(
    url: str, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "OBEY_S", 4.0)
    obeyed, text = give(url, None)
    assert not obeyed
    for site_id in SITE_IDS:
        assert (f"{site_id}: obeys" in text) is (site_id != UNREACHABLE)
    assert len(fleet.orders) == len(SITE_IDS)


def test_a_release_names_the_stop_that_it_ends(url: str, fleet: FakeFleet) -> None:
    give(url, "site-1", reason="[red]smoke[/] and more")
    obeyed, text = give(url, "site-1", stop=False, reason="no smoke")
    assert obeyed
    assert text.splitlines()[0] == "site-1: ends the stop by Ana: [red]smoke[/] and more"
    assert not fleet.orders[-1].stopped


def test_an_order_that_somebody_else_overruled_is_not_called_obeyed(
    url: str, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = fleet.stop_site

    async def overruled(site_id: str, said: object) -> object:
        given = await ask(site_id, said)  # type: ignore[arg-type]
        await fleet.release_site(site_id, request_of("Ben", "all is well"))
        return given

    monkeypatch.setattr(fleet, "stop_site", overruled)
    monkeypatch.setattr(command, "OBEY_S", 1.0)
    obeyed, text = give(url, "site-1")
    assert not obeyed
    assert "Ben ordered otherwise since: all is well" in text


@pytest.mark.parametrize("site_id", ["site-11", None])
def test_an_order_that_is_not_taken_is_an_error(
    url: str, fleet: FakeFleet, site_id: str | None
) -> None:
    fleet.store_broken = site_id is None
    with pytest.raises(BessaiError, match="disk full" if site_id is None else "site-1"):
        give(url, site_id)
    assert fleet.orders == []


@pytest.mark.parametrize(("site_id", "everywhere"), [(None, False), ("a", True)])
def test_one_site_or_all_must_be_named(site_id: str | None, everywhere: bool) -> None:
    with pytest.raises(ConfigError, match="name one site or all"):
        Target.of(site_id, everywhere=everywhere)


@pytest.mark.parametrize(
    ("by", "reason", "said"),
    [
        ("Ana", "", "--reason: "),
        ("Ana", "one\ntwo", "--reason: must be one line"),
        ("", "smoke", "--by: "),
        ("Ana", "x" * 201, "--reason: "),
    ],
)
def test_who_and_why_are_checked_here_too(by: str, reason: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        request_of(by, reason)
    assert str(caught.value).startswith(said)


def test_by_default_the_user_of_this_machine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "rosa")
    assert request_of(None, "smoke").by == "rosa"


def shown(url: str, site_id: str | None, width: int = 200) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=False)
    if site_id is None:
        show_sites(url, console)
    else:
        show_site(url, site_id, console)
    return out.getvalue()


def test_a_stopped_site_and_lesser_levels_are_shown(
    url: str, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.levels["site-3"] = (AutonomyLevel.CACHED_SCHEDULE, "no answer for 21 s")
    fleet.reads_only.add("site-6")
    give(url, "site-1", reason="[b]smoke[/x]")
    monkeypatch.setattr(command, "OBEY_S", 0.1)
    give(url, UNREACHABLE)
    one = shown(url, "site-1")
    assert "SAFE STOP" in one
    assert "follows      safe stop since 20" in one
    assert "[b]smoke[/x] (revision 1, obeyed)" in one
    assert "pid 4000, epoch 3, owner" in one
    assert "NOT OBEYED YET" in shown(url, UNREACHABLE)
    assert "only reads (probation): the process before" in shown(url, "site-6")
    assert ": no answer for 21 s" in shown(url, "site-3")
    for width in (60, 80, 200):
        table = shown(url, None, width)
        assert max(map(len, table.splitlines())) <= width
        for badge in ("SAFE STOP", "stop sent", "only reads"):
            assert badge in table
    assert "cached schedule" in shown(url, None)
    assert "old: no answer for 21 s" in shown(url, None)
