"""How BESSAI's models and API become Ray Serve applications."""

from __future__ import annotations

from typing import Any, cast

from ray import serve


def application(kind: object, name: str, max_ongoing_requests: int) -> serve.Application:
    """A Serve application of one replica that needs little more than its turn on a core."""
    make = serve.deployment(
        name=name,
        ray_actor_options={"num_cpus": 0.1},
        max_ongoing_requests=max_ongoing_requests,
        logging_config={"encoding": "JSON", "enable_access_log": False},
    )
    return make(cast("Any", kind)).bind()
