"""What a site's process pays for its imports: seconds and memory, in a fresh interpreter."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

MODULES = ("bessai.model", "bessai.config", "bessai.control", "bessai.devices", "actors.site")
PROBE = """
import importlib, json, resource, sys, time
start = time.perf_counter()
importlib.import_module(sys.argv[1])
peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([time.perf_counter() - start, peak_kib / 1024, len(sys.modules)]))
"""


def measure(module: str, runs: int = 5) -> tuple[float, float, int]:
    """Median seconds, median peak MiB and number of modules after importing ``module``."""
    samples: list[list[float]] = []
    for _ in range(runs):
        command = [sys.executable, "-c", PROBE, module]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        samples.append(json.loads(result.stdout))
    seconds, mib, count = (statistics.median(column) for column in zip(*samples, strict=True))
    return seconds, mib, int(count)


if __name__ == "__main__":
    for name in MODULES:
        seconds, mib, count = measure(name)
        print(f"import {name:16} {seconds:6.2f} s {mib:6.0f} MiB peak {count:5} modules")
