from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bessai.errors import ModelError
from bessai.model import AutonomyLevel, Freeze, Stops, Tenure
from tests.support.fleet_fakes import HOUR, T0, FakePrices
from tests.support.fleet_values import Rig, reading, snapshot

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def full_rig() -> Rig:
    rig = Rig(site_ids=("a", "b"))
    for step in range(2):
        for site_id in rig.site_ids:
            rig.report(reading(exported_wh=2_000 * step, imported_wh=3_000 * step), site_id)
        rig.pass_s(1, market=HOUR)
    asyncio.run(rig.fleet.plan_if_due())
    return rig


def get(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"bessai_{name}", frozenset(labels.items())))


def test_known_numbers_have_their_true_value() -> None:
    samples = samples_of(full_rig().fleet.metrics_text())
    assert get(samples, "soc_percent", site_id="a") == 50.0
    assert get(samples, "power_kw", site_id="a") == 10.0
    assert get(samples, "last_power_kw", site_id="b") == 10.0
    assert get(samples, "telemetry_age_seconds", site_id="a") == pytest.approx(1.1)
    assert get(samples, "autonomy_level", site_id="a", level="fleet") == 1.0
    assert get(samples, "autonomy_level", site_id="a", level="hold") == 0.0
    assert get(samples, "cycles_total", site_id="a") == 7.0
    assert get(samples, "writes_total", site_id="a", kind="renew") == 3.0
    assert get(samples, "safety_blocks_total", site_id="a", reason="soc_low") == 4.0
    assert get(samples, "fleet_sites_active") == 2.0
    assert get(samples, "fleet_total_capacity_kwh") == 200.0
    assert get(samples, "vpp_flex_capacity_kw", direction="up") == pytest.approx(60.0)
    assert get(samples, "revenue", currency="USD", site_id="a") == pytest.approx(-0.04)
    assert get(samples, "settlement_resets_total", site_id="a") == 0.0
    assert get(samples, "settled_energy_kwh_total", site_id="a", direction="import") == 3.0
    assert get(samples, "plans_total") == 1.0
    price = {"market": "test_market", "node": "test_node", "currency": "USD"}
    assert get(samples, "price_per_mwh", **price) == 40.0


def guarded_rig() -> Rig:
    """Site a is frozen and only reads; b was stopped and has not heard yet; c is well."""
    rig = Rig(site_ids=("a", "b", "c"))
    frozen = Freeze("intrusion", "a stranger writes", T0, after_revision=0)
    strange = replace(
        snapshot("a", 1, T0, reading()),
        autonomy=AutonomyLevel.SAFE_STOP,
        stops=Stops(freeze=frozen),
        tenure=Tenure.UNCONFIRMED,
        epoch=7,
        intrusion_score=0.75,
    )
    rig.fleet.report([strange, *(snapshot(s, 1, T0, reading()) for s in ("b", "c"))])
    asyncio.run(rig.fleet.stop_site("b", "Ana", "smoke"))
    return rig


def test_levels_tenure_stops_and_intrusion_are_told_per_site() -> None:
    samples = samples_of(guarded_rig().fleet.metrics_text())
    for level in AutonomyLevel:
        wanted = float(level is AutonomyLevel.SAFE_STOP)
        assert get(samples, "autonomy_level", site_id="a", level=level) == wanted
    for tenure in Tenure:
        wanted = float(tenure is Tenure.UNCONFIRMED)
        assert get(samples, "site_tenure", site_id="a", tenure=tenure) == wanted
    assert [get(samples, "site_stopped", site_id=s) for s in "abc"] == [1.0, 1.0, 0.0]
    assert [get(samples, "site_epoch", site_id=s) for s in "ac"] == [7.0, 0.0]
    assert [get(samples, "intrusion_score", site_id=s) for s in "ac"] == [0.75, None]


def test_the_cycle_histogram_is_cumulative_and_complete() -> None:
    samples = samples_of(full_rig().fleet.metrics_text())
    name = "cycle_duration_seconds"
    counts = [get(samples, f"{name}_bucket", site_id="a", le=le) for le in ("0.1", "0.5", "+Inf")]
    assert counts == [5.0, 6.0, 7.0]
    assert get(samples, f"{name}_count", site_id="a") == 7.0
    assert get(samples, f"{name}_sum", site_id="a") == 1.25


def test_what_is_not_known_is_absent_and_never_zero() -> None:
    rig = Rig(prices=FakePrices([40.0] * 24))
    text = rig.fleet.metrics_text()
    names = {name for name, _ in samples_of(text)}
    assert names == {
        "bessai_fleet_sites",
        "bessai_fleet_sites_active",
        "bessai_fleet_sites_in_state",
        "bessai_plans_total",
        "bessai_plan_failures_total",
        "bessai_store_up",
    }


def test_a_site_that_fell_silent_has_its_money_and_nothing_else() -> None:
    rig = full_rig()
    rig.pass_s(11)
    rig.report(reading(), "b")
    with_a = {n for n, labels in samples_of(rig.fleet.metrics_text()) if ("site_id", "a") in labels}
    assert with_a == {
        "bessai_revenue",
        "bessai_settled_energy_kwh_total",
        "bessai_unpriced_energy_kwh_total",
        "bessai_settlement_resets_total",
    }


def test_planning_that_fails_is_seen() -> None:
    rig = full_rig()
    rig.forecast.error = ModelError("gone")
    rig.pass_s(2, market=HOUR)
    asyncio.run(rig.fleet.plan_if_due())
    samples = samples_of(rig.fleet.metrics_text())
    assert get(samples, "planning_up") == 0.0
    assert get(samples, "plan_failures_total") == 1.0


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("rig", [full_rig, guarded_rig])
def test_promtool_finds_nothing_to_say(rig: Callable[[], Rig]) -> None:
    command = ["promtool", "check", "metrics"]
    text = rig().fleet.metrics_text()
    found = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
