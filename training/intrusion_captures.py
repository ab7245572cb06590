"""Judge allow-list and forest on labelled Modbus captures of a real testbed.

Source: Lemay and Fernandez, "Providing SCADA Network Data Sets for Intrusion Detection Research",
USENIX CSET 2016. The captures are not part of this project; ``BESSAI_CAPTURES`` names their folder.
One row is one packet; its label says whether it belongs to an attack.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from bessai.intrusion.allowlist import AllowList, AllowListMonitor, learn
from bessai.intrusion.events import ModbusEvent, refusal_event, request_event
from bessai.intrusion.forest import Floats, Forest
from training.intrusion import isolation_forest, to_forest

CLEAN: Final = "modbus_moving_two_files"
"""Its attack moves files between hosts; what is Modbus in it is normal polling."""

JUDGED: Final = (CLEAN, "modbus_characterization", "modbus_exploit_ms08_netapi")
MODBUS_PORT: Final = 502
QUIET_S: Final = 10.0
"""Odd seconds this far apart are different alarms."""

_Key = frozenset[tuple[str, int]]

FLOW_FEATURES: Final = (
    "packets",
    "bytes",
    "requests",
    "refusals",
    "places",
    "talkers",
    "other_packets",
)
"""Per second of a capture, for the forest."""


@dataclass(frozen=True, slots=True)
class CaptureReport:
    """What was noticed in one capture; an attack event is one connection of the attacker.

    Attributes:
        attacks: Connections with labelled packets; ``modbus_attacks`` of them speak Modbus.
        detected: Connections in which the allow-list found something.
        delays_s: From a detected connection's first packet to the first finding.
        attack_requests: Modbus requests that belong to an attack, ``found_requests`` of them found.
        false_findings: What was found in packets that belong to none.
        forest_detected: Connections in whose time the forest found a second odd.
        forest_false: Runs of odd seconds outside all of them.
    """

    name: str
    seconds: float
    attacks: int
    modbus_attacks: int
    detected: int
    delays_s: tuple[float, ...]
    attack_requests: int
    found_requests: int
    false_findings: tuple[str, ...]
    forest_detected: int
    forest_false: int


@dataclass(slots=True)
class _Connection:
    """One connection of an attacker: first and last packet, and what was found in it."""

    first_s: float
    last_s: float
    modbus: bool = False
    found_s: float | None = None


def capture_folder() -> Path | None:
    """Where the captures are; None where they are not."""
    named = os.environ.get("BESSAI_CAPTURES")
    here = Path(__file__).resolve().parents[1]
    beside = (here / "shared" / "data", here.parent / "shared" / "data")
    for folder in (Path(named), *beside) if named else beside:
        if (folder / f"{CLEAN}.parquet").is_file():
            return folder
    return None


def judge_captures(folder: Path, seed: int = 1) -> list[CaptureReport]:
    """Learn from the first half of the clean capture, judge on the rest and on the others."""
    frames = {name: _frame(folder, name) for name in JUDGED}
    clean = frames[CLEAN]
    middle = float(clean["at_s"][-1]) / 2.0
    first = clean.filter((pl.col("at_s") < middle) & (pl.col("label_attack") == 0))
    allowed = learn(event for event, _, _ in events(first))
    scale, threshold, forest = _flow_forest(first, seed)
    frames[CLEAN] = clean.filter(pl.col("at_s") >= middle)
    reports = []
    for name, frame in frames.items():
        seconds, rows = flow_rows(frame)
        scores = forest.score_many(np.minimum(rows / scale, 8.0))
        odd = [float(second) for second in seconds[scores < threshold]]
        reports.append(_report(name, frame, allowed, odd))
    return reports


def events(frame: pl.DataFrame) -> Iterator[tuple[ModbusEvent, bool, _Key]]:
    """Requests and refusals of a capture, with their label and connection."""
    columns = ("at_s", "src", "sport", "dst", "dport", "mb_unit_id", "mb_pdu_hex", "label_attack")
    rows = frame.filter(pl.col("is_modbus")).select(columns).iter_rows()
    for at_s, src, sport, dst, dport, unit, pdu_hex, label in rows:
        pdu, key = bytes.fromhex(pdu_hex), _key(src, sport, dst, dport)
        if dport == MODBUS_PORT:
            yield request_event(at_s, f"{src}>{dst}", unit, pdu), bool(label), key
        elif (refusal := refusal_event(at_s, f"{dst}>{src}", unit, pdu)) is not None:
            yield refusal, bool(label), key


def flow_rows(frame: pl.DataFrame) -> tuple[Floats, Floats]:
    """Seconds and :data:`FLOW_FEATURES` of each."""
    modbus = pl.col("is_modbus")
    request = modbus & (pl.col("dport") == MODBUS_PORT)
    refusal = modbus & (pl.col("mb_function_code") >= 0x80)
    place = pl.concat_str(["dst", pl.col("mb_pdu_hex").str.slice(0, 6)], ignore_nulls=True)
    other = ~modbus & (pl.col("dport") != MODBUS_PORT) & (pl.col("sport") != MODBUS_PORT)
    rows = (
        frame.with_columns(second=pl.col("at_s").floor())
        .group_by("second")
        .agg(
            packets=pl.len(),
            bytes=pl.col("frame_len_bytes").sum(),
            requests=request.sum(),
            refusals=refusal.sum(),
            places=place.filter(request).n_unique(),
            talkers=pl.struct("src", "dst").n_unique(),
            other_packets=other.sum(),
        )
        .sort("second")
    )
    return rows["second"].to_numpy(), rows.select(FLOW_FEATURES).to_numpy().astype(np.float64)


def _flow_forest(first: pl.DataFrame, seed: int) -> tuple[Floats, float, Forest]:
    """Scale, threshold (the oddest clean second) and forest."""
    _, rows = flow_rows(first)
    scale = np.maximum(rows.max(axis=0), 1.0)
    rng = np.random.default_rng(seed)
    sample = np.repeat(rows / scale, 20, axis=0)
    hit = rng.random(len(sample)) < 0.3
    columns = rng.integers(0, sample.shape[1], int(hit.sum()))
    sample[np.flatnonzero(hit), columns] = rng.uniform(0.0, 8.0, len(columns))
    forest = to_forest(isolation_forest(sample, seed))
    return scale, float(forest.score_many(rows / scale).min()), forest


def _report(
    name: str, frame: pl.DataFrame, allowed: AllowList, odd: Sequence[float]
) -> CaptureReport:
    monitor, false_findings = AllowListMonitor(allowed), []
    attacks = _connections(frame)
    requests = found_requests = 0
    for event, label, key in events(frame):
        findings = monitor.check(event)
        requests += label and event.exception is None
        if not findings:
            continue
        if not label:
            false_findings.append(f"{findings[0].rule}: {findings[0].what}")
            continue
        found_requests += event.exception is None
        if attacks[key].found_s is None:
            attacks[key].found_s = event.at_s
    times, found = frame["at_s"], list(attacks.values())
    return CaptureReport(
        name=name,
        seconds=float(times[-1] - times[0]),
        attacks=len(found),
        modbus_attacks=sum(c.modbus for c in found),
        detected=sum(c.found_s is not None for c in found),
        delays_s=tuple(c.found_s - c.first_s for c in found if c.found_s is not None),
        attack_requests=requests,
        found_requests=found_requests,
        false_findings=tuple(false_findings),
        forest_detected=sum(any(_in(at, c) for at in odd) for c in found),
        forest_false=len(_runs([at for at in odd if not any(_in(at, c) for c in found)])),
    )


def _connections(frame: pl.DataFrame) -> dict[_Key, _Connection]:
    """Connections with labelled packets, by their two ends."""
    found: dict[_Key, _Connection] = {}
    attack = frame.filter(pl.col("label_attack") == 1)
    columns = ("at_s", "src", "sport", "dst", "dport", "is_modbus")
    for at_s, src, sport, dst, dport, modbus in attack.select(columns).iter_rows():
        connection = found.setdefault(_key(src, sport, dst, dport), _Connection(at_s, at_s))
        connection.last_s = at_s
        connection.modbus = connection.modbus or modbus
    return found


def _key(src: str, sport: int, dst: str, dport: int) -> _Key:
    return frozenset({(src, sport), (dst, dport)})


def _in(second: float, connection: _Connection) -> bool:
    """Whether a second (its floor) touches a connection."""
    return connection.first_s - 1.0 < second <= connection.last_s


def _runs(times: Sequence[float]) -> list[tuple[float, float]]:
    runs: list[tuple[float, float]] = []
    for at in times:
        if runs and at - runs[-1][1] <= QUIET_S:
            runs[-1] = (runs[-1][0], at)
        else:
            runs.append((at, at))
    return runs


def _frame(folder: Path, name: str) -> pl.DataFrame:
    frame = pl.read_parquet(folder / f"{name}.parquet").sort("timestamp_utc")
    start = frame["timestamp_utc"][0]
    return frame.with_columns(
        at_s=(pl.col("timestamp_utc") - start).dt.total_microseconds() / 1_000_000
    )
