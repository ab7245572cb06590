"""A connection for looking around: asks nothing twice, and comes back after a silence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bessai.config.profile import MAIN, Connection, Space
from bessai.devices.codec import Registers
from bessai.devices.connection import ModbusConnection
from bessai.errors import DeviceBusy, DeviceError, DeviceTimeout

_ASK_WHO: Final = bytes((0x2B, 0x0E, 0x01, 0x00))
"""Read device identification, basic stream (Modbus Application Protocol V1.1b3, section 6.21)."""
_OBJECTS_AT: Final = 7


@dataclass(slots=True)
class CarefulLine:
    """One port of a host, whose unit id may be changed between requests.

    Attributes:
        host, port: Where to connect to.
        settings: The most careful habits of the families that are looked for.
        answers: Whether the present unit has answered anything, a refusal included.
    """

    host: str
    port: int
    settings: Connection
    answers: bool = False
    _link: ModbusConnection = field(init=False)
    _unit_id: int = field(default=0, init=False)
    _known: dict[tuple[int, Space, int, int], Registers | DeviceError] = field(
        default_factory=dict, init=False
    )
    _asks_who: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        self._link = ModbusConnection(self.host, self.port, {MAIN: 0}, self.settings)

    @property
    def address(self) -> str:
        """``host:port``."""
        return self._link.address

    def use_unit(self, device: str, unit_id: int) -> None:
        """Talk to this unit from now on."""
        self._link.use_unit(device, unit_id)
        self._unit_id, self.answers = unit_id, False

    async def connect(self) -> None:
        """Open the link where it is closed."""
        if not self._link.connected:
            await self._link.connect()

    def close(self) -> None:
        """Close the link; the next read opens it again."""
        self._link.close()

    async def read(self, space: Space, address: int, count: int) -> Registers:
        """Read registers, or say again what came of it before."""
        key = (self._unit_id, space, address, count)
        if key not in self._known:
            await self.connect()
            self._known[key] = await self._ask(space, address, count)
        found = self._known[key]
        self.answers = self.answers or not isinstance(found, DeviceTimeout)
        if isinstance(found, DeviceError):
            raise found
        return found

    async def _ask(self, space: Space, address: int, count: int) -> Registers | DeviceError:
        try:
            return await self._link.read(space, address, count)
        except DeviceBusy:
            self.answers = True
            raise
        except DeviceError as error:
            return error

    async def who(self) -> str:
        """What the unit calls itself by function 43/14; empty where it does not say."""
        if not self._asks_who:
            return ""
        try:
            await self.connect()
            answer = await self._link.exchange(_ASK_WHO, unit_id=self._unit_id)
        except DeviceTimeout:
            self._asks_who = False  # some devices are silent to functions they do not know
            return ""
        return who_of(answer)


def who_of(answer: bytes) -> str:
    """Maker, product and version of an answer to function 43/14; empty for any other answer."""
    if answer[:2] != _ASK_WHO[:2] or len(answer) < _OBJECTS_AT:
        return ""
    texts, at = [], _OBJECTS_AT
    while at + 1 < len(answer):
        size = answer[at + 1]
        texts.append(answer[at + 2 : at + 2 + size].decode("ascii", errors="replace"))
        at += 2 + size
    return " ".join(text for raw in texts if (text := raw.strip("\0 ")))
