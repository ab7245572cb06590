"""Each feature is 0 while the numbers agree, and moves when one of them lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessai.intrusion.features import FEATURES, FeatureWindow
from bessai.model import Telemetry
from bessai.units import MonotonicS
from tests.intrusion.values import LIMITS, at

ONE_WAY = math.sqrt(0.9)


def discharging(seconds: int, **changes: Callable[[int], object]) -> Iterator[Telemetry]:
    """2 kW out of 10 kWh into a house that takes 0.5 kW, true in every number but ``changes``."""
    for second in range(seconds):
        hours = second / 3600.0
        true: dict[str, object] = {
            "soc_pct": 60.0 - 100.0 * 2.0 * hours / ONE_WAY / 10.0,
            "active_power_kw": 2.0,
            "grid_power_kw": 1.5,
            "pv_power_kw": 0.0,
            "commanded_kw": 2.0,
            "exported_wh": 1_000_000 + int(1500 * hours),
        }
        true |= {name: value(second) for name, value in changes.items()}
        yield at(float(second), **true)


def last_features(reads: Iterator[Telemetry], command_kw: float | None = 2.0) -> dict[str, float]:
    window = FeatureWindow(LIMITS)
    values = np.zeros(len(FEATURES))
    for read in reads:
        values = window.update(read, command_kw, read.measured_at, read_s=0.1)
    return dict(zip(FEATURES, values.tolist(), strict=True))


def test_a_true_hour_leaves_every_feature_at_rest() -> None:
    found = last_features(discharging(3700))
    assert all(value < 0.01 for value in found.values()), found


LIES: list[tuple[str, dict[str, Callable[[int], object]], str, float]] = [
    ("soc jumps", {"soc_pct": lambda s: 60.0 if s < 700 else 50.0}, "energy_error_10min_pct", 5.0),
    ("soc stands", {"soc_pct": lambda _: 60.0}, "soc_stuck_pct", 2.0),
    ("power is less", {"active_power_kw": lambda _: 1.4}, "follow_error_share", 0.1),
    ("command is another", {"commanded_kw": lambda _: -3.0}, "command_gap_share", 0.9),
    ("command is gone", {"commanded_kw": lambda s: 2.0 if s < 100 else None},
     "command_gap_share", 0.9),
    ("meter tells less", {"grid_power_kw": lambda _: 0.5}, "counter_error_share", 0.15),
    ("meter tells more", {"grid_power_kw": lambda _: 2.5}, "negative_load_share", 0.08),
    ("battery warms", {"temperature_c": lambda s: 20.0 + s / 60.0}, "temperature_10min_c", 9.0),
    ("limit falls", {"discharge_limit_kw": lambda s: 5.0 if s < 100 else 2.5},
     "limit_drop_share", 0.4),
    ("meter stands", {"active_power_kw": lambda s: 2.0 if s % 2 else 1.0},
     "grid_stuck_share", 0.5),
    ("value is missing", {"missing": lambda _: ("x",)}, "missing_values", 0.9),
]  # fmt: skip


@pytest.mark.parametrize(("_", "lie", "feature", "least"), LIES, ids=[row[0] for row in LIES])
def test_a_lie_shows_in_its_feature(
    _: str, lie: dict[str, Callable[[int], object]], feature: str, least: float
) -> None:
    assert last_features(discharging(900, **lie))[feature] > least


def test_drift_shows_in_the_hour_before_the_ten_minutes() -> None:
    found = last_features(
        discharging(3700, soc_pct=lambda s: 60.0 - 21.08 * s / 3600.0 + 4.0 * s / 3600.0)
    )
    assert found["energy_error_60min_pct"] > 3.5
    assert found["energy_error_10min_pct"] < 1.0
    assert found["energy_error_60min_ratio"] > 1.5


def test_each_feature_has_a_lie() -> None:
    other = {"soc_jump_pct", "energy_error_60min_pct", "energy_error_60min_ratio"}
    other |= {"temperature_1min_c", "read_time_log_ratio", "failed_share", "writes_per_min"}
    assert {row[2] for row in LIES} | other == set(FEATURES)


def test_a_jump_is_seen_at_once() -> None:
    window = FeatureWindow(LIMITS)
    window.update(at(0.0), 0.0, MonotonicS(0.0))
    values = window.update(at(1.0, soc_pct=60.0, temperature_c=30.0), 0.0, MonotonicS(1.0))
    assert values[FEATURES.index("soc_jump_pct")] == pytest.approx(9.0)


def test_how_the_device_answers() -> None:
    window, values = FeatureWindow(LIMITS), np.zeros(len(FEATURES))
    for second in range(120):
        values = window.update(at(float(second)), 0.0, MonotonicS(second), read_s=0.1)
    assert values[13] == pytest.approx(0.0, abs=1e-9)
    for second in range(120, 180):
        read = None if second % 2 else at(float(second))
        values = window.update(read, 0.0, MonotonicS(second), read_s=0.5, writes=4)
    assert values[FEATURES.index("read_time_log_ratio")] > 1.0
    assert values[FEATURES.index("failed_share")] == pytest.approx(0.31, abs=0.05)
    assert values[FEATURES.index("writes_per_min")] > 100


def test_a_command_may_take_its_time() -> None:
    window, values = FeatureWindow(LIMITS, effect_s=10.0), np.zeros(len(FEATURES))
    for second in range(60):
        command_kw = 0.0 if second < 40 else 4.0
        power_kw = 0.0 if second < 46 else 4.0
        read = at(float(second), active_power_kw=power_kw, commanded_kw=command_kw)
        values = window.update(read, command_kw, MonotonicS(second))
        assert values[0] == 0.0
    late = at(61.0, active_power_kw=1.0, commanded_kw=4.0)
    assert window.update(late, 4.0, MonotonicS(61.0))[0] == pytest.approx(3.0 / 5.0)


def test_near_a_limit_less_power_is_honest() -> None:
    window, values = FeatureWindow(LIMITS), np.zeros(len(FEATURES))
    for second in range(30):
        read = at(float(second), soc_pct=94.0, active_power_kw=-1.0, commanded_kw=-4.0)
        values = window.update(read, -4.0, MonotonicS(second))
    assert values[0] == 0.0
    more = at(30.0, soc_pct=94.0, active_power_kw=1.0, commanded_kw=-4.0)
    assert window.update(more, -4.0, MonotonicS(30.0))[0] == pytest.approx(0.2)


def test_after_a_gap_the_windows_start_again() -> None:
    window = FeatureWindow(LIMITS)
    for second in range(700):
        window.update(at(float(second)), 0.0, MonotonicS(second))
    values = window.update(at(900.0, soc_pct=80.0), 0.0, MonotonicS(900.0))
    assert values[3] == values[2] == 0.0


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(0, 100),
            st.none() | st.floats(-1e6, 1e6),
            st.none() | st.floats(-1e6, 1e6),
            st.none() | st.floats(-60, 150),
            st.none() | st.integers(0, 2**32),
            st.none() | st.floats(-10, 10),
            st.floats(0.1, 400),
            st.booleans(),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_whatever_is_read_the_features_are_numbers(rows: list[tuple[object, ...]]) -> None:
    window, now = FeatureWindow(LIMITS), 0.0
    for soc, power, grid, celsius, count, command, step_s, fails in rows:
        now += step_s  # type: ignore[operator]
        read = at(
            now,
            soc_pct=soc,
            active_power_kw=power,
            grid_power_kw=grid,
            temperature_c=celsius,
            exported_wh=count,
            commanded_kw=command,
            charge_limit_kw=power and abs(power),  # type: ignore[arg-type]
            capacity_kwh=None,
        )
        values = window.update(
            None if fails else read,
            command,  # type: ignore[arg-type]
            MonotonicS(now),
            read_s=0.1,
        )
        assert np.isfinite(values).all()
        assert (values >= 0).all()
