"""Somebody else who commands the battery: a second master, an installer, an attacker."""

from __future__ import annotations

from bessai.devices.program import power_command
from bessai.sim.faults import Fault
from bessai.sim.inverter import SimulatedInverter
from bessai.sim.journal import ROGUE, Written
from bessai.units import MonotonicS


class Rogue:
    """Writes the profile's program for one power straight into the registers.

    It needs no connection and no login, as the vendor's own portal does not; what it writes is
    logged as from connection 0.

    Args:
        inverter: The victim.
        fault: Power in kW, + discharge, and how often.

    Raises:
        DeviceError: the profile cannot be commanded, or not with this power.
    """

    def __init__(self, inverter: SimulatedInverter, fault: Fault) -> None:
        self._inverter = inverter
        self._fault = fault
        self._due: MonotonicS | None = inverter.now()
        self._units = {device: unit for unit, device in reversed(inverter.units.items())}
        inverter.show()
        power_command(inverter.profile, fault.amount, inverter.bank.reading)

    def tick(self) -> None:
        """Write if it is time to."""
        now = self._inverter.now()
        if self._due is None or now < self._due:
            return
        every_s = self._fault.every_s
        self._due = None if every_s is None else MonotonicS(now + every_s)
        self._write()

    def _write(self) -> None:
        device = self._inverter
        device.show()
        for write in power_command(device.profile, self._fault.amount, device.bank.reading).writes:
            point = write.point
            code = device.write_from(ROGUE.number, point.address, write.registers, point.device)
            outcome = "accepted" if code is None else f"exception {code}"
            unit, at = self._units[point.device], device.at
            device.journal.connections.request(ROGUE, at, writes=True)
            device.journal.write(
                ROGUE, Written(unit, point.address, write.registers, outcome, answered=True), at
            )
