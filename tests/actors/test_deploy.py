"""What is deployed, and what a start that fails says; without Ray."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from ray import serve
from ray.exceptions import GetTimeoutError, RayError
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from actors.deploy import await_sites, await_start, load_app, serve_config
from actors.local.progress import Progress
from actors.ray_api import Actor
from bessai.config import load_yaml
from bessai.errors import BessaiError, ConfigError


@dataclass(frozen=True, slots=True)
class Broken(Actor):
    """Fails as a handle of Ray does."""

    error: RayError | None = None

    def ask_now(self, method: str, timeout_s: float) -> object:
        if self.error is not None:
            raise self.error
        return None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RayError("died in its creation task\nbessai.errors.ConfigError: market: no\n"),
            "the fleet actor did not start; got bessai.errors.ConfigError: market: no",
        ),
        (GetTimeoutError(), "the fleet actor did not start; got GetTimeoutError"),
    ],
)
def test_an_actor_that_does_not_start_names_the_cause_in_one_line(
    error: RayError, said: str
) -> None:
    with pytest.raises(BessaiError) as caught:
        await_start(Broken(None, error), "the fleet actor", 1.0)
    assert str(caught.value) == said


def test_a_site_that_does_not_start_stops_no_other() -> None:
    told: list[Progress] = []
    sites: dict[str, Actor] = {
        "north": Broken(None),
        "nowhere": Broken(None, GetTimeoutError()),
        "south": Broken(None),
    }
    await_sites(sites, told.append, 1.0)
    assert [step.done for step in told] == [0, 1, 1, 2]
    assert told[-1].of == 3
    assert told[2].text == "site nowhere did not start; got GetTimeoutError; going on without it"


def test_an_actor_that_starts_says_nothing() -> None:
    await_start(Broken(None), "the fleet actor", 1.0)


@pytest.mark.parametrize("name", ["local", "production"])
def test_every_application_of_a_configuration_can_be_made(name: str) -> None:
    config = ServeDeploySchema.model_validate(load_yaml(serve_config(name)))
    assert all(isinstance(load_app(entry), serve.Application) for entry in config.applications)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"policy": "magic"}, "policy: is not one of the known policies; got 'magic'; use one of"),
        ({"polcy": "linear"}, "args of dispatch: polcy: unknown field; did you mean 'policy'?"),
    ],
)
def test_a_policy_is_chosen_by_name_and_a_wrong_one_is_refused_at_the_start(
    args: dict[str, str], said: str
) -> None:
    entry = ServeApplicationSchema(
        name="dispatch", import_path="actors.serve.dispatch:app", args=args
    )
    with pytest.raises(ConfigError) as caught:
        load_app(entry)
    assert str(caught.value).startswith(said)
