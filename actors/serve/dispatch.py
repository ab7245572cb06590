"""The dispatch model on Ray Serve: one call carries many sites."""

from __future__ import annotations

from actors.serve.application import application
from bessai.model import DispatchPlan, DispatchRequest
from bessai.policies import open_policy

POLICY = "linear"


class DispatchModel:
    """Serves one dispatch policy."""

    def __init__(self) -> None:
        self._policy = open_policy(POLICY)

    async def plan(self, request: DispatchRequest) -> DispatchPlan:
        """Plan every site of the request over the forecast's horizon.

        Raises:
            ModelError: the plan cannot be made.
        """
        return await self._policy.plan(request)


app = application(DispatchModel, "DispatchModel", max_ongoing_requests=8)
