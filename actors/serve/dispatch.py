"""The dispatch model on Ray Serve: one call carries many sites."""

from __future__ import annotations

from collections.abc import Mapping

from ray import serve

from actors.serve.application import application
from bessai.config.base import ConfigModel
from bessai.config.load import parse
from bessai.model import DispatchPlan, DispatchRequest
from bessai.policies import open_policy


class DispatchOptions(ConfigModel):
    """``args`` of the application in a Serve configuration; ``policy`` is a drop-in's name."""

    policy: str = "linear"


class DispatchModel:
    """Serves one dispatch policy."""

    def __init__(self, policy: str) -> None:
        self._policy = open_policy(policy)

    async def plan(self, request: DispatchRequest) -> DispatchPlan:
        """Plan every site of the request over the forecast's horizon.

        Raises:
            ModelError: the plan cannot be made.
        """
        return await self._policy.plan(request)


def app(args: Mapping[str, str]) -> serve.Application:
    """Build the application.

    Raises:
        ConfigError: an unknown option or policy.
    """
    options = parse(DispatchOptions, args, "args of dispatch")
    open_policy(options.policy)  # a wrong name is refused here, not by a replica that restarts
    return application(DispatchModel, "DispatchModel", 8, options.policy)
