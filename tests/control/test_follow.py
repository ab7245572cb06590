from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from bessai.control.follow import Orders, follow, receive
from bessai.errors import ProtocolError
from bessai.model import AutonomyLevel, FleetReply, Priority, SiteId
from bessai.units import MonotonicS
from tests.support.site_values import MARKET_0, SITE, proposal, schedule

PLAN = schedule([4.0, -2.0])
AT_100 = MonotonicS(100.0)
LEASED = receive(Orders(), FleetReply(PLAN, 15.0), SITE, AT_100)
FLEET, CACHED, HOLD = AutonomyLevel.FLEET, AutonomyLevel.CACHED_SCHEDULE, AutonomyLevel.HOLD


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
    plan = follow(orders, MonotonicS(now), market_now, speed=1.0)
    assert plan.autonomy is level
    assert plan.note == note
    assert (None if plan.proposal is None else plan.proposal.preferred_kw) == power_kw


def test_the_proposal_carries_the_plan_and_ends_with_lease_or_interval() -> None:
    proposed = follow(LEASED, AT_100, MARKET_0, speed=1.0).proposal
    assert proposed is not None
    assert (proposed.source, proposed.priority) == ("dispatch", Priority.SCHEDULE)
    assert proposed.cause_id == "plan-1"
    assert proposed.expires_at == 115.0
    near_end = follow(LEASED, AT_100, MARKET_0 + timedelta(minutes=55), speed=600.0).proposal
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
    assert follow(orders, AT_100, MARKET_0, 1.0).autonomy is CACHED


def test_a_reply_without_a_plan_keeps_the_cached_one_under_its_true_name() -> None:
    orders = receive(LEASED, FleetReply(None, 15.0), SITE, MonotonicS(120.0))
    assert orders.schedule is PLAN
    assert follow(orders, MonotonicS(120.0), MARKET_0, 1.0).autonomy is CACHED
    first = receive(Orders(), FleetReply(None, 15.0), SITE, AT_100)
    plan = follow(first, AT_100, MARKET_0, 1.0)
    assert (plan.autonomy, plan.note) == (FLEET, "no schedule yet")


def test_the_schedule_of_another_site_is_refused() -> None:
    other = replace(PLAN, site_id=SiteId("beta"))
    with pytest.raises(ProtocolError, match="another site"):
        receive(LEASED, FleetReply(other, 15.0), SITE, AT_100)
