"""Names, namespace and restart options of all actors: the one place that knows them."""

from __future__ import annotations

from typing import Final, TypedDict

from bessai.model import SiteId

NAMESPACE: Final = "bessai"
FLEET_ACTOR: Final = "fleet"
SUPERVISOR_ACTOR: Final = "supervisor"
HEAD_NODE: Final = "node:__internal_head__"
"""Ray's own resource of the node that runs its head."""

PRICE_APP: Final = "price"
DISPATCH_APP: Final = "dispatch"
API_APP: Final = "api"


class ActorOptions(TypedDict, total=False):
    """The options of ``ray.remote`` that BESSAI uses."""

    name: str
    namespace: str
    lifetime: str
    num_cpus: float
    max_restarts: int
    max_task_retries: int
    get_if_exists: bool
    resources: dict[str, float]


def site_actor(site_id: SiteId | str) -> str:
    """Name of a site's actor, as the Ray dashboard shows it."""
    return f"site:{site_id}"


def fleet_epoch(fleet_id: str) -> str:
    """Name of a fleet actor's epochs in the store; a site's id has no colon."""
    return f"fleet:{fleet_id}"


def deployment_epoch(fleet_id: str) -> str:
    """Name of the epochs of a fleet's deployments: of two Rays, only one may hand out epochs."""
    return f"deployment:{fleet_id}"


def store_node(store_url: str) -> str | None:
    """Resource of the node where an actor finds the store, or None where every node reaches it.

    A file is on one machine. On another one an actor would begin a new file, and epochs with it.
    """
    return HEAD_NODE if store_url.startswith("sqlite") else None


def actor_options(name: str, resource: str | None = None) -> ActorOptions:
    """A detached actor, restarted for ever; calls are never repeated by Ray.

    A repeated call would run twice on the new process, which a command must never do.
    """
    options = ActorOptions(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=0,
        get_if_exists=True,
    )
    if resource is not None:
        options["resources"] = {resource: 0.001}
    return options
