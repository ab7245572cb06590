"""The real ``bessai sim inverter`` in a process of its own, for clients that are not ours."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.support.command import Command

HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Simulator:
    """A simulated inverter that listens.

    Attributes:
        port: TCP port at :data:`HOST`.
        unit_id: Unit id of the inverter.
    """

    command: Command
    port: int
    unit_id: int


@contextmanager
def simulator(
    profile: str, *options: str, environment: dict[str, str] | None = None
) -> Iterator[Simulator]:
    """A simulated inverter of this family; ``options`` as on the command line."""
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        state = {"BESSAI_STATE_DIR": folder, "BESSAI_SIM_PASSWORD": ""} | (environment or {})
        arguments = ("--profile", profile, "--host", HOST, "--port", "0", *options)
        command = Command("sim", "inverter", *arguments, environment=state)
        try:
            port = command.wait_for(rf"listening on {HOST}:(\d+), ")
            unit_id = command.wait_for(r"unit (\d+), ")
            yield Simulator(command, int(port), int(unit_id))
        finally:
            if command.process.poll() is None:
                command.send(signal.SIGINT)
            assert command.end() == 0, command.output
