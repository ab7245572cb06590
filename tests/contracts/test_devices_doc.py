"""``docs/reference/devices.md`` says of each family what its profile says, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bessai.config import DeviceProfile, load_profile, profile_path
from bessai.config.devices_doc import devices_page, devices_table, main
from bessai.config.profile import Evidence
from bessai.sim.faults import FaultKind
from tools.doclinks import ROOT, broken_links

PAGE = ROOT / "docs" / "reference" / "devices.md"
PROFILES = sorted(path.stem for path in profile_path("x").parent.glob("*.yaml"))


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == devices_table(), "run `make docs`"


def test_the_command_writes_a_file_or_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "devices.md"
    assert main([str(target)]) == main([]) == 0
    assert target.read_text(encoding="utf-8") == capsys.readouterr().out == devices_table()


def test_its_links_lead_somewhere() -> None:
    assert broken_links(PAGE) == []


@pytest.mark.parametrize("name", PROFILES)
def test_each_family_has_a_row_its_evidence_and_its_source(name: str) -> None:
    profile = load_profile(name)
    page = devices_table()
    assert cells(page, name, table=0)[2] == str(len(profile.points))
    found = cells(page, name, table=1)[1:]
    wanted = profile.maturity
    assert found == [wanted.reading, wanted.control, wanted.dead_man, wanted.persistence]
    assert f"\n## {profile.title}\n" in page
    assert " ".join(profile.source.split()) in page


def test_a_monitor_shows_no_control_and_a_family_without_timer_says_so() -> None:
    monitor, untimed = load_profile("deye"), without_dead_man(load_profile("huawei_sun2000"))
    page = devices_page([monitor, untimed])
    assert cells(page, "deye", table=0)[3:6] == ["monitor only", "-", "none"]
    assert cells(page, "huawei_sun2000", table=0)[3:5] == ["forced power", "**none**"]


def test_registers_that_may_wear_out_stand_there_with_their_address() -> None:
    page = devices_page([load_profile("victron_gx")])
    assert cells(page, "victron_gx", table=0)[5] == "`hub4_mode` (2902, stored)"


def test_a_command_that_cannot_be_read_back_is_named() -> None:
    page = devices_page([load_profile("sma")])
    assert "cannot be read back" in cells(page, "sma", table=0)[3]


def test_a_raised_maturity_shows() -> None:
    profile = load_profile("sma")
    raised = profile.maturity.model_copy(update={"control": Evidence.THIRD_PARTY})
    page = devices_page([profile.model_copy(update={"maturity": raised})])
    assert cells(page, "sma", table=1)[2] == "third party"


def without_dead_man(profile: DeviceProfile) -> DeviceProfile:
    return profile.model_copy(update={"dead_man": None})


def cells(page: str, name: str, *, table: int) -> list[str]:
    """Cells of the row of ``name`` in the first table (families) or the second (maturity)."""
    rows = [line for line in page.splitlines() if line.startswith("|") and f"| `{name}` |" in line]
    return [cell.strip() for cell in rows[table].strip("|").split(" | ")]


def test_every_fault_of_the_simulator_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "simulator.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(\w+)[:`]", page, re.MULTILINE)
    assert set(documented) == {kind.value for kind in FaultKind}
