"""What a family calls its states, and what it cannot tell at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bessai.safety import envelope
from tests.support.site_values import LIMITS, OUTLOOK, telemetry_at

FAMILY = replace(
    LIMITS,
    battery_ready=frozenset({"idle", "charging"}),
    inverter_ready=frozenset({"bulk"}),
)
READY: dict[str, object] = {"battery_status": "idle", "inverter_status": "bulk"}


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, set()),
        ({"battery_status": "charging"}, set()),
        ({"battery_status": "running"}, {"battery_status"}),
        ({"battery_status": "unknown(7)"}, {"battery_status"}),
        ({"inverter_status": "on-grid"}, {"inverter_status"}),
        ({"inverter_status": "bulky"}, {"inverter_status"}),
    ],
)
def test_only_the_familys_own_ready_states_let_the_battery_work(
    changes: dict[str, object], codes: set[str]
) -> None:
    result = envelope(telemetry_at(100.0, **(READY | changes)), FAMILY, OUTLOOK)
    assert result.codes == codes


@pytest.mark.parametrize("field", ["temperature_c", "battery_status", "inverter_status"])
def test_what_is_missing_holds_unless_the_owner_does_without(field: str) -> None:
    telemetry = telemetry_at(100.0, **{field: None})
    assert envelope(telemetry, LIMITS, OUTLOOK).bounds.upper_kw == 0.0
    without = replace(LIMITS, not_offered=frozenset({field}))
    assert envelope(telemetry, without, OUTLOOK).codes == frozenset()


def test_doing_without_a_value_does_not_excuse_a_bad_one() -> None:
    without = replace(LIMITS, not_offered=frozenset({"temperature_c"}))
    hot = telemetry_at(100.0, temperature_c=70.0)
    assert envelope(hot, without, OUTLOOK).codes == {"temperature_high"}
