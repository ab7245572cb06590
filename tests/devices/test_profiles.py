"""Every profile of the registry: it loads, reads little, and its programs are safe."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bessai.config import DeviceProfile, load_profile, profile_path
from bessai.config.profile import PROGRAMS, Persistence
from bessai.devices.codec import RegisterImage, encode_number, encode_raw
from bessai.devices.plan import ReadRules, ReadSchedule
from bessai.devices.program import Command, power_command, release_command
from bessai.devices.reading import Reading
from bessai.devices.sunspec import chain_layout
from bessai.devices.telemetry import check_units, poll_points
from bessai.errors import ConfigError, DeviceError

NAMES = sorted(path.stem for path in profile_path("x").parent.glob("*.yaml"))
HOUR_S = 3600


@pytest.fixture(params=NAMES)
def profile(request: pytest.FixtureRequest) -> DeviceProfile:
    """The profile as a device of the family has it."""
    return chain_layout(load_profile(request.param))[0]


def image_of(profile: DeviceProfile) -> RegisterImage:
    """Registers as the simulated twin begins: its constants, and 0 elsewhere."""
    image = RegisterImage()
    for point in profile.points.values():
        image.put(point, encode_raw(point, 0))
    constants = {n: v for n, v in profile.simulation.values.items() if not isinstance(v, str)}
    for name in sorted(constants, key=lambda name: profile.points[name].scale_factor is not None):
        gain = Reading(profile.points, image).gain(name)
        image.put(profile.points[name], encode_number(
            profile.points[name], constants[name], name=name, gain=gain
        ))  # fmt: skip
    return image


def command(profile: DeviceProfile, power_kw: float) -> Command:
    unlimited = profile.model_copy(
        update={
            "telemetry": {k: v for k, v in profile.telemetry.items() if not k.endswith("_limit_kw")}
        }
    )
    return power_command(unlimited, power_kw, Reading(profile.points, image_of(profile)))


def test_all_families_are_there() -> None:
    assert set(NAMES) >= {
        "deye",
        "fronius_gen24",
        "goodwe_et",
        "huawei_sun2000",
        "sma",
        "solaredge",
        "sungrow_sh",
        "sunspec",
        "victron_gx",
    }


def test_name_source_and_units(profile: DeviceProfile) -> None:
    assert profile.name in NAMES
    assert profile.source
    check_units(profile)


def test_what_a_site_cannot_do_without_is_mapped(profile: DeviceProfile) -> None:
    assert {"soc_pct", "active_power_kw"} <= set(profile.telemetry)


def test_points_do_not_overlap_where_both_can_be_written(profile: DeviceProfile) -> None:
    writable = {
        n: p for n, p in profile.points.items() if p.persistence is not Persistence.READ_ONLY
    }
    spans = sorted((p.space, p.address, p.end, n) for n, p in writable.items())
    for (space, _, end, name), (other_space, start, _, other) in pairwise(spans):
        assert space != other_space or end <= start, f"{name} overlaps {other}"


def test_a_cycle_is_few_small_reads(profile: DeviceProfile) -> None:
    fast, slow = poll_points(profile)
    schedule = ReadSchedule(fast, slow, ReadRules.of(profile))
    requests = 0
    for second in range(60):
        for block in schedule.due(float(second)):
            longest = max(profile.points[name].count for name in block.points)
            assert block.count <= max(profile.connection.max_block, longest)
            requests += 1
            schedule.note_read(block, float(second))
            for guard in profile.guards:
                if guard.requires in block.points:
                    schedule.note_guard(guard.requires, guard.equals, float(second))
    assert requests / 60 <= (4.0 if profile.name == "huawei_sun2000" else 10.0)


def test_a_family_has_all_programs_or_none(profile: DeviceProfile) -> None:
    assert set(profile.programs) in (set(), set(PROGRAMS))
    assert profile.controllable == ("forced_control" in profile.capabilities)


@pytest.mark.parametrize("power_kw", [-1.0, 0.0, 1.0])
def test_a_program_leads_to_the_power_it_was_asked_for(
    profile: DeviceProfile, power_kw: float
) -> None:
    if not profile.controllable:
        pytest.skip("a monitor")
    assert command(profile, power_kw).power_kw == pytest.approx(power_kw, abs=0.01)


def test_release_leads_to_no_forced_command(profile: DeviceProfile) -> None:
    if not profile.controllable:
        pytest.skip("a monitor")
    image = image_of(profile)
    for write in command(profile, 1.0).writes:
        image.put(write.point, write.registers)
    for write in release_command(profile, Reading(profile.points, image)).writes:
        image.put(write.point, write.registers)
    assert Reading(profile.points, image).commanded_kw(profile.commanded) is None


def test_the_dead_man_leads_to_rest_or_to_the_devices_own_mode(profile: DeviceProfile) -> None:
    if profile.dead_man is None:
        pytest.skip("no dead-man")
    image = image_of(profile)
    for write in command(profile, 1.0).writes:
        image.put(write.point, write.registers)
    for name, raw in profile.dead_man.on_expiry.items():
        image.put(profile.points[name], encode_raw(profile.points[name], raw))
    assert Reading(profile.points, image).commanded_kw(profile.commanded) in (None, 0.0)


def test_a_renewed_command_writes_nothing_that_wears_out(profile: DeviceProfile) -> None:
    if not profile.controllable:
        pytest.skip("a monitor")
    image, sent = image_of(profile), command(profile, 1.0)
    for write in sent.writes:
        image.put(write.point, write.registers)
    again = sent.needed(image)
    assert not [write.name for write in again if write.budgeted]
    if profile.dead_man is not None:
        assert {write.name for write in again} & set(profile.dead_man.restarted_by)


def test_huawei_programs_write_the_command_last_and_arm_two_minutes() -> None:
    profile = load_profile("huawei_sun2000")
    addresses = {
        power_kw: [w.point.address for w in command(profile, power_kw).writes]
        for power_kw in (-2.0, 0.0, 2.0)
    }
    assert addresses[-2.0] == addresses[0.0] == [47247, 47083, 47246, 47100]
    assert addresses[2.0] == [47249, 47083, 47246, 47100]
    for power_kw in (-2.0, 0.0, 2.0):
        minutes = next(w for w in command(profile, power_kw).writes if w.name == "forced_period")
        assert minutes.registers == (2,)
    released = release_command(profile, Reading(profile.points, image_of(profile)))
    assert [w.point.address for w in released.writes] == [47100]


@pytest.mark.parametrize(
    ("power_kw", "held_kw"),
    [(3.0, 3.0), (-4.35, -4.35), (2.9999, 2.999), (-2.9999, -2.999), (0.0004, 0.0)],
)
def test_power_is_whole_watts_towards_zero(power_kw: float, held_kw: float) -> None:
    assert command(load_profile("huawei_sun2000"), power_kw).power_kw == held_kw


@pytest.mark.parametrize("power_kw", [10.001, -10.001, float("nan"), float("inf")])
def test_power_beyond_the_profile_is_refused_before_anything_is_written(power_kw: float) -> None:
    with pytest.raises(DeviceError, match="power_kw"):
        command(load_profile("huawei_sun2000"), power_kw)


@pytest.mark.parametrize(
    ("power_kw", "limit_w", "held_kw"),
    [(6.0, 5000, 5.0), (-6.0, 5000, -5.0), (4.0, 5000, 4.0), (3.0, 0, 0.0), (-3.0, 0, 0.0)],
)
def test_power_is_narrowed_to_what_the_device_allows_now(
    power_kw: float, limit_w: int, held_kw: float
) -> None:
    profile = load_profile("huawei_sun2000")
    image = image_of(profile)
    for name in ("max_charge_power_now", "max_discharge_power_now"):
        image.put(profile.points[name], encode_raw(profile.points[name], limit_w))
    found = power_command(profile, power_kw, Reading(profile.points, image))
    assert found.power_kw == held_kw
    assert found.to_rest is (held_kw == 0.0)


def test_a_monitor_takes_no_command() -> None:
    profile = load_profile("deye")
    with pytest.raises(DeviceError, match="cannot be commanded"):
        power_command(profile, 1.0, Reading(profile.points, RegisterImage()))
    with pytest.raises(DeviceError, match="cannot be commanded"):
        release_command(profile, Reading(profile.points, RegisterImage()))


def test_a_unit_that_leads_nowhere_is_named() -> None:
    profile = load_profile("huawei_sun2000")
    soc = profile.points["soc"].model_copy(update={"unit": "V"})
    wrong = profile.model_copy(update={"points": {**profile.points, "soc": soc}})
    with pytest.raises(ConfigError, match=r"huawei_sun2000: telemetry\.soc_pct: soc"):
        check_units(wrong)
