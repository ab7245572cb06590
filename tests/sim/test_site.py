"""Sun, load, ramp, alarms and restarts of a simulated device, without sockets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessai.config import load_profile
from bessai.errors import BessaiError, ConfigError, DeviceError
from bessai.sim.faults import Faults, parse_faults
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.spec import InverterSpec
from tests.support.simulated import SPEC, HandClock, simulated


def with_site(**more: object) -> InverterSpec:
    return InverterSpec.model_validate({**SPEC.model_dump(), **more})


def discharge(inverter: SimulatedInverter, watts: int) -> None:
    for address, words in ((47249, [0, watts]), (47083, [10]), (47100, [2])):
        assert inverter.write(address, words) is None


def faulty(inverter: SimulatedInverter, text: str) -> None:
    inverter.set_faults(Faults(parse_faults(text)))


@pytest.mark.parametrize(
    ("pv_kw", "load_kw", "battery_kw", "grid_kw"),
    [(0, 0, 0, 0), (3, 1, -2, 0), (1, 3, 2, 0), (9, 0, -5, 4), (0, 8, 5, -3)],
)
def test_the_battery_covers_the_load_and_stores_the_surplus(
    pv_kw: float, load_kw: float, battery_kw: float, grid_kw: float
) -> None:
    clock = HandClock()
    device = simulated(clock, spec=with_site(pv_kw=pv_kw, load_kw=load_kw), speed=360.0)
    assert device.power_kw == battery_kw
    clock.at_s += 1.0
    device.show()
    number = device.bank.number
    assert number("meter_active_power") == grid_kw * 1000
    assert number("pv_input_power") == pv_kw * 1000
    assert number("active_power") == (pv_kw + battery_kw) * 1000
    assert device.exported_kwh == pytest.approx(max(grid_kw, 0) / 10)
    assert device.imported_kwh == pytest.approx(max(-grid_kw, 0) / 10)
    assert number("total_charge") == pytest.approx(max(-battery_kw, 0) / 10)
    assert number("total_discharge") == pytest.approx(max(battery_kw, 0) / 10)


def test_a_forced_command_goes_before_the_devices_own_mode() -> None:
    device = simulated(HandClock(), spec=with_site(pv_kw=3.0, load_kw=1.0))
    discharge(device, 4000)
    assert device.power_kw == 4.0
    device.show()
    assert device.bank.number("meter_active_power") == 6000
    assert device.bank.reading.enum("unit1_working_mode") == "forcible charge/discharge"


def test_a_ramp_takes_its_time_and_its_energy() -> None:
    clock = HandClock()
    device = simulated(clock, spec=with_site(ramp_kw_per_s=1.0), speed=360.0)
    discharge(device, 4000)
    assert device.power_kw == 0.0
    clock.at_s += 1.5
    device.advance()
    assert device.power_kw == pytest.approx(1.5)
    clock.at_s += 4.5
    device.advance()
    assert device.power_kw == pytest.approx(4.0)
    # 4 s up the ramp at 2 kW in the mean, 2 s at 4 kW; a second is a tenth of an hour.
    assert device.exported_kwh == pytest.approx((4 * 2.0 + 2 * 4.0) / 10)


@settings(max_examples=30)
@given(st.lists(st.floats(0.01, 30.0), min_size=1, max_size=8), st.sampled_from([None, 0.5, 5.0]))
def test_energy_does_not_depend_on_how_often_one_looks(
    pauses_s: list[float], ramp: float | None
) -> None:
    spec = with_site(ramp_kw_per_s=ramp, pv_kw=0.5, load_kw=1.0)
    clock = HandClock()
    often, once = (simulated(clock, spec=spec, speed=10.0) for _ in range(2))
    for device in (often, once):
        discharge(device, 3000)
    for pause_s in pauses_s:
        clock.at_s += pause_s
        often.advance()
    once.advance()
    assert often.state.energy_kwh == pytest.approx(once.state.energy_kwh, abs=1e-6)
    assert often.exported_kwh - often.imported_kwh == pytest.approx(
        once.exported_kwh - once.imported_kwh, abs=1e-6
    )


def test_the_counters_of_the_day_start_again_after_a_day() -> None:
    clock = HandClock()
    device = simulated(clock, speed=3600.0)
    discharge(device, 1000)
    for _ in range(26):
        clock.at_s += 1.0
        device.show()
        if clock.at_s == 1002.0:
            assert device.bank.number("day_discharge") == pytest.approx(2.0)
    assert device.bank.number("day_discharge") < 2.0
    assert device.bank.number("total_discharge") > 2.0


def test_an_alarm_is_raised_and_cleared() -> None:
    device = simulated(HandClock())
    faulty(device, "alarm:alarm_1:7,alarm:alarm_1:0,alarm:alarm_3:4")
    assert device.read(32008, 3) == [0b10000001, 0, 0b10000]
    faulty(device, "none")
    assert device.read(32008, 3) == [0, 0, 0]


@pytest.mark.parametrize("text", ["alarm:alarm_1:16", "alarm:soc:1", "alarm:nothing:1"])
def test_an_alarm_that_cannot_be_is_refused(text: str) -> None:
    device = simulated(HandClock())
    with pytest.raises(ConfigError, match=r"no such bit.*alarm_1, alarm_2"):
        faulty(device, text)
    assert list(device.faults) == []


def test_a_family_without_guarded_registers_has_no_offline_meter() -> None:
    device = simulated(HandClock(), spec=with_site(profile="goodwe_et"))
    with pytest.raises(ConfigError, match="goodwe_et has no registers that go offline"):
        faulty(device, "meter_offline")


def test_a_reboot_forgets_commands_and_keeps_settings() -> None:
    clock = HandClock()
    device = simulated(clock)
    assert device.write(47077, [0, 2000]) is None
    discharge(device, 1500)
    device.reboot()
    assert device.commanded_kw is None
    assert device.power_kw == 0.0
    assert device.read(47077, 2) == [0, 2000]
    assert device.read(47249, 2) == [0, 0]
    discharge(device, 1500)
    assert device.power_kw == 1.5


def test_frozen_values_stand_still_while_commands_are_taken() -> None:
    clock = HandClock()
    device = simulated(clock, speed=3600.0)
    faulty(device, "frozen")
    discharge(device, 3000)
    clock.at_s += 1.0
    assert device.read(37760, 1) == [500]
    assert device.read(37765, 2) == [0, 0]
    assert device.read(47100, 1) == [2]
    faulty(device, "none")
    assert device.read(37760, 1) < [500]  # type: ignore[operator]


def test_a_part_of_a_value_is_as_fresh_as_the_whole() -> None:
    device = simulated(HandClock())
    discharge(device, 3000)
    assert device.read(37766, 1) == [0x10000 - 3000]
    assert device.read(37765, 1) == [0xFFFF]


def test_one_point_may_be_stuck_while_the_others_move() -> None:
    clock = HandClock()
    device = simulated(clock, speed=3600.0)
    faulty(device, "stuck:soc")
    discharge(device, 3000)
    clock.at_s += 0.5
    assert device.read(37760, 1) == [500]
    assert device.read(37765, 2) == [0xFFFF, 0x10000 - 3000]
    faulty(device, "none")
    assert device.read(37760, 1) < [500]  # type: ignore[operator]


def test_a_point_that_is_not_measured_cannot_be_stuck() -> None:
    device = simulated(HandClock())
    with pytest.raises(ConfigError, match=r"measures no such point.*use one of .*soc"):
        faulty(device, "stuck:forced_command")
    assert list(device.faults) == []


def test_a_state_of_charge_may_be_reported_wrong() -> None:
    clock = HandClock()
    device = simulated(clock, speed=3600.0)
    faulty(device, "soc_offset:-20")
    assert device.read(37760, 1) == [300]
    faulty(device, "soc_offset:5,soc_drift:10")
    clock.at_s += 2.0
    assert device.read(37760, 1) == [750]
    clock.at_s += 20.0
    assert device.read(37760, 1) == [1000]
    assert device.soc_pct == 50.0, "what the battery holds is another matter"
    faulty(device, "none")
    assert device.read(37760, 1) == [500]


def test_a_device_that_reboots_gives_no_power_in_its_own_mode() -> None:
    clock = HandClock()
    device = simulated(clock, spec=with_site(load_kw=2.0))
    assert device.power_kw == 2.0
    faulty(device, "reboot:5")
    assert device.power_kw == 0.0
    device.booted()
    assert device.power_kw == 2.0


def test_no_effect_takes_the_command_and_leaves_the_battery() -> None:
    device = simulated(HandClock())
    faulty(device, "no_effect")
    discharge(device, 3000)
    assert device.read(47100, 1) == [2]
    assert device.commanded_kw == 3.0
    assert device.power_kw == 0.0


def test_an_ignored_write_is_answered_and_not_kept() -> None:
    device = simulated(HandClock())
    faulty(device, "write_ignored")
    assert device.write(47249, [0, 3000]) is None
    assert device.read(47249, 2) == [0, 0]
    faulty(device, "write_failure")
    assert device.write(47249, [0, 3000]) == 4


def test_a_device_that_cannot_show_its_power_is_refused_at_once() -> None:
    spec = with_site(profile="sunspec", max_discharge_kw=40.0, capacity_kwh=80.0)
    with pytest.raises(DeviceError, match=r"takes values.*"):
        SimulatedInverter(spec, load_profile("sunspec"), 1.0, now=HandClock())


def test_a_battery_beyond_the_family_is_refused() -> None:
    with pytest.raises(BessaiError, match=r"north: max_charge_kw: .*up to 10 kW; got 11"):
        simulated(HandClock(), spec=with_site(max_charge_kw=11.0))


def test_each_site_has_its_own_serial_number() -> None:
    serials = set()
    for site_id in ("north", "south"):
        for name in ("huawei_sun2000", "sma", "victron_gx", "solaredge"):
            spec = with_site(site_id=site_id, profile=name)
            device = SimulatedInverter(spec, load_profile(name), 1.0, now=HandClock())
            serial = device.profile.identification.serial
            assert serial is not None
            serials.add(device.bank.reading.text(serial))
    assert len(serials) == 8
