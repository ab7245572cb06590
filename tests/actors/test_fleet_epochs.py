"""What the fleet makes of two processes that both report one site."""

from __future__ import annotations

from dataclasses import replace

from bessai.fleet.state import SILENT_AFTER_S, FleetState
from bessai.model import SiteSnapshot
from bessai.units import MonotonicS
from tests.support.fleet_values import fleet_config, reading, snapshot

NOW = MonotonicS(100.0)


def report(epoch: int, sequence: int, pid: int, soc_pct: float) -> SiteSnapshot:
    return replace(snapshot(sequence=sequence, numbers=reading(soc_pct)), epoch=epoch, pid=pid)


def state_after(*reports: tuple[float, SiteSnapshot]) -> FleetState:
    state = FleetState(fleet_config("a").sites, NOW)
    for at, one in reports:
        state.update([one], MonotonicS(at))
    return state


def test_a_process_of_a_lost_node_that_wakes_up_is_not_believed() -> None:
    state = state_after((100, report(7, 900, 11, 50.0)), (101, report(8, 1, 12, 60.0)))
    thawed = report(7, 901, 11, 20.0)
    assert state.update([thawed], MonotonicS(102.0)) == []
    assert state.soc_pct[0] == 60.0


def test_it_is_not_believed_either_while_the_newer_one_is_silent() -> None:
    state = state_after((100, report(8, 1, 12, 60.0)))
    assert state.update([report(7, 901, 11, 20.0)], MonotonicS(200.0)) == []


def test_a_newer_epoch_counts_whatever_its_sequence_and_pid() -> None:
    state = state_after((100, report(7, 900, 11, 50.0)))
    newer = report(8, 1, 11, 60.0)
    assert state.update([newer], MonotonicS(101.0)) == [newer]


def test_a_process_without_an_epoch_waits_until_the_owner_is_silent() -> None:
    state = state_after((100, report(7, 900, 11, 50.0)))
    waiting = report(0, 5, 12, 33.0)
    assert state.update([waiting], MonotonicS(100.0 + SILENT_AFTER_S - 0.1)) == []
    assert state.update([waiting], MonotonicS(100.0 + SILENT_AFTER_S + 0.1)) == [waiting]
    assert state.soc_pct[0] == 33.0


def test_the_owner_comes_back_with_its_epoch() -> None:
    state = state_after((100, report(7, 900, 11, 50.0)), (111, report(0, 5, 12, 33.0)))
    owner = report(7, 901, 11, 51.0)
    assert state.update([owner], MonotonicS(112.0)) == [owner]


def test_within_an_epoch_the_sequence_decides() -> None:
    state = state_after((100, report(7, 900, 11, 50.0)))
    assert state.update([report(7, 899, 11, 49.0)], MonotonicS(101.0)) == []
