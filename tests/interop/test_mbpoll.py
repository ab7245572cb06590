"""mbpoll reads and controls the simulated inverters: a client that nobody here wrote."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.mbpoll import Mbpoll, Refused
from tests.interop.simulator import simulator
from tests.support.command import eventually


@pytest.fixture(scope="module")
def huawei() -> Iterator[Mbpoll]:
    """PV 6 kW, a load of 0.5 kW and a battery of 5 kW that needs minutes to fill."""
    site = ("--soc", "50", "--capacity-kwh", "30", "--pv-kw", "6", "--load-kw", "0.5")
    with simulator("huawei_sun2000", *site, "--speed", "60") as found:
        yield Mbpoll.for_(found)


@pytest.fixture(scope="module")
def sungrow() -> Iterator[Mbpoll]:
    with simulator("sungrow_sh", "--soc", "50", "--pv-kw", "6", "--load-kw", "0.5") as found:
        yield Mbpoll.for_(found)


@pytest.fixture(scope="module")
def solaredge() -> Iterator[Mbpoll]:
    with simulator("solaredge", "--soc", "50", "--capacity-kwh", "12") as found:
        yield Mbpoll.for_(found)


def force(huawei: Mbpoll, command: int, power_address: int, power_w: int) -> None:
    """Power, minutes, mode, and the command last."""
    huawei.write(power_address, power_w, kind="4:int")
    huawei.write(47083, 2)
    huawei.write(47246, 0)
    huawei.write(47100, command)


def test_huawei_state_power_and_meter_are_read_by_mbpoll(huawei: Mbpoll) -> None:
    (soc,) = huawei.words(37760)
    assert 500 <= soc <= 1000
    assert huawei.words(32089) == [0x0200], "on-grid"
    assert huawei.words(37762) == [2], "running"
    assert huawei.integer(37765) == 5000, "+ while charging"
    assert huawei.integer(32064) == 6000, "PV"
    assert huawei.integer(32080) == 1000, "AC"
    assert huawei.words(37100) == [1], "meter online"
    assert huawei.integer(37113) == 500, "+ while exporting"
    assert huawei.words(32069, 3) == [2300, 2300, 2300]


def test_huawei_battery_follows_a_forced_charge_and_stops(huawei: Mbpoll) -> None:
    force(huawei, 1, 47247, 3000)
    assert huawei.integer(37765) == 3000
    assert huawei.integer(37113) == 2500, "6 kW of PV less 3 kW and the load of 0.5 kW"
    (before,) = huawei.words(37760)
    eventually(lambda: huawei.words(37760)[0] > before)

    force(huawei, 2, 47249, 2000)
    assert huawei.integer(37765) == -2000
    assert huawei.integer(37113) == 7500
    (before,) = huawei.words(37760)
    eventually(lambda: huawei.words(37760)[0] < before)
    assert huawei.integer(37782) > 0, "energy discharged"

    huawei.write(47100, 0)
    assert huawei.integer(37765) == 5000, "back in its own mode"
    assert huawei.words(47100) == [0]


def test_mbpoll_is_told_which_registers_and_values_do_not_exist(huawei: Mbpoll) -> None:
    with pytest.raises(Refused, match="Illegal data address"):
        huawei.words(36000)
    with pytest.raises(Refused, match="Illegal data address"):
        huawei.write(37760, 100)
    with pytest.raises(Refused, match="Illegal data value"):
        huawei.write(47100, 7)
    with pytest.raises(Refused, match="Illegal data value"):
        huawei.write(47247, 5001, kind="4:int")
    assert huawei.words(47100) == [0]


def test_sungrow_input_registers_have_the_low_word_first(sungrow: Mbpoll) -> None:
    assert sungrow.words(4999, kind="3:hex") == [0x0E0F], "SH10RT-V112"
    assert sungrow.integer(5016, kind="3:int", big=False) == 6000, "PV"
    assert sungrow.integer(5213, kind="3:int", big=False) == -5000, "- while charging"
    assert sungrow.integer(5600, kind="3:int", big=False) == -500, "- while exporting"
    assert sungrow.words(13049) == [0], "a holding register"
    with pytest.raises(Refused, match="Illegal data address"):
        sungrow.words(5213)


def test_sungrow_is_commanded_in_external_ems_mode(sungrow: Mbpoll) -> None:
    sungrow.write(13051, 2000)
    sungrow.write(13050, 0xBB)
    sungrow.write(13079, 60)
    sungrow.write(13049, 3)
    assert sungrow.integer(5213, kind="3:int", big=False) == 2000
    assert 1 <= sungrow.words(13079)[0] <= 60
    sungrow.write(13049, 0)
    assert sungrow.integer(5213, kind="3:int", big=False) == -5000


def test_solaredge_floats_have_the_low_word_first(solaredge: Mbpoll) -> None:
    assert solaredge.real(57666, big=False) == 12000
    assert solaredge.real(57712, big=False) == 360
    assert solaredge.real(57732, big=False) == pytest.approx(50)
    assert solaredge.integer(57734, big=False) == 7, "battery at rest"
    assert solaredge.real(57666, big=True) != 12000


def test_solaredge_battery_follows_a_float_written_by_mbpoll(solaredge: Mbpoll) -> None:
    solaredge.write(57348, 4)
    solaredge.write(57354, 7)
    solaredge.write(57358, 2500.5, kind="4:float", big=False)
    solaredge.write(57355, 60, kind="4:int", big=False)
    solaredge.write(57357, 3)
    assert solaredge.real(57358, big=False) == 2500.5
    assert solaredge.real(57716, big=False) == 2500.5, "+ while charging"
    solaredge.write(57357, 7)
    solaredge.write(57348, 1)
    assert solaredge.real(57716, big=False) == 0
