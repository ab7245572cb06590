"""Derating curves and the backup reserve in a fleet file."""

from __future__ import annotations

import pytest

from bessai.config import FleetConfig
from bessai.errors import ConfigError
from bessai.fleet.state import FleetState
from bessai.units import MonotonicS
from tests.config.files import Folder

BATTERY = ("sites", 1, "battery")


def load(folder: Folder, **fields: object) -> FleetConfig:
    return folder.load({(*BATTERY, name): value for name, value in fields.items()})


def test_curves_and_reserve_reach_the_limits(folder: Folder) -> None:
    curve = [[-20, 0.2], [0, 1], [50.5, 0.5]]
    fleet = load(folder, discharge_derating=curve, backup_reserve_pct=30)
    limits = fleet.sites[1].limits()
    assert limits.discharge_derating == ((-20.0, 0.2), (0.0, 1.0), (50.5, 0.5))
    assert limits.charge_derating is None
    assert limits.backup_reserve_pct == 30.0


def test_the_plan_keeps_the_higher_of_band_and_reserve(folder: Folder) -> None:
    fleet = load(folder, backup_reserve_pct=30)
    assert FleetState(fleet.sites, MonotonicS(0.0)).soc_min_pct.tolist() == [10.0, 30.0]


@pytest.mark.parametrize(
    ("field", "value", "parts"),
    [
        ("backup_reserve_pct", -1, ["battery.backup_reserve_pct", "got -1"]),
        ("backup_reserve_pct", 95, ["backup_reserve_pct 95 must be below soc_max_pct 95"]),
        ("charge_derating", [[0, 1]], ["battery.charge_derating", "at least 2"]),
        ("charge_derating", [[0, 1], [0, 1]], ["battery.charge_derating", "0 follows 0"]),
        ("charge_derating", [[10, 1], [5, 0]], ["temperatures must rise", "5 follows 10"]),
        ("charge_derating", [[0, 0], [5, 1.1]], ["charge_derating[1]", "got 1.1"]),
        ("discharge_derating", [[0, -0.1], [5, 1]], ["discharge_derating[0]", "got -0.1"]),
        ("discharge_derating", [[0, 0], [float("nan"), 1]], ["discharge_derating[1]", "nan"]),
        ("discharge_derating", [[0, 0], [5]], ["discharge_derating[1]"]),
    ],
)
def test_a_wrong_curve_or_reserve_is_refused_by_name(
    folder: Folder, field: str, value: object, parts: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(folder, **{field: value})
    assert all(part in str(caught.value) for part in parts), str(caught.value)
