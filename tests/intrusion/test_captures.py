"""The labelled captures of a real testbed; they are not part of the project."""

from __future__ import annotations

import pytest

from training.intrusion_captures import CaptureReport, capture_folder, judge_captures


@pytest.fixture(scope="module")
def reports() -> dict[str, CaptureReport]:
    folder = capture_folder()
    if folder is None:
        pytest.skip("the labelled Modbus captures are not here; BESSAI_CAPTURES names their folder")
    return {report.name.removeprefix("modbus_"): report for report in judge_captures(folder)}


def test_every_connection_of_the_scan_is_found_in_its_first_requests(
    reports: dict[str, CaptureReport],
) -> None:
    scan = reports["characterization"]
    assert scan.detected == scan.modbus_attacks == scan.attacks == 4
    assert max(scan.delays_s) < 0.2
    assert scan.found_requests == scan.attack_requests > 3000


def test_findings_elsewhere_are_the_operator_commands_that_training_did_not_contain(
    reports: dict[str, CaptureReport],
) -> None:
    assert len(reports["characterization"].false_findings) == 3
    assert all("function 5" in text for text in reports["characterization"].false_findings)
    assert reports["exploit_ms08_netapi"].false_findings == ()


def test_what_is_no_modbus_cannot_be_seen_by_the_allow_list(
    reports: dict[str, CaptureReport],
) -> None:
    exploit = reports["exploit_ms08_netapi"]
    assert exploit.attacks > exploit.modbus_attacks == exploit.detected == 0
