"""What only Huawei devices do on the wire: the login, and the list of devices behind a unit.

Source: wlcrs/huawei_solar (sessions, #174 and #1098); Huawei, Solar Inverter Modbus Interface
Definitions (device list, objects 0x87 onwards). Not checked on hardware.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bessai.devices.logins import Credentials
from bessai.devices.logins.huawei import (
    CHALLENGE,
    LOGIN,
    NONCE_BYTES,
    challenge_answer,
    login_answer,
    read_login,
    read_result,
)
from bessai.devices.pdu import HUAWEI_CUSTOM, ExceptionCode, exception_answer
from bessai.errors import ProtocolError
from bessai.units import MonotonicS

PROCEDURE: Final = "huawei"
DEFAULT_CREDENTIALS: Final = Credentials("installer", "00000a")
"""What a device has from the factory, as its manual prints it."""
SESSION_S: Final = 30.0
"""A session without heartbeat ends; clients send one every 15 s. The real length is not known."""
_DEVICE_COUNT: Final = 0x87
_FIRST_DEVICE: Final = 0x88
_PROTOCOL_VERSION: Final = "P1.18-D5.0"


@dataclass(slots=True)
class _Session:
    challenge: bytes = b""
    until: MonotonicS | None = None


class LoginDesk:
    """Sessions by client number; only a client with one may write, where a login is required.

    Args:
        credentials: What the device knows.
        now: Control time in real seconds.
    """

    def __init__(self, credentials: Credentials, now: Callable[[], MonotonicS]) -> None:
        self._credentials = credentials
        self._now = now
        self._sessions: dict[int, _Session] = {}

    def answer(self, client: int, pdu: bytes) -> bytes:
        """Answer to function 0x41; its file transfers are not there."""
        session = self._sessions.setdefault(client, _Session())
        subfunction = pdu[1] if len(pdu) > 1 else None
        if subfunction == CHALLENGE:
            session.challenge = secrets.token_bytes(NONCE_BYTES)
            return challenge_answer(session.challenge)
        if subfunction == LOGIN and session.challenge:
            return self._log_in(session, pdu)
        return exception_answer(HUAWEI_CUSTOM, ExceptionCode.ILLEGAL_VALUE)

    def is_open(self, client: int) -> bool:
        """Whether the client is logged in."""
        session = self._sessions.get(client)
        return session is not None and session.until is not None and self._now() < session.until

    def keep(self, client: int) -> None:
        """Take a heartbeat."""
        session = self._sessions.get(client)
        if session is not None and self.is_open(client):
            session.until = MonotonicS(self._now() + SESSION_S)

    def forget(self, client: int) -> None:
        """The client left."""
        self._sessions.pop(client, None)

    def _log_in(self, session: _Session, pdu: bytes) -> bytes:
        challenge, session.challenge = session.challenge, b""
        try:
            answer = login_answer(read_login(pdu), self._credentials, challenge)
        except ProtocolError:
            return exception_answer(HUAWEI_CUSTOM, ExceptionCode.ILLEGAL_VALUE)
        if read_result(answer) is not None:
            session.until = MonotonicS(self._now() + SESSION_S)
        return answer


def device_list(model: str, serial: str, firmware: str, unit_id: int) -> dict[int, bytes]:
    """Identification objects: how many devices there are, and one text for each."""
    fields = {
        1: model,
        2: firmware,
        3: _PROTOCOL_VERSION,
        4: serial,
        5: str(unit_id),
        6: "1",
        8: model.split("-", maxsplit=1)[0],
    }
    text = ";".join(f"{number}={value}" for number, value in fields.items())
    return {_DEVICE_COUNT: bytes((1,)), _FIRST_DEVICE: text.encode("ascii", errors="replace")}
