"""The settled account of one site: what must survive a crash, with its baseline.

Baseline and amounts are one value, so a store cannot save one without the other: that is why
a kill at any moment neither loses settled money nor counts energy twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from bessai.model import SiteId

PICO_PER_MICRO: Final = 1_000_000
MICRO_PER_UNIT: Final = 1_000_000
PICO_PER_UNIT: Final = PICO_PER_MICRO * MICRO_PER_UNIT


@dataclass(frozen=True, slots=True)
class MeterReading:
    """Lifetime counters of a site's meter at a market time.

    Attributes:
        exported_wh, imported_wh: Counters that only grow, in Wh.
        market_at: Aware UTC market time of the reading.
    """

    exported_wh: int
    imported_wh: int
    market_at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """Energy and money of one site, settled up to ``meter``.

    Energy is integer Wh. Money is exact: Wh times micro-currency per MWh is an integer number
    of pico-currency, so nothing is rounded when it is added up.

    Attributes:
        currency: ISO 4217 code.
        meter: Baseline: everything up to these counters is settled.
        exported_wh, imported_wh: All energy settled, priced or not.
        unpriced_exported_wh, unpriced_imported_wh: The part of it that met no price.
        amount_pico: Export at price less import at price, in 1e-12 ``currency``.
        resets: How often the counters could not be continued.
    """

    site_id: SiteId
    currency: str
    meter: MeterReading
    exported_wh: int = 0
    imported_wh: int = 0
    unpriced_exported_wh: int = 0
    unpriced_imported_wh: int = 0
    amount_pico: int = 0
    resets: int = 0

    @property
    def unpriced_wh(self) -> int:
        """Energy in both directions that met no price."""
        return self.unpriced_exported_wh + self.unpriced_imported_wh

    @property
    def amount_micro(self) -> int:
        """The amount in whole micro-currency, rounded down; ``amount_rest_pico`` is the rest."""
        return self.amount_pico // PICO_PER_MICRO

    @property
    def amount_rest_pico(self) -> int:
        """What ``amount_micro`` leaves out, 0 to 999,999; carried, never dropped."""
        return self.amount_pico % PICO_PER_MICRO


class AccountStore(Protocol):
    """Where accounts survive the process."""

    def load(self) -> Mapping[SiteId, Account]:
        """All accounts.

        Raises:
            StoreError: the store cannot be read.
        """
        ...

    def save(self, accounts: Sequence[Account]) -> None:
        """Write all of ``accounts`` or none of them.

        Raises:
            StoreError: nothing was written.
        """
        ...
