"""Runs one site with and one without its envelope, each on an inverter of its own, as witnesses.

Without violations in the second case, the campaign's zeros would prove nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bessai.model import MarketClock
from bessai.sim.control import observe_summary
from bessai.sim.observe import Summary
from bessai.sim.spec import ClockSpec, SimSpec
from tests.chaos.bed import SOC_MIN_PCT, SPEED, inverter_spec, wait_for
from tests.support.command import ROOT

CASES = ("safe", "unsafe")


def control_run(seconds: float) -> dict[str, Summary]:
    """What the witness found in each case."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bc-")))
        now = datetime.now(UTC)
        spec = SimSpec(
            clock=ClockSpec.from_clock(MarketClock(now, now, SPEED)),
            inverters=tuple(inverter_spec(case, SOC_MIN_PCT + 0.5) for case in CASES),
        )
        (folder / "spec.json").write_text(spec.model_dump_json(), encoding="utf-8")
        ready, socket = folder / "ready.json", folder / "sim.sock"
        files = ["--spec", str(folder / "spec.json"), "--ready", str(ready)]
        environment = os.environ | {"BESSAI_STATE_DIR": str(folder / "state")}

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            child = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            stack.callback(child.wait)
            stack.callback(child.kill)
            return child

        start("bessai.sim", *files, "--control", str(socket))
        wait_for(ready.exists, 30, "the simulator")
        ports = json.loads(ready.read_text(encoding="utf-8"))
        for case in CASES:
            start("tests.chaos.unsafe", str(ports[case]), str(folder / case), case)
        time.sleep(seconds)
        return {case: observe_summary(socket, case) for case in CASES}
