"""``python -m bessai.sim``: a simulator process that ends with its parent."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bessai.errors import BessaiError, ConfigError
from bessai.sim.control import serve_control
from bessai.sim.server import SimulatorServer
from bessai.sim.spec import load_spec

_PARENT_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """Command line of the process."""

    spec: Path
    ready: Path
    control: Path | None
    parent_pid: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal or the parent's end; 2 where nothing can run."""
    try:
        return asyncio.run(_run(_options(argv)))
    except BessaiError as error:
        sys.stderr.write(f"bessai.sim: {error}\n")
        return 2


def _options(argv: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m bessai.sim", description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="JSON file: what to simulate")
    parser.add_argument(
        "--ready",
        type=Path,
        required=True,
        help="JSON file {site_id: port}, written when all listen",
    )
    parser.add_argument("--control", type=Path, help="Unix socket for faults and questions")
    parser.add_argument(
        "--parent-pid", type=int, default=os.getppid(), help="end when this is no longer the parent"
    )
    found = parser.parse_args(argv)
    return Options(found.spec, found.ready, found.control, found.parent_pid)


async def _run(options: Options) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    simulator = SimulatorServer(load_spec(options.spec))
    ports = await simulator.start()
    try:
        async with contextlib.AsyncExitStack() as control:
            if options.control is not None:
                served = await serve_control(options.control, simulator)
                control.callback(options.control.unlink, missing_ok=True)
                control.callback(served.close)
            _write_ready(options.ready, ports)
            control.callback(options.ready.unlink, missing_ok=True)
            await _until_stopped(stop, options.parent_pid)
    finally:
        await simulator.stop()
    return 0


async def _until_stopped(stop: asyncio.Event, parent_pid: int) -> None:
    # Polling, not PR_SET_PDEATHSIG: that one fires when the parent's *thread* ends.
    while os.getppid() == parent_pid:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _PARENT_POLL_S)
            return


def _write_ready(path: Path, ports: dict[str, int]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(ports), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot be written ({error})", field=f"ready file {path}") from None


if __name__ == "__main__":
    sys.exit(main())
