"""A site's inverter over Modbus TCP, driven by its profile; it executes and never decides when."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from bessai.config.profile import MAIN, DeviceProfile
from bessai.devices.budget import Budget
from bessai.devices.connection import ModbusConnection
from bessai.devices.discovery import discover
from bessai.devices.logins import Credentials
from bessai.devices.poll import Poller
from bessai.devices.program import Command, Write, power_command, release_command
from bessai.devices.reading import Reading
from bessai.devices.telemetry import check_units, to_telemetry
from bessai.devices.tls import TlsSettings
from bessai.devices.verify import find_mismatch, read_back_points
from bessai.devices.wire import Permit
from bessai.errors import DeviceError, DeviceMoved, DeviceTimeout, VerificationFailed
from bessai.model import DeviceIdentity, SiteId, Telemetry
from bessai.model.outcome import Applied, ApplyOutcome, PartiallyApplied, Rejected
from bessai.units import MonotonicS


class ModbusInverter:
    """One inverter with its battery and meter; implements :class:`bessai.ports.SiteDevice`.

    Args:
        site_id: Site that owns the connection.
        host: Name or address of the device.
        port: TCP port.
        unit_id: Modbus unit id, 0-255.
        profile: Register map, limits and habits of the device family.
        now: Control time.
        tls: Where the device speaks Modbus/TCP Security.
        credentials: For devices that want a login before a write.
        budget: Counts writes to memory that may wear out; None starts a new count.
        may_write: Asked before each write, as late as possible; raises
            :class:`bessai.errors.Fenced` where this process may not write now, and then nothing
            is sent. Without one it always may.

    Raises:
        ConfigError: the profile's units do not lead to what a site needs.
    """

    def __init__(  # noqa: PLR0913 - called at few places, all of them by name
        self,
        site_id: SiteId,
        host: str,
        port: int,
        unit_id: int,
        profile: DeviceProfile,
        *,
        now: Callable[[], MonotonicS],
        tls: TlsSettings | None = None,
        credentials: Credentials | None = None,
        budget: Budget | None = None,
        may_write: Permit | None = None,
    ) -> None:
        check_units(profile)
        self._site_id = site_id
        self._family = profile
        self._profile = profile
        self._now = now
        heartbeat = profile.connection.keep_alive
        self._link = ModbusConnection(
            host,
            port,
            {MAIN: unit_id},
            profile.connection,
            tls=tls,
            credentials=credentials,
            keep_alive=None if heartbeat is None else profile.points[heartbeat.point],
            may_write=may_write,
        )
        self._may_write = may_write
        self._budget = budget or Budget(profile.write_budget, now=now)
        self._poller = Poller(self._link, profile)
        self._trusted = False
        self._told: tuple[float, MonotonicS] | None = None

    @property
    def address(self) -> str:
        """``host:port`` of the device."""
        return self._link.address

    @property
    def profile(self) -> DeviceProfile:
        """The profile as this device has it, from the last connect on."""
        return self._profile

    @property
    def reading(self) -> Reading:
        """All that is known of the device's registers."""
        return self._poller.reading

    async def connect(self) -> DeviceIdentity:
        """Open the connection, identify the device and read all that a command depends on.

        Raises:
            DeviceTimeout: nothing answers.
            DeviceError: something else than the profile's device answers.
        """
        self._trusted, self._told = False, None
        await self._link.connect()
        try:
            self._profile, identity = await discover(self._link, self._family)
            self._poller = Poller(self._link, self._profile)
            await self._poller.read(self._now())
        except DeviceError:
            self._link.close()
            raise
        self._trusted = True
        return identity

    async def read_telemetry(self) -> Telemetry:
        """Read what is due; registers whose condition does not hold are left out.

        Raises:
            DeviceError: a read failed.
        """
        measured_at = self._now()
        self._trusted = False
        try:
            await self._poller.read(measured_at)
        except DeviceMoved:
            self._link.close()  # nothing may be written to addresses that hold something else now
            raise
        self._trusted = True
        telemetry = to_telemetry(self._site_id, measured_at, self._profile, self.reading)
        if self._profile.command_readable:
            return telemetry
        return replace(telemetry, commanded_kw=self._remembered_kw(measured_at))

    async def apply_power(self, power_kw: float) -> ApplyOutcome:
        """Command charge (-), discharge (+) or hold (0) in whole watts and read it back.

        ``Applied.power_kw`` is what the device now holds: ``power_kw`` rounded towards zero and
        narrowed to the device's own limits.
        """
        try:
            command = power_command(self._profile, power_kw, self.reading)
        except DeviceError as error:
            return Rejected(str(error))
        return await self._execute(command)

    async def release(self) -> ApplyOutcome:
        """Return the device to its own working mode and read it back."""
        try:
            command = release_command(self._profile, self.reading)
        except DeviceError as error:
            return Rejected(str(error))
        return await self._execute(command)

    async def close(self) -> None:
        """Close the connection; never raises."""
        self._link.close()

    def _remembered_kw(self, now: MonotonicS) -> float | None:
        """The last command, while a device that cannot tell still holds it by its own timer."""
        if self._told is None:
            return None
        power_kw, told_at = self._told
        dead_man = self._profile.dead_man
        return power_kw if dead_man is None or now - told_at < dead_man.period_s else None

    async def _execute(self, command: Command) -> ApplyOutcome:
        # Whoever cancels this leaves a device that may hold the old command or the new one.
        told, self._told = self._told, None
        started = self._now()
        outcome = await self._send(command)
        match outcome:
            case Applied():
                self._told = None if command.releases else (outcome.power_kw, started)
            case Rejected():
                self._told = told
            case PartiallyApplied():
                pass
        return outcome

    async def _send(self, command: Command) -> ApplyOutcome:
        if not self._link.connected:
            return Rejected(f"{self.address} is not connected")
        try:
            await self._refresh_budgeted(command)
        except DeviceError as error:
            # Rest waits for no read: what is not known is written.
            if not command.to_rest or not self._link.connected:
                return Rejected(f"registers that may wear out could not be read first: {error}")
        needed = command.needed(self._poller.image, trusted=self._trusted)
        stored = [write.name for write in needed if write.budgeted]
        refusal = self._budget.check(stored, to_rest=command.to_rest)
        if refusal is not None:
            return await self._rest_where_refused(command, refusal)
        return await self._write(command, needed)

    async def _rest_where_refused(self, command: Command, refusal: str) -> ApplyOutcome:
        """The command in force may stay only where the refused one contains it."""
        held_kw = self.reading.commanded_kw(self._profile.commanded)
        if held_kw is None or command.contains(held_kw):
            return Rejected(refusal)
        rest = await self._send(power_command(self._profile, 0.0, self.reading))
        if not isinstance(rest, Applied):
            return rest
        text = f"{refusal}; the battery rests until then"
        return PartiallyApplied(rest.writes, "write_budget", text, rest.stored_writes)

    async def _refresh_budgeted(self, command: Command) -> None:
        """Registers that may wear out are written on change only: what they hold must be known."""
        if self._trusted:
            return
        worn = [write for write in command.writes if write.budgeted]
        self._forget(worn)
        points = {write.name: write.point for write in worn if write.point.readable}
        await self._poller.read_points(points, self._now())

    def _forget(self, writes: Iterable[Write]) -> None:
        """What is known of these registers was read before they were written."""
        for write in writes:
            point = write.point
            self._poller.image.forget(point.space, point.address, point.end - 1)

    async def _write(self, command: Command, needed: tuple[Write, ...]) -> ApplyOutcome:
        done = stored = 0
        trusted, self._trusted = self._trusted, False
        for write in needed:
            try:
                if write.budgeted:
                    self._spend(write)
                    stored += 1
                await self._link.write(write.point.device, write.point.address, write.registers)
            except (DeviceTimeout, VerificationFailed) as error:
                # Unanswered is not unwritten: the device may hold the new value.
                self._forget(needed[: done + 1])
                return PartiallyApplied(done + 1, write.name, str(error), stored)
            except DeviceError as error:
                if not done:
                    self._trusted = trusted
                    return Rejected(str(error))
                self._forget(needed[:done])
                return PartiallyApplied(done, write.name, str(error), stored)
            done += 1
        problem = await self._read_back(command)
        if problem is not None:
            return PartiallyApplied(done, command.writes[-1].name, problem, stored)
        self._trusted = trusted
        mismatch = find_mismatch(self._profile, command, self.reading)
        if mismatch is not None:
            return PartiallyApplied(done, mismatch[0], str(mismatch[1]), stored)
        return Applied(command.power_kw, done, stored)

    def _spend(self, write: Write) -> None:
        """Count a write before it is sent: an unanswered one may have reached the memory too."""
        if self._may_write is not None:
            # What is refused costs nothing; right before it is sent the connection asks again.
            self._may_write()
        self._budget.spend(write.name)

    async def _read_back(self, command: Command) -> str | None:
        """Read what was written; why that was not possible, or None."""
        # What was sent proves nothing: only what is read now may count as held.
        self._forget(command.writes)
        try:
            points = read_back_points(self._profile, command)
            await self._poller.read_points(points, self._now())
        except DeviceError as error:
            return f"could not be read back: {error}"
        return None
