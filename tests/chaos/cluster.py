"""Faults of what is above the sites, and of nodes: one after another, watched at every battery."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable

import psutil

from actors.local.reap import is_alive
from bessai.control.clocks import monotonic_now
from tests.chaos.bed import DEAD_MAN_S, NODE_MARK, Bed, BedError, send, wait_for
from tests.chaos.lanes import describe
from tests.chaos.measure import Sample
from tests.chaos.watch import Before, Watch

BACK_S = 90.0
TAKEOVER_S = DEAD_MAN_S + 120.0
OLD_ENDS_S = 120.0
DISK_FULL_S = 25.0
SETTLE_S = 6.0
MIN_EVENTS = 5
FLEET = "fleet"
ABOVE = "all above the sites gone"
DISK_FULL = "disk full"
GCS = "head's GCS kill -9"
KILLS = {
    "fleet kill -9": "ray::FleetActor",
    "supervisor kill -9": "ray::Supervisor",
    "Serve replica kill -9": "ray::ServeReplica",
}
RAYLET = "node's raylet kill -9"
FROZEN = "node frozen"


class Cluster:
    """Cluster faults on one bed."""

    def __init__(self, bed: Bed, seed: int, tell: Callable[[str], None]) -> None:
        self._bed, self._tell = bed, tell
        self._rng = random.Random(f"cluster {seed}")
        self._watch = Watch(bed)
        self._events = 0
        self.samples: list[Sample] = []

    def repeat(self, fault: str, samples: int, until_s: float) -> None:
        """Until there are so many samples, or no time is left for one more."""
        run = self._runner(fault)
        began_at_s, longest_s = monotonic_now(), 0.0
        while self._too_few(fault, samples):
            if monotonic_now() + longest_s > until_s:
                self._tell(f"{fault}: no time is left for more")
                return
            at_s = monotonic_now()
            self._events += 1
            try:
                run()
            except (BedError, psutil.Error, OSError) as error:
                self._add(
                    Sample(fault, FLEET, at_s, at_s, monotonic_now(), note=f"FAILED: {error}")
                )
                if monotonic_now() - began_at_s > 600:
                    return
            longest_s = max(longest_s, monotonic_now() - at_s)
            time.sleep(self._rng.uniform(1, 4))

    def _too_few(self, fault: str, samples: int) -> bool:
        """A fault of a node or of the disk gives a sample of each site, at the same moment."""
        mine = [s for s in self.samples if s.fault == fault]
        events = {s.details.get("event") for s in mine}
        return len(mine) < samples or len(events) < min(MIN_EVENTS, samples)

    def _runner(self, fault: str) -> Callable[[], None]:
        if fault in KILLS:
            return lambda: self._kill(fault, KILLS[fault])
        return {
            GCS: self._kill_gcs,
            RAYLET: self._kill_raylet,
            FROZEN: self._freeze,
            DISK_FULL: self._fill_disk,
        }[fault]

    # -- above the sites ---------------------------------------------------------------------

    def _kill(self, fault: str, name: str) -> None:
        victims = self._bed.named(name)
        if not victims:
            raise BedError(f"no process {name}")
        victim = self._rng.choice(victims)
        title = victim.cmdline()[0].strip().rsplit(":", 1)[-1] if "Serve" in name else ""
        before = self._befores()
        others = {p.pid for p in victims}
        count = len(victims)
        victim.kill()

        def is_back() -> bool:
            alive = [p.pid for p in self._bed.named(name)]
            return len(alive) >= count and bool(set(alive) - others) and self._bed.api_ok()

        back_s = wait_for(is_back, BACK_S, f"{fault}: back")
        time.sleep(SETTLE_S)
        self._add(self._one(fault, before, back_s, title))

    def _kill_gcs(self) -> None:
        (victim,) = self._bed.named("gcs_server")
        command, environment, cwd = victim.cmdline(), victim.environ(), victim.cwd()
        before = self._befores()
        victim.kill()
        time.sleep(self._rng.uniform(2, 10))
        self._bed.restart_gcs(command, environment, cwd)
        began_s = monotonic_now()
        # What dies after the return is started again: the proof that the new one manages actors.
        time.sleep(3)
        pids = {p.pid for p in self._bed.named("ray::Supervisor")}
        send(self._bed.named("ray::Supervisor"), signal.SIGKILL)

        def is_back() -> bool:
            new = {p.pid for p in self._bed.named("ray::Supervisor")} - pids
            return bool(new) and self._bed.api_ok()

        wait_for(is_back, BACK_S, "the GCS: a supervisor that died after its return")
        back_s = monotonic_now() - began_s
        time.sleep(SETTLE_S)
        self._add(
            self._one(GCS, before, back_s, "back: after its new start, a dead actor included")
        )

    def lose_everything(self, seconds: float) -> None:
        """Every process of the head node is gone for a while: no GCS, fleet, supervisor, Serve."""
        before = self._befores()
        victims = self._bed.node_processes("head")
        send(victims, signal.SIGKILL)
        at_s = monotonic_now()
        time.sleep(seconds)
        left = [p for p in self._bed.node_processes("head") if is_alive(p)]
        sample = self._one(ABOVE, before, None, f"{seconds:g} s, {len(victims)} processes")
        if left:
            sample.note += f"; {len(left)} came back by themselves"
        sample.ended_at_s = monotonic_now()
        self._add(sample)
        try:
            self._bed.start_head()
            wait_for(self._bed.api_ok, 180, "the fleet after the head's return", 1.0)
            sample.back_s = monotonic_now() - sample.ended_at_s
        except BedError as error:
            sample.note += f"; not back: {error}"
        self._tell(f"{ABOVE}: began at {at_s:.0f}; {describe(sample)}")

    # -- nodes -------------------------------------------------------------------------------

    def _hit_node(self) -> tuple[str, dict[str, int]]:
        """A node with sites, and their processes."""
        pids = self._bed.site_pids()
        nodes: dict[str, dict[str, int]] = {}
        for site, pid in pids.items():
            with contextlib.suppress(psutil.Error):
                nodes.setdefault(self._bed.node_of(pid), {})[site] = pid
        if not nodes:
            raise BedError("no site controls its inverter")
        name = self._rng.choice(sorted(nodes))
        return name, nodes[name]

    def _kill_raylet(self) -> None:
        name, hit = self._hit_node()
        before = {site: self._watch.before(site) for site in hit}
        raylets = [p for p in self._bed.named("raylet") if p.environ().get(NODE_MARK) == name]
        send(raylets, signal.SIGKILL)
        self._await_new(hit, 90)
        time.sleep(10)
        for site, earlier in before.items():
            self._add(self._watch.sample(RAYLET, site, earlier, earlier.at_s, new_process=True))
        self._replace(name)

    def _freeze(self) -> None:
        name, hit = self._hit_node()
        before = {site: self._watch.before(site) for site in hit}
        stopped = self._bed.node_processes(name)
        send(stopped, signal.SIGSTOP)
        try:
            self._await_control(before, TAKEOVER_S)
            time.sleep(self._rng.uniform(2, 8))
        finally:
            send(stopped, signal.SIGCONT)
        old = [psutil.Process(pid) for pid in hit.values() if psutil.pid_exists(pid)]
        _, alive = psutil.wait_procs(old, OLD_ENDS_S)
        time.sleep(10)
        note = f"{len(alive)} old processes outlived the thaw by {OLD_ENDS_S:g} s" if alive else ""
        for site, earlier in before.items():
            sample = self._watch.sample(FROZEN, site, earlier, earlier.at_s, new_process=True)
            sample.note = note
            self._add(sample)
        self._replace(name)

    def _await_new(self, hit: dict[str, int], seconds: float) -> None:
        def moved() -> bool:
            now = self._bed.site_pids()
            return all(now.get(site, pid) != pid for site, pid in hit.items())

        with contextlib.suppress(BedError):  # the samples say what is missing
            wait_for(moved, seconds, "new processes", 0.5)

    def _await_control(self, before: dict[str, Before], seconds: float) -> None:
        def taken() -> bool:
            return all(
                self._watch.sample("", site, b, b.at_s, new_process=True).control_s is not None
                for site, b in before.items()
            )

        with contextlib.suppress(BedError):
            wait_for(taken, seconds, "new owners", 2.0)

    def _replace(self, name: str) -> None:
        """A lost node does not come back: end what is left of it, and start another one."""
        rest = [p for p in self._bed.node_processes(name) if p.name() != "raylet"]
        send(self._bed.node_processes(name), signal.SIGKILL)
        psutil.wait_procs(rest, 10)
        self._bed.add_node(name)
        time.sleep(2)

    # -- the disk ----------------------------------------------------------------------------

    def _fill_disk(self) -> None:
        before = self._befores()
        pids = [*self._bed.site_pids().values()]
        for name in ("ray::FleetActor", "ray::Supervisor"):
            pids += [p.pid for p in self._bed.named(name)]
        try:
            self._bed.disk.fill(pids)
            for _ in range(int(DISK_FULL_S)):
                time.sleep(1)
                self._bed.disk.top_up()
        finally:
            self._bed.disk.empty()
        ended_s = monotonic_now()
        time.sleep(65)
        for site, earlier in before.items():
            self._add(self._watch.sample(DISK_FULL, site, earlier, ended_s))

    # -- samples -----------------------------------------------------------------------------

    def _befores(self) -> dict[str, Before]:
        return {site: self._watch.before(site) for site in self._bed.site_ids}

    def _one(
        self, fault: str, before: dict[str, Before], back_s: float | None, note: str = ""
    ) -> Sample:
        """One sample of a fault that hit no site: the worst of all batteries."""
        each = [self._watch.sample(fault, site, b, b.at_s) for site, b in before.items()]
        took = [s.safe_s for s in each if s.safe_s is not None]
        return Sample(
            fault,
            FLEET,
            min(s.at_s for s in each),
            min(s.at_s for s in each) + (back_s or 0.0),
            max(s.until_s for s in each),
            safe_s=min(took) if took else None,
            back_s=back_s,
            gap_s=max(s.gap_s for s in each),
            forced_kwh=sum(s.forced_kwh for s in each),
            own_mode_kwh=sum(s.own_mode_kwh for s in each),
            ramps=sum(s.ramps for s in each),
            writes=sum(s.writes for s in each),
            note=note,
            details={
                "sites_that_lost_control": float(len(took)),
                "kw": max((s.details["kw"] for s in each), key=abs),
            },
        )

    def _add(self, sample: Sample) -> None:
        sample.details["event"] = float(self._events)
        self.samples.append(sample)
        self._tell(describe(sample))
