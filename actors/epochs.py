"""Hands out the epochs of one deployment's sites; blocking, for a thread of the supervisor.

Two Rays that run the same fleet on the same store would take each site from one another for
ever, because each of them starts its own actor again whenever it was superseded. So the
deployments have epochs too, and only the newest one grants any. Within one Ray there is one
registered actor per site: another process with its name belongs to a lost node, and Ray does not
start that one again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from actors.errors import DeploymentSuperseded
from actors.names import deployment_epoch
from bessai.errors import ConfigError
from bessai.model import Grant, Owner, SiteId
from bessai.store.epochs import EpochStore


@dataclass(frozen=True, slots=True)
class Deployment:
    """Whose sites they are.

    Attributes:
        fleet_id: Id of the fleet.
        site_ids: Its sites.
        owner: Who deployed it; its token is that of the deployment, in every process of it.
    """

    fleet_id: str
    site_ids: Collection[str]
    owner: Owner


class EpochDesk:
    """Grants epochs while its deployment is the newest one of the fleet.

    The store is opened with the first question, and again until it opens: a supervisor must live
    without it.
    """

    def __init__(self, store_url: str, deployment: Deployment) -> None:
        self._url: Final = store_url
        self._deployment = deployment
        self._name: Final = deployment_epoch(deployment.fleet_id)
        self._store: EpochStore | None = None

    def take_over(self) -> None:
        """Make this deployment the one that grants epochs, where it has not been it before.

        Raises:
            StoreError: the store cannot be opened or written now.
        """
        store, made_by = self._opened(), self._deployment.owner
        if made_by not in store.owners(self._name):
            store.claim(self._name, made_by)

    def claim(self, site_id: SiteId, owner: Owner) -> Grant:
        """The next epoch of a site.

        Raises:
            ConfigError: the fleet has no such site.
            DeploymentSuperseded: a later deployment grants epochs now.
            StoreError: nothing was granted.
        """
        self._require_site(site_id)
        self.take_over()
        later = self.later_deployment()
        if later is not None:
            raise DeploymentSuperseded(
                "a later deployment of this fleet controls its sites",
                field=self._deployment.fleet_id,
                value=f"one made by pid {later.pid} on host {later.host}",
                fix="end this one; or end the later one, then this one, and deploy it again",
            )
        return self._opened().claim(site_id, owner)

    def later_deployment(self) -> Owner | None:
        """Who grants epochs instead of this deployment, or None where it does itself.

        Raises:
            StoreError: the store cannot be read now.
        """
        newest = self._opened().owner_of(self._name)
        mine = newest is None or newest.token == self._deployment.owner.token
        return None if mine else newest

    def is_current(self, site_id: SiteId, epoch: int) -> bool:
        """Whether ``epoch`` is the newest one of the site.

        A store that has lost its memory confirms none: each site claims again.

        Raises:
            ConfigError: the fleet has no such site.
            StoreError: the store cannot be read now.
        """
        self._require_site(site_id)
        return self._opened().current(site_id) == epoch

    def settle(self, site_id: SiteId, epoch: int) -> None:
        """The owner of ``epoch`` has taken over: those before it are no longer of interest.

        Raises:
            ConfigError: the fleet has no such site.
            StoreError: the store cannot be written now.
        """
        self._require_site(site_id)
        self._opened().settle(site_id, epoch)

    def _opened(self) -> EpochStore:
        if self._store is None:
            self._store = EpochStore.open(self._url)
        return self._store

    def _require_site(self, site_id: SiteId) -> None:
        if site_id not in self._deployment.site_ids:
            raise ConfigError(
                "is not a site of this fleet",
                field="site_id",
                value=repr(str(site_id)),
                fix=f"deploy {self._deployment.fleet_id} again if its file has changed",
            )
