"""Every profile of the registry: it loads, reads little, and its programs are safe."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bessai.config import DeviceProfile, load_profile, profile_path
from bessai.config.profile import Persistence
from bessai.devices.program import power_command, release_command
from bessai.devices.telemetry import check_mapping
from bessai.errors import ConfigError, DeviceError

NAMES = sorted(path.stem for path in profile_path("x").parent.glob("*.yaml"))


@pytest.fixture(params=NAMES)
def profile(request: pytest.FixtureRequest) -> DeviceProfile:
    return load_profile(request.param)


def test_there_is_a_profile() -> None:
    assert "huawei_sun2000" in NAMES


def test_name_source_and_mapping(profile: DeviceProfile) -> None:
    assert profile.name in NAMES
    assert profile.source
    check_mapping(profile)


def test_points_do_not_overlap(profile: DeviceProfile) -> None:
    spans = sorted((p.address, p.address + p.count, n) for n, p in profile.points.items())
    for (_, end, name), (start, _, other) in pairwise(spans):
        assert end <= start, f"{name} overlaps {other}"


def test_a_cycle_is_few_small_reads(profile: DeviceProfile) -> None:
    assert len(profile.telemetry_blocks) <= 8
    assert all(block.count <= 64 for block in profile.telemetry_blocks)


def test_programs_write_only_command_registers_and_the_command_last(
    profile: DeviceProfile,
) -> None:
    command = profile.telemetry["forced_command"]
    for program in profile.programs.values():
        assert program.steps[-1].point == command
        points = [profile.points[step.point] for step in program.steps]
        assert {p.persistence for p in points} == {Persistence.COMMAND}


def test_programs_arm_the_dead_man_with_the_profiles_period(profile: DeviceProfile) -> None:
    if profile.dead_man is None:
        pytest.skip("family without a dead-man")
    for power_kw in (-1.0, 0.0, 1.0):
        writes = power_command(profile, power_kw).writes
        minutes = next(w.registers for w in writes if w.point.unit == "min")
        assert minutes == (profile.dead_man.period_s // 60,)


def test_huawei_writes_in_the_order_the_field_uses() -> None:
    profile = load_profile("huawei_sun2000")
    addresses = {
        power: [w.point.address for w in power_command(profile, power).writes]
        for power in (-2.0, 0.0, 2.0)
    }
    assert addresses[-2.0] == addresses[0.0] == [47247, 47083, 47246, 47100]
    assert addresses[2.0] == [47249, 47083, 47246, 47100]
    assert [w.point.address for w in release_command(profile).writes] == [47100]


@pytest.mark.parametrize(
    ("power_kw", "held_kw"),
    [(3.0, 3.0), (-4.35, -4.35), (2.9999, 2.999), (-2.9999, -2.999), (0.0004, 0.0)],
)
def test_power_is_whole_watts_towards_zero(power_kw: float, held_kw: float) -> None:
    command = power_command(load_profile("huawei_sun2000"), power_kw)
    assert command.power_kw == held_kw


@pytest.mark.parametrize("power_kw", [10.001, -10.001, float("nan"), float("inf")])
def test_power_beyond_the_profile_is_refused_before_anything_is_written(power_kw: float) -> None:
    with pytest.raises(DeviceError, match="power_kw"):
        power_command(load_profile("huawei_sun2000"), power_kw)


def test_an_unknown_telemetry_field_is_named() -> None:
    profile = load_profile("huawei_sun2000")
    wrong = profile.model_copy(update={"telemetry": {**profile.telemetry, "soc": "soc"}})
    with pytest.raises(ConfigError, match=r"telemetry\.soc"):
        check_mapping(wrong)
