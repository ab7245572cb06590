"""A process that orders stops of one site and says each revision once it is stored.

Usage: ``python -m tests.support.fleet_stop_process URL NAME``.
"""

from __future__ import annotations

import itertools
import sys
from datetime import UTC, datetime

from bessai.model import SiteId
from bessai.store.stops import StopStore, Word

if __name__ == "__main__":
    store = StopStore.open(sys.argv[1])
    for n in itertools.count():
        word = Word(n % 2 == 0, sys.argv[2], f"order {n}", datetime.now(UTC))
        print(store.add({SiteId("a"): 0}, word)[SiteId("a")].revision, flush=True)
