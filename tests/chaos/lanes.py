"""Faults of single sites: each site has a lane of its own, and all lanes run side by side."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bessai.control.clocks import monotonic_now
from tests.chaos.bed import Bed
from tests.chaos.measure import Sample
from tests.chaos.watch import Watch

JUMPS_S = (3600.0, -3600.0, 86_400.0, -120.0)


@dataclass(frozen=True)
class Lane:
    """One kind of fault.

    Attributes:
        active_s: How long it lasts; None where it heals itself.
        settle_s: How long its effect is watched after that: longer than a renewal, 60 s.
        device: Fault of the simulated inverter.
        control_after_s: Control is awaited from so long after the begin; None: from the end.
    """

    name: str
    active_s: float
    settle_s: float
    device: str | None = None
    control_after_s: float | None = None


LANES = (
    Lane("site kill -9", 0, 30, control_after_s=0),
    Lane("site frozen", 140, 40),
    Lane("inverter reboot", 12, 40, "reboot:10", control_after_s=10),
    Lane("half-open socket", 75, 5, "half_open", control_after_s=0),
    Lane("busy storm 50 %", 30, 70, "busy_storm:0.5"),
    Lane("stale frames", 30, 70, "stale_frame"),
    Lane("drop 30 %", 30, 70, "drop_share:0.3"),
    Lane("clock jump", 25, 70),
)


class Lanes:
    """Runs all lanes; ends early, between two faults, when the time is up."""

    def __init__(self, bed: Bed, seed: int, until_s: float, tell: Callable[[str], None]) -> None:
        self._bed, self._seed, self._until_s, self._tell = bed, seed, until_s, tell
        self._watch = Watch(bed)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.samples: list[Sample] = []

    def run(self, samples: int, kinds: Iterable[Lane]) -> list[Sample]:
        """At least so many samples of each kind, shared out over the sites."""
        sites = self._bed.site_ids
        shares = shared_out(samples, list(kinds), len(sites))
        try:
            with ThreadPoolExecutor(len(sites)) as pool:
                jobs = [pool.submit(self._lane, n, site, shares[n]) for n, site in enumerate(sites)]
                try:
                    for job in jobs:
                        job.result()
                except BaseException:
                    self._stop.set()
                    raise
        finally:
            self._stop.set()
        return self.samples

    def _lane(self, number: int, site: str, kinds: list[Lane]) -> None:
        rng = random.Random(f"{self._seed} {number}")
        rng.shuffle(kinds)
        for kind in kinds:
            if self._sleep(rng.uniform(2, 12)):
                return
            if monotonic_now() + kind.active_s + kind.settle_s > self._until_s:
                continue
            self._once(kind, site, rng)

    def _once(self, kind: Lane, site: str, rng: random.Random) -> None:
        pid = self._pid(site)
        if pid is None:
            self._add(
                Sample(kind.name, site, 0, 0, 0, note="skipped: no process controls the site")
            )
            return
        before = self._watch.before(site)
        with contextlib.ExitStack() as healing:
            self._break(kind, site, pid, rng, healing)
            self._sleep(kind.active_s)
        after_s = kind.control_after_s
        ended_at_s = monotonic_now() if after_s is None else before.at_s + after_s
        self._sleep(kind.settle_s)
        sample = self._watch.sample(
            kind.name, site, before, ended_at_s, new_process=kind.name == "site kill -9"
        )
        self._add(sample)

    def _break(
        self, kind: Lane, site: str, pid: int, rng: random.Random, healing: contextlib.ExitStack
    ) -> None:
        if kind.device is not None:
            self._watch.fault(site, kind.device)
            healing.callback(self._watch.fault, site, "none")
        elif kind.name == "site kill -9":
            os.kill(pid, signal.SIGKILL)
        elif kind.name == "site frozen":
            os.kill(pid, signal.SIGSTOP)
            healing.callback(_go_on, pid)
        else:
            clock = self._bed.clocks / str(pid)
            clock.write_text(str(rng.choice(JUMPS_S)), encoding="ascii")
            healing.callback(clock.unlink, missing_ok=True)

    def _pid(self, site: str) -> int | None:
        for _ in range(30):
            if (pid := self._bed.site_pids().get(site)) is not None:
                return pid
            time.sleep(1)
        return None

    def _sleep(self, seconds: float) -> bool:
        return self._stop.wait(seconds)

    def _add(self, sample: Sample) -> None:
        with self._lock:
            self.samples.append(sample)
            count = len(self.samples)
        self._tell(f"{count}: {describe(sample)}")


def shared_out(samples: int, kinds: list[Lane], sites: int) -> list[list[Lane]]:
    """The lanes: ``samples`` of each kind, all of about the same length, the longest one first."""
    shares: list[list[Lane]] = [[] for _ in range(sites)]
    for kind in sorted(kinds, key=lambda k: -(k.active_s + k.settle_s)):
        for _ in range(samples):
            least = min(shares, key=lambda share: sum(k.active_s + k.settle_s for k in share))
            least.append(kind)
    return shares


def _go_on(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def describe(sample: Sample) -> str:
    """One line for a person who watches."""
    parts = [f"{sample.fault} at {sample.site}:"]
    for name in ("safe_s", "control_s", "back_s", "gap_s"):
        value = getattr(sample, name)
        if value is not None:
            parts.append(f"{name[:-2]} {value:.1f} s")
    if sample.forced_kwh or sample.own_mode_kwh:
        parts.append(f"OUTSIDE {sample.forced_kwh:.4f} + {sample.own_mode_kwh:.4f} kWh")
    return " ".join([*parts, sample.note])
