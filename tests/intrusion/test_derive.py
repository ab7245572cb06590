"""The list derived from a profile allows what our own driver does, and no more."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from bessai.config import load_profile
from bessai.config.load import registry_root
from bessai.devices import ModbusInverter
from bessai.intrusion.allowlist import AllowListMonitor
from bessai.intrusion.derive import OwnSite, derive
from bessai.intrusion.events import ModbusEvent, refusal_event, request_event
from bessai.model.outcome import Applied
from bessai.sim.server import LOOPBACK, HostedInverter
from tests.intrusion.values import LIMITS
from tests.support.simulated import SPEC, HandClock, fast_profile, simulated

HUAWEI = load_profile("huawei_sun2000")
SITE = OwnSite(LIMITS)
FAMILIES = sorted(
    path.stem
    for path in (registry_root() / "devices").glob("*.yaml")
    if load_profile(path.stem).controllable
)


def huawei(function: int, address: int, *words: int, client: str = "site") -> ModbusEvent:
    unit = HUAWEI.connection.default_unit_id
    return ModbusEvent(0.0, client, unit, function, address, len(words) or 1, words)


ROWS: list[tuple[str, ModbusEvent, str | None]] = [
    ("stop charging", huawei(6, 47100, 0), None),
    ("charge", huawei(6, 47100, 1), None),
    ("discharge", huawei(6, 47100, 2), None),
    ("unknown command", huawei(6, 47100, 3), "value"),
    ("5 kW in", huawei(16, 47247, 0, 5000), None),
    ("more than the site's 5 kW", huawei(16, 47247, 0, 5001), "value"),
    ("two minutes", huawei(6, 47083, 2), None),
    ("a day without dead-man", huawei(6, 47083, 1440), "value"),
    ("working mode, stored", huawei(6, 47086, 2), "register"),
    ("a stranger's command", huawei(6, 47100, 1, client="10.0.0.9"), "writer"),
    ("state of charge", huawei(3, 37760), None),
    ("far away", huawei(3, 1000), "register"),
]


@pytest.mark.parametrize(("_", "seen", "rule"), ROWS, ids=[row[0] for row in ROWS])
def test_huawei(_: str, seen: ModbusEvent, rule: str | None) -> None:
    found = AllowListMonitor(derive(HUAWEI, SITE)).check(seen)
    assert [f.rule for f in found] == ([] if rule is None else [rule])


def test_limits_of_the_site_bound_what_may_be_written() -> None:
    narrow = derive(HUAWEI, replace(SITE, limits=replace(LIMITS, max_charge_kw=1.0)))
    monitor = AllowListMonitor(narrow)
    assert monitor.check(huawei(16, 47247, 0, 1000)) == ()
    assert [f.allowed for f in monitor.check(huawei(16, 47247, 0, 1001))] == ["0 to 1000 or 0 to 0"]


def test_guests_read_and_do_not_write() -> None:
    monitor = AllowListMonitor(derive(HUAWEI, replace(SITE, readers=("10.0.0.5",))))
    assert monitor.check(huawei(3, 37760, client="10.0.0.5")) == ()
    assert [f.rule for f in monitor.check(huawei(6, 47100, 0, client="10.0.0.5"))] == ["writer"]


class Tap:
    """Passes bytes on between a driver and a device, and keeps every request and refusal."""

    def __init__(self, device_port: int, clock: HandClock) -> None:
        self.events: list[ModbusEvent] = []
        self.port = 0
        self._device_port = device_port
        self._clock = clock

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        device_reader, device_writer = await asyncio.open_connection(LOOPBACK, self._device_port)
        await asyncio.gather(
            self._pass(reader, device_writer, asks=True),
            self._pass(device_reader, writer, asks=False),
        )

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asks: bool
    ) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                header = await reader.readexactly(7)
                pdu = await reader.readexactly(int.from_bytes(header[4:6], "big") - 1)
                kind = request_event if asks else refusal_event
                seen = kind(self._clock(), "site", header[6], pdu)
                self.events += [] if seen is None else [seen]
                writer.write(header + pdu)
        writer.close()


@pytest.mark.parametrize("family", FAMILIES)
async def test_nothing_that_our_driver_does_is_forbidden(family: str) -> None:
    clock = HandClock()
    spec = SPEC.model_copy(update={"profile": family, "max_charge_kw": 4.0})
    host = HostedInverter(simulated(clock, spec=spec))
    await host.start()
    tap = Tap(host.port, clock)
    server = await tap.start()
    driver = ModbusInverter(
        spec.id, LOOPBACK, tap.port, host.unit_id, fast_profile(family), now=clock
    )
    try:
        await driver.connect()
        for power_kw in (0.0, -1.5, 2.25, -4.0, 4.0, 0.0):
            clock.at_s += 40.0
            await driver.read_telemetry()
            outcome = await driver.apply_power(power_kw)
            assert isinstance(outcome, Applied), outcome
        clock.at_s += 40.0
        await driver.release()
        profile = driver.profile
        scaled = (name for name, point in profile.points.items() if point.scale_factor)
        found = {name: driver.reading.gain(name) for name in scaled}
        gains = {name: gain for name, gain in found.items() if gain is not None}
    finally:
        await driver.close()
        server.close()
        await host.stop()
    units = {name: unit for unit, name in host.inverter.units.items()} | {"main": host.unit_id}
    limits = replace(LIMITS, max_charge_kw=4.0, max_discharge_kw=4.0)
    allowed = derive(profile, OwnSite(limits, units, gains=gains))
    monitor = AllowListMonitor(allowed)
    forbidden = [finding for event in tap.events for finding in monitor.check(event)]
    assert any(event.is_write for event in tap.events)
    assert forbidden == []
    # The same requests from elsewhere are all forbidden.
    stranger = AllowListMonitor(allowed)
    writes = [replace(event, client="10.0.0.9") for event in tap.events if event.is_write]
    assert all("writer" in {f.rule for f in stranger.check(event)} for event in writes)
