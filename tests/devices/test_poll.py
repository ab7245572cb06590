"""The register image of one connection, without any device."""

from __future__ import annotations

from bessai.config import load_profile
from bessai.config.profile import Space
from bessai.devices.codec import Registers
from bessai.devices.poll import Poller
from bessai.units import MonotonicS


class Calm:
    """Answers every read; only the meter's status changes."""

    def __init__(self, status_at: int) -> None:
        self.status_at = status_at
        self.status = 1
        self.reads: list[range] = []

    async def read(self, space: Space, address: int, count: int) -> Registers:
        self.reads.append(range(address, address + count))
        return tuple(self.status if at == self.status_at else 7 for at in self.reads[-1])


async def test_what_may_not_be_read_any_more_is_forgotten() -> None:
    profile = load_profile("huawei_sun2000")
    link = Calm(profile.points["meter_status"].address)
    poller = Poller(link, profile)
    await poller.read(MonotonicS(1.0))
    assert poller.reading.number("meter_active_power") is not None
    link.status = 0
    await poller.read(MonotonicS(2.0))
    assert poller.reading.number("meter_active_power") is None
    link.reads.clear()
    await poller.read(MonotonicS(3.0))
    assert not any(37113 in read for read in link.reads)
    link.status = 1
    for second in (4.0, 5.0):
        await poller.read(MonotonicS(second))
    assert poller.reading.number("meter_active_power") is not None
