"""A process that settles a meter into a database until it is killed.

The meter belongs to the outside world: its counters depend on real time alone and go on while
the process is dead. Usage: ``python -m tests.support.fleet_meter_process URL START_UNIX_S``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from datetime import timedelta

from bessai.fleet.books import Books
from bessai.fleet.settlement import SettlementRules
from bessai.store.settlement import SettlementStore
from tests.support.fleet_fakes import HOUR, T0
from tests.support.fleet_values import reading, site_config, snapshot

PRICE = 37.25
WH_PER_S = 50_000


async def settle_for_ever(url: str, start_s: float) -> None:
    store = SettlementStore.open(url)
    rules = SettlementRules("USD", HOUR, T0, lambda _: PRICE)
    books = Books([site_config()], rules, store)
    said = False
    while True:
        elapsed_s = time.time() - start_s
        counters = reading(exported_wh=int(elapsed_s * WH_PER_S), imported_wh=int(elapsed_s * 7))
        report = replace(snapshot(), market_at=T0 + timedelta(seconds=600 * elapsed_s))
        books.settle([replace(report, reading=counters)])
        await books.flush()
        if not said:
            account = books.account(report.site_id)
            assert account is not None
            print(account.meter.exported_wh, account.meter.imported_wh, flush=True)
            said = True


if __name__ == "__main__":
    asyncio.run(settle_for_ever(sys.argv[1], float(sys.argv[2])))
