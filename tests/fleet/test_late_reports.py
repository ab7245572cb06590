from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.fleet_fakes import T0
from tests.support.fleet_values import WALL, Rig, reading, snapshot

Report = tuple[int, float, int]
"""Process, real seconds after ``WALL`` at which it was sent, and the meter's Wh."""

LATE: list[Report] = [(1, 0, 1000), (1, 1, 1100), (2, 2, 1200), (1, 1.9, 1190), (2, 3, 1300)]
TURNS: list[Report] = [(1, 0, 1000), (2, 1, 1100), (1, 0.9, 1090), (2, 2, 1200), (1, 3, 1300)]


def settled_wh(reports: list[Report]) -> float:
    rig = Rig()
    for sequence, (pid, sent_s, exported_wh) in enumerate(reports, start=1):
        sent = timedelta(seconds=sent_s)
        report = snapshot("a", sequence, T0 + 60 * sent, reading(exported_wh=exported_wh))
        rig.fleet.report([replace(report, pid=pid, reported_at=WALL + sent)])
    return rig.fleet.site("a").earnings.exported_kwh * 1000


@pytest.mark.parametrize("reports", [LATE, TURNS])
def test_energy_counts_once_where_an_old_process_reports_late(reports: list[Report]) -> None:
    assert settled_wh(reports) == pytest.approx(300)


def test_a_clock_that_was_set_back_does_not_end_the_settlement() -> None:
    set_back: list[Report] = [(1, 7200, 1000), (1, 7201, 1100), (1, 0, 1200), (1, 1, 1300)]
    assert settled_wh(set_back) == pytest.approx(300)
