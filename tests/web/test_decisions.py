"""What a site decided, over HTTP and through the command line's client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray.exceptions import ActorUnavailableError, RayTaskError

from actors.errors import FleetUnavailable
from actors.ray_api import Actor
from actors.serve.decisions import SiteDecisions
from actors.serve.web import create_app
from bessai.cli.client import ApiClient
from bessai.control.logbook import DecisionQuery, Logbook
from bessai.control.logbook.views import DecisionsView, decisions_view
from bessai.errors import BessaiError, StoreError
from tests.support.logbook_values import START, Tape, Wall
from tests.support.web_fake_fleet import FakeFleet
from tests.support.web_server import served

SITE = "site-1"


@dataclass
class OneRecord:
    """Decisions of one site, from a real record."""

    path: Path
    asked: list[DecisionQuery] = field(default_factory=list)

    async def decisions(self, site_id: str, query: DecisionQuery) -> DecisionsView | None:
        self.asked.append(query)
        return decisions_view(self.path, site_id, query) if site_id == SITE else None


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> OneRecord:
    path, wall = tmp_path_factory.mktemp("record") / "alpha.sqlite", Wall()
    log = Logbook(path, "{}", wall=wall)
    tape = Tape(log, wall)
    tape.run(30)
    tape.alarms = ("2068",)
    tape.run(10)
    log.close(10.0)
    return OneRecord(path)


@pytest.fixture(scope="module")
def base(source: OneRecord) -> Iterator[str]:
    app = create_app(FakeFleet(), api_key=None, loopback_only=True, decisions=source)
    with served(app) as address:
        yield address


def get(base: str, path: str) -> httpx.Response:
    return httpx.get(f"{base}/api/v1/{path}", timeout=10)


def test_the_newest_decisions_are_answered_oldest_first(base: str) -> None:
    answer = get(base, f"sites/{SITE}/decisions?last=3")
    assert answer.status_code == 200, answer.text
    found = DecisionsView.model_validate_json(answer.content)
    assert [one.at.timestamp() - START.timestamp() for one in found.decisions] == [38, 39, 40]
    assert found.decisions[-1].reasons[0].code == "alarm"


def test_every_parameter_reaches_the_record(base: str, source: OneRecord) -> None:
    since, until = "2026-01-01T00:00:05Z", "2026-01-01T00:00:35%2B00:00"
    answer = get(
        base, f"sites/{SITE}/decisions?since={since}&until={until}&cause_id=plan-1&changes=true"
    )
    assert len(answer.json()["decisions"]) == 1
    assert source.asked[-1] == DecisionQuery(
        last=20,
        since=datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC),
        until=datetime(2026, 1, 1, 0, 0, 35, tzinfo=UTC),
        cause_id="plan-1",
        changes=True,
    )


@pytest.mark.parametrize("wrong", ["last=0", "last=1001", "since=2026-01-01T00:00:00", "until=x"])
def test_parameters_are_checked(base: str, wrong: str) -> None:
    assert get(base, f"sites/{SITE}/decisions?{wrong}").status_code == 422


def test_an_unknown_site_is_404_and_names_a_close_one(base: str) -> None:
    answer = get(base, "sites/site-11/decisions")
    assert answer.status_code == 404
    assert answer.json()["fix"] == "did you mean 'site-1'?"


def test_the_command_line_asks_what_it_was_asked(base: str, source: OneRecord) -> None:
    query = DecisionQuery(
        last=7, since=START, until=datetime(2026, 1, 2, tzinfo=UTC), cause_id="a b&c", changes=True
    )
    with ApiClient(base) as api:
        assert api.decisions(SITE, query).decisions == []
        assert source.asked[-1] == query
        assert len(api.decisions(SITE, DecisionQuery(last=5)).decisions) == 5
        with pytest.raises(BessaiError, match="no such site"):
            api.decisions("site-11", query)


def test_without_a_source_there_is_no_such_route() -> None:
    app = create_app(FakeFleet(), api_key=None, loopback_only=True)
    with served(app) as base:
        assert get(base, f"sites/{SITE}/decisions").status_code == 404


@dataclass(frozen=True, slots=True)
class Failing(Actor):
    error: Exception | None = None

    async def ask(self, method: str, *args: object) -> object:
        assert (method, len(args)) == ("decisions", 1)
        raise self.error or AssertionError


def _task_error(cause: Exception) -> Exception:
    """As Ray hands on what a method raised: an error of both kinds."""
    make: Any = RayTaskError
    found: Exception = make("decisions", "traceback", cause).as_instanceof_cause()
    return found


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (ActorUnavailableError("", None), FleetUnavailable, "its process is away"),
        (TimeoutError(), FleetUnavailable, "it is too slow"),
        (_task_error(StoreError("no such decision record")), StoreError, "no such decision record"),
        (_task_error(ValueError("a bug")), RayTaskError, "traceback"),
    ],
)
async def test_errors_of_the_site_keep_their_meaning(
    error: Exception, raised: type[Exception], said: str
) -> None:
    names: list[str] = []

    def find(name: str) -> Actor:
        names.append(name)
        return Failing(None, error)

    with pytest.raises(raised, match=said):
        await SiteDecisions(find).decisions(SITE, DecisionQuery())
    assert names == [f"site:{SITE}"]


async def test_a_site_that_no_actor_runs_is_none() -> None:
    def find(_name: str) -> Any:
        raise ValueError("no such actor")

    assert await SiteDecisions(find).decisions("nobody", DecisionQuery()) is None
