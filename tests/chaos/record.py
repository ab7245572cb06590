"""What the sites recorded, as far as the campaign compares it with the witness."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import quote

from bessai.control.logbook import decision_file
from bessai.control.logbook.file import STRIDE
from tests.chaos.measure import Decided

QUERY = f"""
SELECT cycle.control, segment.run, cycle.write_kw, cycle.result FROM cycle
JOIN segment ON segment.id = cycle.sequence / {STRIDE} ORDER BY cycle.sequence
"""


def decided_by(memory: Path, site_id: str) -> list[Decided]:
    """All recorded cycles of a site, oldest first."""
    path = decision_file(memory, site_id)
    uri = f"file:{quote(str(path.resolve()))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5.0)) as connection:
        rows = connection.execute(QUERY).fetchall()
    return [Decided(float(now), int(run), kw, result) for now, run, kw, result in rows]


def lost_entries(memory: Path, site_id: str) -> int:
    """Cycles that the record itself says it could not store."""
    path = decision_file(memory, site_id)
    uri = f"file:{quote(str(path.resolve()))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5.0)) as connection:
        return int(connection.execute("SELECT coalesce(sum(lost), 0) FROM run").fetchone()[0])
