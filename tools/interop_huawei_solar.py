"""Let huawei-solar connect to, poll and control our simulated Huawei inverter.

Run ``python -m tools.interop_huawei_solar --python PATH``, where PATH is an interpreter that has
huawei-solar 3 installed in an environment of its own. The library is AGPL-3.0, so it is no
dependency of this project: it only runs as a separate program that talks Modbus TCP to ours.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).with_name("huawei_solar_client.py")
HOST: Final = "127.0.0.1"
PASSWORD: Final = "00000a"  # noqa: S105 - what the simulated device has from the factory
LISTENS: Final = re.compile(rf"listening on {HOST}:(\d+), unit (\d+)")
SECONDS: Final = 120.0


def main() -> int:
    """Run the client against a simulator without and one with login; 0 where all went well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="interpreter that has huawei-solar")
    python = parser.parse_args().python
    for options, password in (((), ()), (("--login",), (PASSWORD,))):
        command = " ".join(("bessai sim inverter --profile huawei_sun2000", *options))
        print(f"== huawei-solar against: {command}", flush=True)
        with _simulator(*options) as (port, unit_id):
            arguments = [python, "-c", CLIENT.read_text(encoding="utf-8"), HOST, port, unit_id]
            done = subprocess.run([*arguments, *password], check=False, timeout=SECONDS)  # noqa: S603
        if done.returncode != 0:
            return done.returncode
    return 0


@contextmanager
def _simulator(*options: str) -> Iterator[tuple[str, str]]:
    """Port and unit id of a simulated inverter in a process of its own."""
    what = ("--profile", "huawei_sun2000", "--host", HOST, "--port", "0", "--speed", "60")
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-P", "-m", "bessai", "sim", "inverter", *what, *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        found = LISTENS.search(process.stdout.readline())
        if found is None:
            raise SystemExit("the simulator did not start")
        yield found[1], found[2]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


if __name__ == "__main__":
    sys.exit(main())
