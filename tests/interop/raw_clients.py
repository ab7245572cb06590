"""pymodbus and pyModbusTCP, used raw: two more clients, and the ways they say no."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.mei_message import ReadDeviceInformationResponse
from pyModbusTCP.client import ModbusClient

from tests.interop.simulator import HOST, Simulator

SECONDS: Final = 5.0
DIRECT: Final = 0
"""Unit id of whoever is connected; Home Assistant asks it for the list of devices."""

Answer = TypeVar("Answer")


class Refused(Exception):
    """The device answered a Modbus exception; its code is the argument."""


class Gone(Exception):
    """The connection ended, or no answer came."""


class RawClient(Protocol):
    """One connection."""

    def read(self, address: int, count: int) -> list[int]:
        """Holding registers, by function 3."""
        ...

    def write(self, address: int, words: Sequence[int]) -> None:
        """One register by function 6, several by function 16."""
        ...

    def devices(self) -> dict[int, bytes]:
        """Identification objects from 0x87 on, of unit 0, by function 0x2B/0x0E, code 3."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class PyModbus:
    """pymodbus, synchronous, without retries."""

    def __init__(self, simulator: Simulator) -> None:
        self._unit_id = simulator.unit_id
        self._client = ModbusTcpClient(HOST, port=simulator.port, timeout=SECONDS, retries=0)
        assert self._client.connect()  # type: ignore[no-untyped-call]

    def read(self, address: int, count: int) -> list[int]:
        """Holding registers."""
        try:
            answer = self._client.read_holding_registers(
                address, count=count, device_id=self._unit_id
            )
        except ModbusException as error:
            raise Gone from error
        return list(_accepted(answer).registers)

    def write(self, address: int, words: Sequence[int]) -> None:
        """One register or several."""
        if len(words) == 1:
            _accepted(self._client.write_register(address, words[0], device_id=self._unit_id))
        else:
            _accepted(self._client.write_registers(address, list(words), device_id=self._unit_id))

    def devices(self) -> dict[int, bytes]:
        """Objects from 0x87 on."""
        answer = _accepted(
            self._client.read_device_information(read_code=3, object_id=0x87, device_id=DIRECT)
        )
        assert isinstance(answer, ReadDeviceInformationResponse)
        return dict(answer.information)

    def close(self) -> None:
        """End the connection."""
        self._client.close()  # type: ignore[no-untyped-call]


class PyModbusTcp:
    """pyModbusTCP, which shares no code with pymodbus."""

    def __init__(self, simulator: Simulator) -> None:
        self.client = ModbusClient(
            HOST, simulator.port, simulator.unit_id, timeout=SECONDS, auto_open=False
        )
        assert self.client.open()

    def read(self, address: int, count: int) -> list[int]:
        """Holding registers."""
        return list(self._checked(self.client.read_holding_registers(address, count)))

    def write(self, address: int, words: Sequence[int]) -> None:
        """One register or several."""
        if len(words) == 1:
            self._checked(self.client.write_single_register(address, words[0]) or None)
        else:
            self._checked(self.client.write_multiple_registers(address, list(words)) or None)

    def devices(self) -> dict[int, bytes]:
        """Objects from 0x87 on."""
        unit_id, self.client.unit_id = self.client.unit_id, DIRECT
        answer = self._checked(self.client.read_device_identification(3, 0x87))
        self.client.unit_id = unit_id
        return dict(answer.objects_by_id)

    def custom(self, pdu: bytes) -> bytes:
        """Any request."""
        return bytes(self._checked(self.client.custom_request(pdu)))

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    def _checked(self, answer: Answer | None) -> Answer:
        if answer is None:
            raise Refused(self.client.last_except) if self.client.last_except else Gone
        return answer


@contextmanager
def connected(
    kind: type[PyModbus] | type[PyModbusTcp], simulator: Simulator
) -> Iterator[RawClient]:
    """A client that is closed in the end."""
    client = kind(simulator)
    try:
        yield client
    finally:
        client.close()


def _accepted(answer: ModbusPDU) -> ModbusPDU:
    if answer.isError():
        raise Refused(answer.exception_code)
    return answer
