"""``bessai site ID --why`` and ``bessai replay FILE``, on a record that a site really wrote."""

from __future__ import annotations

import asyncio
import io
import re
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from bessai.cli.replay import rules_of, run_replay
from bessai.cli.why import WhyOptions, show_why
from bessai.control import SiteLoop, ledger
from bessai.control.logbook import Logbook, LogReader
from bessai.control.logbook.codec import Codec
from bessai.errors import BessaiError, ConfigError, StoreError
from bessai.model import FleetReply, Priority
from bessai.policies.local.self_consumption import build
from tests.support.logbook_play import recorded
from tests.support.logbook_values import RULES, Tape, Wall
from tests.support.site_fakes import FakeDevice, FakeUplink, until
from tests.support.site_play import PLAN, site_config
from tests.support.site_time import WALL_0
from tests.support.site_values import proposal


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    async def script(_: SiteLoop, device: FakeDevice, uplink: FakeUplink) -> None:
        await until(lambda: device.commanded_kw == 4.0)
        await asyncio.sleep(30)
        event = proposal(Priority.VPP_EVENT, 2.0, (-1.0, 2.5), 30.0)
        uplink.reply = FleetReply(PLAN, 15.0, (event,))
        await asyncio.sleep(10)
        device.refuse = True
        device.base = replace(device.base, alarms=("2068 battery abnormal",))
        await asyncio.sleep(4)
        device.refuse = False
        await asyncio.sleep(10)
        device.fault = "busy"
        await asyncio.sleep(2)

    return recorded(tmp_path_factory.mktemp("why") / "alpha.sqlite", script)


def shown(record: Path, **how: object) -> str:
    console = Console(width=150, record=True, color_system=None, file=io.StringIO())
    show_why(lambda: "", "alpha", WhyOptions(file=record, **how), console)  # type: ignore[arg-type]
    return console.export_text()


def test_each_change_tells_what_was_known_wished_allowed_done_and_answered(record: Path) -> None:
    text = shown(record, last=50)
    first = text.split("\n2026-01-01")[0]
    assert first.startswith("2026-01-01 00:00:0")
    for part in (
        "+4.00 kW  market Mon 2024-06-03 12:00",
        "measured  SoC 50.0 %, battery 0.00 kW, grid 0.00 kW, 25.0 °C, running, no command",
        "proposed  dispatch (schedule): +4.00 kW",
        "allowed   -5.00 to +5.00 kW",
        "decided   schedule: discharge 4.0 kW until 13:00 UTC",
        "level     fleet: the fleet answers",
        "written   +4.00 kW (change): applied, the device holds +4.00 kW, 4 registers written",
        "cause     plan-1",
    ):
        assert part in first
    assert "vpp_event (vpp_event): +2.00 kW inside -1.00 to +2.50 kW" in text
    assert "because   alarm: " in text
    assert "ALARM 2068 battery abnormal" in text
    assert "rejected: register 47247: exception 2" in text
    assert "the read failed" in text
    assert "kept, because the read failed" in " ".join(text.split())
    assert text.count("rejected:") == 1, "the same write that is refused again is told once"


def test_last_limits_the_changes_and_the_newest_cycle_is_always_there(record: Path) -> None:
    text = shown(record, last=1)
    heads = re.findall(r"^2026-.*$", text, re.MULTILINE)
    assert len(heads) == 2
    assert "nothing changed" in heads[-1]


def test_a_moment_shows_what_was_in_force_then(record: Path) -> None:
    text = shown(record, at=(WALL_0 + timedelta(seconds=20)).isoformat(), last=1)
    heads = re.findall(r"^2026-.*$", text, re.MULTILINE)
    assert [head[:19] for head in heads][-1] == "2026-01-01 00:00:19"
    assert "2068" not in text
    before = shown(record, at="2025-01-01")
    assert before.startswith("nothing is recorded of alpha until 2025-01-01 00:00:00 UTC")


@pytest.mark.parametrize(("how", "said"), [({"last": 0}, "--last"), ({"at": "noon"}, "--at")])
def test_mistakes_are_named(record: Path, how: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        shown(record, **how)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such decision record"):
        shown(tmp_path / "none.sqlite")


def replay_text(record: Path, *between: str | None) -> tuple[bool, str]:
    console = Console(width=400, record=True, color_system=None, file=io.StringIO())
    begin, end = between or (None, None)
    return run_replay(record, begin, end, console), console.export_text()


def test_a_record_replays_with_the_rules_of_its_own(record: Path) -> None:
    exact, text = replay_text(record)
    assert exact, text
    found = re.search(r"^ok  process of .*: (\d+) cycles, bit for bit$", text, re.MULTILINE)
    assert found is not None
    assert int(found[1]) > 50


def test_a_range_replays_its_part(record: Path) -> None:
    exact, text = replay_text(record, "2026-01-01T00:00:10Z", "2026-01-01T00:00:19.5Z")
    assert exact, text
    assert ": 10 cycles, bit for bit" in text
    with pytest.raises(BessaiError, match="nothing could be replayed"):
        replay_text(record, "2027-01-01", None)


def test_a_core_that_changed_is_found_and_named(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "RETRY_MAX_S", 0.5)
    exact, text = replay_text(record)
    assert not exact
    assert re.search(
        r"^BAD process of .*: [1-9]\d* of \d+ cycles come out another way$", text, re.MULTILINE
    )
    assert "after.ledger.retry_at: recorded " in text


def test_a_record_of_another_version_says_so(tmp_path: Path) -> None:
    path, wall = tmp_path / "alpha.sqlite", Wall()
    log = Logbook(path, "{}", wall=wall)
    Tape(log, wall).run(10)
    log.close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            """UPDATE run SET version = '0.0.9',
            layout = replace(layout, '"blocked"', '"obstructed"')"""
        )
    console = Console(width=400, record=True, color_system=None, file=io.StringIO())
    with pytest.raises(BessaiError, match="nothing could be replayed"):
        run_replay(path, None, None, console)
    text = console.export_text()
    assert "version 0.0.9 (this is " in text
    assert "Decision.blocked is new, Decision.obstructed is gone" in text


def test_a_site_with_a_local_policy_replays_with_it(tmp_path: Path) -> None:
    path, wall = tmp_path / "alpha.sqlite", Wall()
    site = site_config(local_policy="self_consumption").model_dump_json()
    log = Logbook(path, site, wall=wall)
    rules = replace(RULES, local=build())
    Tape(log, wall, rules).run(10)
    log.close()
    with LogReader(path) as reader:
        assert rules_of(reader.runs()[1], Codec()) == rules
    assert replay_text(path)[0]
