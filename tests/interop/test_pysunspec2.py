"""pysunspec2 scans, reads and controls the simulated SunSpec devices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.simulator import simulator
from tests.interop.sunspec2_client import SunSpecClient, scanned
from tests.support.command import eventually

SITE = ("--soc", "50", "--capacity-kwh", "20", "--speed", "60")


@pytest.fixture(scope="module")
def der() -> Iterator[SunSpecClient]:
    with simulator("sunspec", *SITE) as found, scanned(found) as client:
        yield client


@pytest.fixture(scope="module")
def fronius() -> Iterator[SunSpecClient]:
    with simulator("fronius_gen24", *SITE) as found, scanned(found) as client:
        yield client


@pytest.fixture(scope="module")
def solaredge() -> Iterator[SunSpecClient]:
    site = ("--soc", "50", "--pv-kw", "6", "--load-kw", "0.5")
    with simulator("solaredge", *site) as found, scanned(found) as client:
        yield client


def test_every_model_of_the_general_device_is_found_and_as_long_as_its_definition(
    der: SunSpecClient,
) -> None:
    wanted = [1, 103, 120, 121, 122, 123, 124, 160]
    assert der.models == [*wanted, 701, 702, 703, 704, 713, 714, 715, 802, 803]
    assert [m for m, (defined, told) in der.lengths().items() if defined != told] == []


def test_the_chains_of_fronius_and_solaredge_are_walked_to_their_ends(
    fronius: SunSpecClient, solaredge: SunSpecClient
) -> None:
    assert fronius.models == [1, 103, 120, 121, 122, 123, 160, 124]
    assert solaredge.models == [1, 103, 203]
    for client in (fronius, solaredge):
        assert [m for m, (defined, told) in client.lengths().items() if defined != told] == []


def test_scale_factors_lead_to_the_values_that_the_device_means(der: SunSpecClient) -> None:
    assert der.read(1, "Mn", "Md") == ["BESSAI", "SIM-DER"]
    assert der.read(713, "WHRtg", "SoC", "SoH") == [20_000, 50, 100]
    assert der.read(802, "V", "SoC", "W") == [360, 50, 0]
    assert der.read(701, "Hz", "LNV") == [50, 230]
    assert der.read(702, "WChaRteMax") == [5000]
    assert der.read(103, "DCW") == [None], "not implemented"
    assert der.group(803, "string", "StrSoC") == [50, None, None, None]


def test_model_704_sets_the_power_and_its_timer_reverts_it(der: SunSpecClient) -> None:
    der.write(704, WSetMod=1, WSetRvrt=0, WSetEnaRvrt=1, WSet=-3000, WSetRvrtTms=5, WSetEna=1)
    assert der.read(701, "W") == [-3000]
    assert der.read(802, "ChaSt", "A") == [4, -8.3], "charging"
    eventually(lambda: der.read(713, "SoC") > [50], 20)
    eventually(lambda: der.read(701, "W") == [0], 20)
    assert der.read(704, "WSet", "WSetEna") == [0, 1]
    der.write(704, WSetRvrtTms=0, WSet=2000, WSetEna=1)
    assert der.read(701, "W") == [2000]
    der.write(704, WSetEna=0)
    assert der.read(701, "W") == [0]


def test_model_124_forces_the_power_of_a_fronius_and_its_timer_reverts_it(
    fronius: SunSpecClient,
) -> None:
    assert fronius.read(124, "ChaState", "WChaMax", "OutWRte") == [50, 10_000, 100]
    fronius.write(124, ChaGriSet=1, InOutWRte_RvrtTms=5, InWRte=30, OutWRte=-30, StorCtl_Mod=3)
    assert fronius.group(160, "module", "DCW") == [0, 0, 3000, 0], "input 3 charges"
    assert fronius.read(103, "W") == [-3000]
    eventually(lambda: fronius.read(124, "ChaState") > [50], 20)
    eventually(lambda: fronius.read(103, "W") == [0], 20)
    assert fronius.read(124, "StorCtl_Mod") == [0]


def test_solaredge_shows_inverter_and_meter_with_its_own_scale_factors(
    solaredge: SunSpecClient,
) -> None:
    assert solaredge.read(1, "Mn") == ["SolarEdge"]
    assert solaredge.read(103, "W", "DCW", "PhVphA", "AphA") == [1000, 1000, 230, 1.44]
    assert solaredge.read(203, "W", "Hz") == [500, 50], "+ is export"
