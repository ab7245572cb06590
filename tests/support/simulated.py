"""Simulated devices for tests: a clock that moves by hand, and a profile without pauses."""

from __future__ import annotations

from bessai.config import DeviceProfile, load_profile
from bessai.devices import ModbusInverter
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.server import LOOPBACK, HostedInverter
from bessai.sim.spec import InverterSpec
from bessai.units import MonotonicS

SPEC = InverterSpec(
    site_id="north",
    capacity_kwh=10.0,
    max_charge_kw=5.0,
    max_discharge_kw=5.0,
    soc_pct=50.0,
)


class HandClock:
    """Control time that moves only when told."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def __call__(self) -> MonotonicS:
        return MonotonicS(self.at_s)


def fast_profile(name: str = "huawei_sun2000", *, deadline_s: float = 5.0) -> DeviceProfile:
    """The real profile without the pauses that only real devices need."""
    profile = load_profile(name)
    quick = {"wait_after_connect_s": 0.0, "request_gap_s": 0.0, "request_deadline_s": deadline_s}
    return profile.model_copy(update={"connection": profile.connection.model_copy(update=quick)})


def simulated(
    clock: HandClock, *, spec: InverterSpec = SPEC, speed: float = 1.0, minute_s: float = 60.0
) -> SimulatedInverter:
    """One simulated inverter on a hand-moved clock."""
    return SimulatedInverter(spec, load_profile(spec.profile), speed, now=clock, minute_s=minute_s)


def client_of(
    host: HostedInverter, clock: HandClock, profile: DeviceProfile | None = None
) -> ModbusInverter:
    """A driver for a hosted device, not yet connected."""
    spec = host.inverter.spec
    return ModbusInverter(
        spec.id, LOOPBACK, host.port, host.unit_id, profile or fast_profile(), now=clock
    )
