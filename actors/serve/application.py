"""How BESSAI's models and API become Ray Serve applications."""

from __future__ import annotations

from typing import Any, cast

from ray import serve


def application(
    kind: object, name: str, max_ongoing_requests: int, *arguments: object
) -> serve.Application:
    """A Serve application of one replica that needs little more than its turn on a core.

    Args:
        kind: Class of the deployment.
        name: Its name on Serve.
        max_ongoing_requests: Requests that it takes at once.
        arguments: What its constructor is called with on the replica.
    """
    make = serve.deployment(
        name=name,
        ray_actor_options={"num_cpus": 0.1},
        max_ongoing_requests=max_ongoing_requests,
        logging_config={"encoding": "JSON", "enable_access_log": False},
    )
    return make(cast("Any", kind)).bind(*arguments)
