from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from bessai.control.follow import Following, Orders, follow, receive, sources
from bessai.errors import ProtocolError
from bessai.model import AutonomyLevel, FleetReply, Priority, SiteId
from bessai.units import MonotonicS
from tests.support.site_values import MARKET_0, SITE, proposal, schedule

PLAN = schedule([4.0, -2.0])
AT_100 = MonotonicS(100.0)
LEASED = receive(Orders(), FleetReply(PLAN, 15.0), SITE, AT_100)
FLEET, CACHED, HOLD = AutonomyLevel.FLEET, AutonomyLevel.CACHED_SCHEDULE, AutonomyLevel.HOLD
LOCAL, STOP = AutonomyLevel.LOCAL_POLICY, AutonomyLevel.SAFE_STOP


def best(
    orders: Orders,
    now: float,
    market_now: datetime = MARKET_0,
    speed: float = 1.0,
    *,
    local_kw: float | None = None,
    stopped: str = "",
) -> tuple[AutonomyLevel, Following]:
    at = MonotonicS(now)
    found = sources(orders, at, market_now, local_kw=local_kw, stopped=stopped)
    level = found.best()
    assert found.has(level)
    return level, follow(level, found, orders, at, market_now, speed)


@pytest.mark.parametrize(
    ("orders", "now", "market_min", "level", "power_kw", "note"),
    [
        (LEASED, 100, 0, FLEET, 4.0, "until 13:00 UTC"),
        (LEASED, 114.9, 60, FLEET, -2.0, "until 14:00 UTC"),
        (LEASED, 115, 60, CACHED, -2.0, "until 14:00 UTC by the cached plan"),
        (LEASED, 100, 120, FLEET, None, "the schedule does not cover now"),
        (LEASED, 100, -1, FLEET, None, "the schedule does not cover now"),
        (
            LEASED, 115, 120, HOLD, None,
            "the fleet is silent and the schedule does not cover now",
        ),
        (Orders(), 100, 0, HOLD, None, "the fleet is silent and no schedule yet"),
    ],
)  # fmt: skip
def test_whose_plan_counts(
    orders: Orders,
    now: float,
    market_min: float,
    level: AutonomyLevel,
    power_kw: float | None,
    note: str,
) -> None:
    market_now = MARKET_0 + timedelta(minutes=market_min)
    found, plan = best(orders, now, market_now)
    assert found is level
    assert plan.note == note
    assert (None if plan.proposal is None else plan.proposal.preferred_kw) == power_kw


def test_the_proposal_carries_the_plan_and_ends_with_lease_or_interval() -> None:
    proposed = best(LEASED, 100.0)[1].proposal
    assert proposed is not None
    assert (proposed.source, proposed.priority) == ("dispatch", Priority.SCHEDULE)
    assert proposed.cause_id == "plan-1"
    assert proposed.expires_at == 115.0
    near_end = best(LEASED, 100.0, MARKET_0 + timedelta(minutes=55), speed=600.0)[1].proposal
    assert near_end is not None
    assert near_end.expires_at == 100.5


def test_leases_and_expiries_count_from_receipt_and_end_after_a_minute() -> None:
    reply = FleetReply(PLAN, 900.0, (proposal(Priority.TRADE, 1.0, expires_at=5.0),))
    orders = receive(Orders(), reply, SITE, AT_100)
    assert orders.leased_until == 160.0
    assert orders.proposals[0].expires_at == 105.0


@pytest.mark.parametrize("lease_s", [0.0, -1.0, float("nan")])
def test_a_lease_that_is_no_time_has_ended(lease_s: float) -> None:
    orders = receive(Orders(), FleetReply(PLAN, lease_s), SITE, AT_100)
    assert best(orders, 100.0)[0] is CACHED


def test_a_reply_without_a_plan_keeps_the_cached_one_under_its_true_name() -> None:
    orders = receive(LEASED, FleetReply(None, 15.0), SITE, MonotonicS(120.0))
    assert orders.schedule is PLAN
    assert best(orders, 120.0)[0] is CACHED
    first = receive(Orders(), FleetReply(None, 15.0), SITE, AT_100)
    level, plan = best(first, 100.0)
    assert (level, plan.note) == (FLEET, "no schedule yet")


def test_the_schedule_of_another_site_is_refused() -> None:
    other = replace(PLAN, site_id=SiteId("beta"))
    with pytest.raises(ProtocolError, match="another site"):
        receive(LEASED, FleetReply(other, 15.0), SITE, AT_100)


def test_the_local_policy_acts_only_while_nobody_plans() -> None:
    level, plan = best(Orders(), 100.0, local_kw=-1.5)
    assert level is LOCAL
    assert plan.proposal is not None
    assert (plan.proposal.source, plan.proposal.priority) == ("local", Priority.POLICY)
    assert plan.proposal.preferred_kw == -1.5
    assert plan.proposal.expires_at == 101.0
    assert best(LEASED, 100.0, local_kw=-1.5)[0] is FLEET
    assert best(LEASED, 120.0, local_kw=-1.5)[0] is CACHED


def test_a_stop_is_above_every_plan() -> None:
    level, plan = best(LEASED, 100.0, local_kw=1.0, stopped="stopped by Ana: smoke")
    assert level is STOP
    assert (plan.proposal, plan.note) == (None, "stopped by Ana: smoke")


def test_the_answer_of_an_older_fleet_actor_is_refused() -> None:
    orders = receive(Orders(), FleetReply(PLAN, 15.0, epoch=3), SITE, AT_100)
    with pytest.raises(ProtocolError, match="older fleet actor"):
        receive(orders, FleetReply(PLAN, 15.0, epoch=2), SITE, AT_100)
    assert receive(orders, FleetReply(None, 15.0, epoch=4), SITE, AT_100).epoch == 4
