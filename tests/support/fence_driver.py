"""A driver on a private Ray: starts supervisor, a scripted fleet and one site, then obeys.

``python -m tests.support.fence_driver PORT STORE_URL GCS_ADDRESS``; each line that it reads is one
question, each answer is one line of JSON.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import ray

from actors.fleet import FleetSpec
from actors.names import FLEET_ACTOR, HEAD_NODE, NAMESPACE, SUPERVISOR_ACTOR, site_actor
from actors.ray_api import find_actor, start_actor
from actors.supervisor import Desired, start_site, start_supervisor
from bessai.build import SiteSpec
from bessai.config import BatteryConfig, FleetConfig, SiteConfig
from bessai.control.whoami import this_process
from bessai.model import (
    CauseId,
    FleetReply,
    Grant,
    MarketClock,
    Priority,
    Proposal,
    SiteId,
    SiteSnapshot,
)
from bessai.units import MonotonicS

SITE = SiteId("north")
FLEET = "fenced"
RESOURCE = "field"
POWERS_KW = (1.0, 2.0)
ANSWER_S = 20.0


class RestlessFleet:
    """Wishes another power with each report, so that the owner writes in each cycle."""

    def __init__(self, _spec: object) -> None:
        self._reports: list[SiteSnapshot] = []

    async def report(self, batch: Sequence[SiteSnapshot]) -> list[FleetReply]:
        self._reports.extend(batch)
        wish = Proposal(
            source="test",
            priority=Priority.SCHEDULE,
            preferred_kw=POWERS_KW[len(self._reports) % 2],
            bounds=None,
            expires_at=MonotonicS(15.0),
            cause_id=CauseId("restless"),
        )
        return [FleetReply(None, lease_s=15.0, proposals=(wish,), epoch=1) for _ in batch]

    async def heard(self) -> list[tuple[int, int, str, str | None]]:
        """Process, epoch and standing of each report, and why it only read."""
        return [(r.pid, r.epoch, r.tenure.value, r.tenure_reason) for r in self._reports]


def main() -> None:
    port, store_url, address = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # Ray says things there

    def tell(what: object) -> None:
        print(json.dumps(what), file=answers, flush=True)

    ray.init(
        address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.WARNING
    )
    battery = BatteryConfig(capacity_kwh=10.0, max_charge_kw=5.0, max_discharge_kw=5.0)
    site = SiteConfig(id=SITE, host="127.0.0.1", port=port, battery=battery, ray_resource=RESOURCE)
    fleet, now = FleetConfig(id=FLEET, sites=(site,)), datetime.now(UTC)
    clock = MarketClock(now, now)
    spec = SiteSpec(site, clock, simulated=True)
    start_actor(RestlessFleet, FLEET_ACTOR, None, HEAD_NODE)
    desired = Desired(FleetSpec(fleet, clock, store_url, None), (spec,), this_process())
    supervisor = start_supervisor(desired)
    supervisor.ask_now("restarts", 60.0)
    start_site(spec)
    tell("started")
    for line in sys.stdin:
        tell(answer(line.strip()))


def answer(question: str) -> object:
    match question:
        case "heard":
            return ray.get(find_actor(FLEET_ACTOR).handle.heard.remote(), timeout=ANSWER_S)
        case "claim":
            supervisor = find_actor(SUPERVISOR_ACTOR).handle
            claim = supervisor.claim.remote(SITE, this_process())
            return cast("Grant", ray.get(claim, timeout=ANSWER_S)).epoch
        case "restarts":
            return find_actor(SUPERVISOR_ACTOR).ask_now("restarts", ANSWER_S)
        case "stop":
            return find_actor(SUPERVISOR_ACTOR).ask_now("stop", ANSWER_S)
        case "pid":
            return find_actor(site_actor(SITE)).ask_now("pid", ANSWER_S)
        case _:
            raise AssertionError(question)


if __name__ == "__main__":
    main()
