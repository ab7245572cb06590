"""A site's inverter over Modbus TCP, driven by its profile; it executes and never decides when."""

from __future__ import annotations

from collections.abc import Callable

from bessai.config.profile import DeviceProfile, ReadBlock
from bessai.devices.codec import RegisterImage, decode_text, raw_value
from bessai.devices.connection import ModbusConnection
from bessai.devices.program import Command, Write, power_command, release_command
from bessai.devices.telemetry import check_mapping, to_telemetry
from bessai.errors import DeviceError, DeviceTimeout, VerificationFailed
from bessai.model import DeviceIdentity, SiteId, Telemetry
from bessai.model.outcome import Applied, ApplyOutcome, PartiallyApplied, Rejected
from bessai.units import MonotonicS


class ModbusInverter:
    """One inverter with its battery and meter; implements :class:`bessai.ports.SiteDevice`.

    Args:
        site_id: Site that owns the connection.
        host: Name or address of the device.
        port: TCP port.
        unit_id: Modbus unit id, 0-247.
        profile: Register map, limits and habits of the device family.
        now: Control time.

    Raises:
        ConfigError: the profile maps an unknown telemetry field.
    """

    def __init__(
        self,
        site_id: SiteId,
        host: str,
        port: int,
        unit_id: int,
        profile: DeviceProfile,
        *,
        now: Callable[[], MonotonicS],
    ) -> None:
        check_mapping(profile)
        self._site_id = site_id
        self._profile = profile
        self._now = now
        self._link = ModbusConnection(host, port, unit_id, profile.connection)
        self._held = RegisterImage()

    @property
    def address(self) -> str:
        """``host:port`` of the device."""
        return self._link.address

    async def connect(self) -> DeviceIdentity:
        """Open the connection and identify the device.

        Raises:
            DeviceTimeout: nothing answers.
            DeviceError: something else than the profile's device answers.
        """
        self._held = RegisterImage()
        await self._link.connect()
        try:
            return await self._identify()
        except DeviceError:
            self._link.close()
            raise

    async def read_telemetry(self) -> Telemetry:
        """Read all blocks; a block whose condition does not hold is skipped.

        Raises:
            DeviceError: any block failed; there are no partly old values.
        """
        measured_at = self._now()
        image = RegisterImage()
        self._held = RegisterImage()
        for block in self._profile.telemetry_blocks:
            if self._wanted(block, image):
                image.store(block.address, await self._link.read(block.address, block.count))
        self._held = image
        return to_telemetry(self._site_id, measured_at, self._profile, image)

    async def apply_power(self, power_kw: float) -> ApplyOutcome:
        """Command charge (-), discharge (+) or hold (0) in whole watts and read it back.

        ``Applied.power_kw`` is what the device now holds: ``power_kw`` rounded towards zero.
        """
        try:
            command = power_command(self._profile, power_kw)
        except DeviceError as error:
            return Rejected(str(error))
        return await self._execute(command)

    async def release(self) -> ApplyOutcome:
        """Return the device to its own working mode and read it back."""
        return await self._execute(release_command(self._profile))

    async def close(self) -> None:
        """Close the connection; never raises."""
        self._link.close()

    async def _identify(self) -> DeviceIdentity:
        image = RegisterImage()
        for block in self._profile.identification_blocks:
            image.store(block.address, await self._link.read(block.address, block.count))
        wanted = self._profile.identification
        model = self._text(wanted.model_point, image)
        if not model.startswith(wanted.model_prefixes):
            raise DeviceError(
                f"{self.address} is no {' or '.join(wanted.model_prefixes)}",
                field=wanted.model_point,
                value=repr(model),
                fix="check the address, or choose the profile of this device",
            )
        return DeviceIdentity(
            model=model,
            serial_number=self._text(wanted.serial_point, image),
            firmware=self._text(wanted.firmware_point, image),
        )

    def _text(self, point: str, image: RegisterImage) -> str:
        registers = image.registers(self._profile.points[point])
        return "" if registers is None else decode_text(registers)

    def _wanted(self, block: ReadBlock, image: RegisterImage) -> bool:
        if block.requires is None:
            return True
        point = self._profile.points[block.requires]
        registers = image.registers(point)
        return registers is not None and raw_value(point, registers) == block.equals

    async def _execute(self, command: Command) -> ApplyOutcome:
        writes = 0
        for write in command.needed(self._held):
            if not self._link.connected:
                return _failed(writes, write, f"{self.address} is not connected")
            try:
                await self._link.write(write.point.address, write.registers)
            except DeviceTimeout as error:
                # Unanswered is not unwritten: the device may hold the new value.
                return PartiallyApplied(writes + 1, write.name, str(error))
            except DeviceError as error:
                return _failed(writes, write, str(error))
            writes += 1
            self._held.store(write.point.address, write.registers)
        return await self._verify(command, writes)

    async def _verify(self, command: Command, writes: int) -> ApplyOutcome:
        seen = RegisterImage()
        last = command.writes[-1]
        try:
            for block in command.blocks(self._profile):
                registers = await self._link.read(block.address, block.count)
                seen.store(block.address, registers)
                self._held.store(block.address, registers)
        except DeviceError as error:
            return PartiallyApplied(writes, last.name, f"could not be read back: {error}")
        for write in command.writes:
            if seen.registers(write.point) != write.registers:
                return PartiallyApplied(writes, write.name, str(_mismatch(write, seen)))
        return Applied(command.power_kw, writes)


def _failed(writes: int, write: Write, error: str) -> ApplyOutcome:
    return PartiallyApplied(writes, write.name, error) if writes else Rejected(error)


def _mismatch(write: Write, seen: RegisterImage) -> VerificationFailed:
    found = seen.registers(write.point)
    return VerificationFailed(
        f"reads back {_shown(write, found)} instead of {_shown(write, write.registers)}",
        field=f"{write.name} (register {write.point.address})",
    )


def _shown(write: Write, registers: tuple[int, ...] | None) -> str:
    return "nothing" if registers is None else str(raw_value(write.point, registers))
