"""The simulated device without sockets: energy, timers, limits, faults."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessai.sim.bank import ILLEGAL_ADDRESS, ILLEGAL_VALUE
from bessai.sim.faults import Fault, Faults
from bessai.sim.inverter import SimulatedInverter
from tests.support.simulated import SPEC, HandClock, simulated


def force(inverter: SimulatedInverter, command: int, watts: int, minutes: int = 2) -> None:
    power = 47247 if command == 1 else 47249
    writes = {power: [watts >> 16, watts & 0xFFFF], 47083: [minutes], 47246: [0], 47100: [command]}
    for address, words in writes.items():
        assert inverter.write(address, words) is None


def is_forced(inverter: SimulatedInverter) -> bool:
    inverter.advance()
    return inverter.forced


def test_energy_runs_in_market_time_and_meter_counts_it() -> None:
    clock = HandClock()
    inverter = simulated(clock, speed=600.0)
    force(inverter, 2, 3000)
    clock.at_s += 1.0
    inverter.advance()
    assert inverter.exported_kwh == pytest.approx(0.5)
    assert inverter.soc_pct == pytest.approx(50.0 - 5.0 / 0.9**0.5)
    assert inverter.read(37119, 2) == [0, 50]
    assert inverter.read(37121, 2) == [0, 0]
    assert inverter.read(37113, 2) == [0, 3000]
    # Battery power counts + while charging on this device.
    assert inverter.read(37765, 2) == [0xFFFF, 0x10000 - 3000]


def test_dead_man_runs_in_real_time_and_ends_at_its_own_moment() -> None:
    clock = HandClock()
    inverter = simulated(clock, speed=60.0, minute_s=1.0)
    force(inverter, 1, 5000)
    clock.at_s += 1.9
    assert is_forced(inverter)
    clock.at_s += 60.0
    assert not is_forced(inverter)
    assert inverter.power_kw == 0.0
    assert inverter.read(47100, 1) == [0]
    assert inverter.imported_kwh == pytest.approx(5.0 * 2.0 * 60.0 / 3600.0)


def test_only_the_command_register_re_arms_the_dead_man() -> None:
    clock = HandClock()
    inverter = simulated(clock, minute_s=1.0)
    force(inverter, 2, 1000)
    clock.at_s += 1.5
    assert inverter.write(47083, [2]) is None
    clock.at_s += 0.4
    assert inverter.write(47100, [2]) is None
    clock.at_s += 1.9
    assert is_forced(inverter)
    clock.at_s += 0.2
    assert not is_forced(inverter)


def test_cut_offs_hold_the_battery() -> None:
    clock = HandClock()
    inverter = simulated(clock, speed=3600.0)
    assert inverter.write(47081, [900]) is None
    assert inverter.write(47082, [200]) is None
    force(inverter, 1, 5000)
    clock.at_s += 20.0
    inverter.advance()
    assert inverter.soc_pct == pytest.approx(90.0)
    assert inverter.power_kw == 0.0
    force(inverter, 2, 5000)
    clock.at_s += 20.0
    inverter.advance()
    assert inverter.soc_pct == pytest.approx(20.0)
    assert inverter.read(37762, 1) == [1]


def test_maximum_power_setting_narrows_the_battery() -> None:
    inverter = simulated(HandClock())
    force(inverter, 2, 5000)
    assert inverter.power_kw == 5.0
    assert inverter.write(47077, [0, 1500]) is None
    assert inverter.power_kw == 1.5


@pytest.mark.parametrize(
    ("address", "words", "code"),
    [
        (47247, [0, 5001], ILLEGAL_VALUE),
        (47249, [0, 5001], ILLEGAL_VALUE),
        (47075, [0, 5001], ILLEGAL_VALUE),
        (47083, [1441], ILLEGAL_VALUE),
        (47100, [3], ILLEGAL_VALUE),
        (47246, [1], ILLEGAL_VALUE),
        (47081, [899], ILLEGAL_VALUE),
        (47247, [0], ILLEGAL_VALUE),
        (37760, [500], ILLEGAL_ADDRESS),
        (47079, [1], ILLEGAL_ADDRESS),
    ],
)
def test_refused_writes_change_nothing(address: int, words: list[int], code: int) -> None:
    inverter = simulated(HandClock())
    before = inverter.read(address, len(words))
    assert inverter.write(address, words) == code
    assert inverter.read(address, len(words)) == before


def test_garbage_hides_measurements_but_not_settings() -> None:
    inverter = simulated(HandClock())
    inverter.set_faults(Faults([Fault.GARBAGE]))
    assert inverter.read(37760, 1) == [0xFFFF]
    assert inverter.read(37765, 2) == [0x7FFF, 0xFFFF]
    assert inverter.read(47082, 1) == [50]
    inverter.set_faults(Faults())
    assert inverter.read(37760, 1) == [500]


def test_identity_fills_every_register_a_client_probes() -> None:
    inverter = simulated(HandClock())
    assert inverter.read(30071, 1) == [2]
    assert inverter.read(37200, 1) == [0]
    assert inverter.read(47000, 1) == [2]
    assert inverter.read(47089, 1) == [0]
    for address, count in ((30000, 15), (30015, 50), (32000, 20), (32064, 52), (37066, 4)):
        words = inverter.read(address, count)
        assert isinstance(words, list)
        assert len(words) == count


def test_heat_lowers_the_limit_registers() -> None:
    hot = SPEC.model_copy(update={"ambient_c": 52.5})
    inverter = simulated(HandClock(), spec=hot)
    assert inverter.read(37046, 4) == [0, 2500, 0, 2500]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, 5000), st.floats(0.0, 5.0)),
        max_size=12,
    )
)
def test_meter_and_battery_agree_after_any_history(moves: list[tuple[int, int, float]]) -> None:
    clock = HandClock()
    inverter = simulated(clock, speed=600.0)
    start_kwh = inverter.state.energy_kwh
    for command, watts, pause_s in moves:
        force(inverter, command, watts)
        clock.at_s += pause_s
        inverter.advance()
        assert 5.0 - 1e-9 <= inverter.soc_pct <= 100.0
    eta = inverter.params.one_way_efficiency
    cells_kwh = inverter.imported_kwh * eta - inverter.exported_kwh / eta
    assert inverter.state.energy_kwh - start_kwh == pytest.approx(cells_kwh, abs=1e-9)
