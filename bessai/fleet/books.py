"""The accounts of all sites: settled in memory with each report, saved in one transaction."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bessai.config import SiteConfig
from bessai.errors import BessaiError, ConfigError
from bessai.fleet.settlement import SettlementRules, settle
from bessai.fleet.state import finite
from bessai.model import SiteId, SiteReading, SiteSnapshot
from bessai.store.account import PICO_PER_UNIT, Account, AccountStore, MeterReading
from bessai.units import WH_PER_KWH

log = logging.getLogger(__name__)

LATE: Final = timedelta(minutes=1)
"""A reading that is older than the newest by less is late; by more, the clock was set back."""


@dataclass(frozen=True, slots=True)
class Earnings:
    """Settled energy and money of one site or of several."""

    amount: float
    exported_kwh: float
    imported_kwh: float
    unpriced_kwh: float


class Books:
    """Accounts with the store they live in.

    A crash loses at most what was not saved yet, and with it the baseline it belongs to: the
    next reading settles the same energy again, once.

    Raises:
        ConfigError: the store holds accounts in another currency.
        StoreError: the store cannot be read.
    """

    def __init__(
        self, sites: Sequence[SiteConfig], rules: SettlementRules, store: AccountStore
    ) -> None:
        self._rules = rules
        self._store = store
        self._max_kw = {site.site_id: _rated_kw(site) for site in sites}
        self._accounts = dict(store.load())
        self._unsaved: dict[SiteId, Account] = {}
        self._read_at: dict[SiteId, datetime] = {}
        self._saving = asyncio.Lock()
        self.error: str | None = None
        for account in self._accounts.values():
            _check_currency(account, rules.currency)

    def settle(self, snapshots: Sequence[SiteSnapshot]) -> None:
        """Settle every snapshot that carries both counters."""
        for snapshot in snapshots:
            reading = snapshot.reading
            if reading is None or reading.exported_wh is None or reading.imported_wh is None:
                continue
            if self._is_late(snapshot, reading):
                continue
            meter = MeterReading(reading.exported_wh, reading.imported_wh, snapshot.market_at)
            self._settle(snapshot.site_id, meter)

    def _is_late(self, snapshot: SiteSnapshot, reading: SiteReading) -> bool:
        # Ray does not fence: a process that was replaced may still report beside its successor.
        # Its older counters are not a reset; what they hold is in the newer ones already.
        age_s = finite(reading.age_s)
        read_at = snapshot.reported_at - timedelta(seconds=0.0 if age_s is None else age_s)
        newest = self._read_at.get(snapshot.site_id)
        if newest is not None and timedelta(0) < newest - read_at < LATE:
            return True
        self._read_at[snapshot.site_id] = read_at
        return False

    def _settle(self, site_id: SiteId, meter: MeterReading) -> None:
        before = self._accounts.get(site_id)
        if before is not None and before.meter == meter:
            return
        after = settle(before, site_id, meter, self._rules, self._max_kw[site_id])
        if before is not None and after.resets > before.resets:
            log.warning(
                "meter counters cannot be continued; settling from a new baseline",
                extra={"site_id": site_id, "before": str(before.meter), "after": str(meter)},
            )
        self._accounts[site_id] = self._unsaved[site_id] = after

    async def flush(self) -> None:
        """Save what changed; a failure is kept as text and tried again next time."""
        async with self._saving:
            if not self._unsaved:
                return
            batch, self._unsaved = self._unsaved, {}
            try:
                await asyncio.to_thread(self._store.save, list(batch.values()))
            except BessaiError as error:
                self._unsaved = batch | self._unsaved
                self._fail(str(error))
            except asyncio.CancelledError:
                # The thread goes on and may or may not succeed; saving twice is harmless.
                self._unsaved = batch | self._unsaved
                raise
            else:
                self._recover()

    def _fail(self, error: str) -> None:
        if self.error is None:
            log.error("accounts cannot be saved", extra={"error": error})
        self.error = error

    def _recover(self) -> None:
        if self.error is not None:
            log.info("accounts are saved again")
        self.error = None

    def account(self, site_id: SiteId) -> Account | None:
        """The account of a site, or None before its first meter reading."""
        return self._accounts.get(site_id)

    def earnings(self, site_ids: Sequence[SiteId]) -> Earnings:
        """Sum over sites; added as integers, so that no cent depends on the order."""
        accounts = [a for a in map(self._accounts.get, site_ids) if a is not None]
        return Earnings(
            amount=sum(a.amount_pico for a in accounts) / PICO_PER_UNIT,
            exported_kwh=sum(a.exported_wh for a in accounts) / WH_PER_KWH,
            imported_kwh=sum(a.imported_wh for a in accounts) / WH_PER_KWH,
            unpriced_kwh=sum(a.unpriced_wh for a in accounts) / WH_PER_KWH,
        )


def _rated_kw(site: SiteConfig) -> float:
    limits = site.limits()
    connection = filter(math.isfinite, (limits.export_limit_kw, limits.import_limit_kw))
    return max(*connection, limits.max_charge_kw, limits.max_discharge_kw)


def _check_currency(account: Account, currency: str) -> None:
    if account.currency != currency:
        raise ConfigError(
            f"the store holds accounts in {account.currency}, the market pays {currency}",
            field="market",
            value=currency,
            fix="name another store, or the market that the accounts were settled in",
        )
