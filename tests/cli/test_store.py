from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bessai.cli.background import store_url
from bessai.config import BatteryConfig, FleetConfig, SimulationConfig, SiteConfig

BATTERY = BatteryConfig(max_charge_kw=5, max_discharge_kw=5)
REAL = FleetConfig(id="north", sites=(SiteConfig(id="a", host="127.0.0.1", battery=BATTERY),))


def test_real_money_outlives_the_run_and_a_replays_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BESSAI_STATE_DIR", str(tmp_path / "state"))
    start = SimulationConfig(start=datetime(2024, 5, 21, tzinfo=UTC))
    replay = REAL.model_copy(update={"simulation": start})
    run = tmp_path / "run"
    assert store_url(REAL, run) == f"sqlite:///{tmp_path}/state/fleet-north.db"
    assert store_url(replay, run) == f"sqlite:///{run}/fleet.db"
