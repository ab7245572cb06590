"""Login to Huawei SUN2000 inverters and SDongles: challenge and response, both ways.

Neither side sends the password: each signs the other's random bytes with a key made of it. The
functions for the device's side are here too, so that a simulator speaks the same frames.

Frames, after function code 0x41 and the subfunction; every one begins with the number of bytes
that follow it:

===========  ======  ======================================================
subfunction  from    content
===========  ======  ======================================================
0x24         client  one byte 0
0x24         device  challenge of 16 bytes, one more byte
0x25         client  challenge of 16 bytes, length and user, length and MAC
0x25         device  0 for success, length and MAC; or another status
===========  ======  ======================================================

MAC = HMAC-SHA256(key = SHA256(password), message = challenge of the other side).

Source: frames quoted in biemond/solaredge.modbus#76 and the vendor example in the documentation
of tmodbus; not checked on hardware. The status of the last frame is where drivers of several
generations agree (0 is success); what the 17th byte of the first answer means is not known.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from bessai.devices.logins import Credentials, Line
from bessai.errors import DeviceError, ProtocolError, RegisterRejected

FUNCTION: Final = 0x41
CHALLENGE: Final = 0x24
LOGIN: Final = 0x25
NONCE_BYTES: Final = 16
MAC_BYTES: Final = 32
_SUCCESS: Final = 0
_FAILURE: Final = 1
_LONGEST_USER: Final = 0xFF - NONCE_BYTES - MAC_BYTES - 2


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """What a client sends to prove that it knows the password."""

    challenge: bytes
    user: str
    mac: bytes


async def login(line: Line, credentials: Credentials) -> None:
    """Log in, and check that the device knows the password as well.

    Raises:
        DeviceTimeout: no answer.
        DeviceError: wrong user or password, or a device that only pretends to know it.
    """
    if not 1 <= len(credentials.user.encode()) <= _LONGEST_USER:
        raise DeviceError(f"must be 1 to {_LONGEST_USER} bytes long", field="credentials.user")
    nonce = secrets.token_bytes(NONCE_BYTES)
    try:
        theirs = read_challenge(await line.execute(challenge_request()))
        request = LoginRequest(nonce, credentials.user, mac(credentials.password, theirs))
        proof = read_result(await line.execute(login_request(request)))
    except RegisterRejected as error:
        raise DeviceError(
            f"{line.address} refuses the login ({error.message})",
            field="connection.login",
            fix="remove the credentials if this device wants none, or wait if it counts failures",
        ) from error
    except ProtocolError as error:
        raise DeviceError(f"{line.address}: {error}", field="connection.login") from error
    if proof is None:
        raise DeviceError(
            f"{line.address} does not accept them",
            field="credentials.user and credentials.password",
            fix="use the installer's account, as in the vendor's app; a few failures lock it",
        )
    if not hmac.compare_digest(proof, mac(credentials.password, nonce)):
        raise DeviceError(
            f"{line.address} accepts the login but does not prove that it knows the password",
            field="connection.login",
            fix="check that this address is the inverter",
        )


def mac(password: str, challenge: bytes) -> bytes:
    """What only someone who knows the password can answer; 32 bytes."""
    key = hashlib.sha256(password.encode()).digest()
    return hmac.digest(key, challenge, "sha256")


def challenge_request() -> bytes:
    """PDU that asks the device for its challenge."""
    return _pdu(CHALLENGE, bytes((0,)))


def challenge_answer(challenge: bytes) -> bytes:
    """The device's answer to it."""
    return _pdu(CHALLENGE, challenge + bytes((0,)))


def read_challenge(pdu: bytes) -> bytes:
    """The 16 bytes of a challenge answer.

    Raises:
        ProtocolError: something else.
    """
    content = _content(pdu, CHALLENGE)
    if len(content) < NONCE_BYTES:
        raise ProtocolError("the challenge is too short", value=f"{len(content)} bytes")
    return content[:NONCE_BYTES]


def login_request(request: LoginRequest) -> bytes:
    """PDU that logs in."""
    user = request.user.encode()
    parts = (request.challenge, bytes((len(user),)), user, bytes((len(request.mac),)), request.mac)
    return _pdu(LOGIN, b"".join(parts))


def read_login(pdu: bytes) -> LoginRequest:
    """What a login PDU asks.

    Raises:
        ProtocolError: something else.
    """
    content = _content(pdu, LOGIN)
    user, rest = _prefixed(content[NONCE_BYTES:])
    proof, rest = _prefixed(rest)
    if rest:
        raise ProtocolError("bytes after the end of a login", value=str(len(rest)))
    return LoginRequest(content[:NONCE_BYTES], user.decode(errors="replace"), proof)


def login_answer(request: LoginRequest, credentials: Credentials, challenge: bytes) -> bytes:
    """The device's answer: its own proof, or a refusal.

    Args:
        request: What the client sent.
        credentials: What the device knows.
        challenge: What the device sent to this client before.
    """
    right_user = hmac.compare_digest(request.user.encode(), credentials.user.encode())
    right_mac = hmac.compare_digest(request.mac, mac(credentials.password, challenge))
    if not (right_user and right_mac):
        return _pdu(LOGIN, bytes((_FAILURE, 0)))
    proof = mac(credentials.password, request.challenge)
    return _pdu(LOGIN, bytes((_SUCCESS, len(proof))) + proof)


def read_result(pdu: bytes) -> bytes | None:
    """The device's proof, or None where it refuses.

    Raises:
        ProtocolError: no answer to a login.
    """
    content = _content(pdu, LOGIN)
    if not content:
        raise ProtocolError("the answer to the login is empty")
    if content[0] != _SUCCESS:
        return None
    proof, _ = _prefixed(content[1:])
    return proof


def _pdu(subfunction: int, content: bytes) -> bytes:
    return bytes((FUNCTION, subfunction, len(content))) + content


def _content(pdu: bytes, subfunction: int) -> bytes:
    if len(pdu) < 3 or pdu[:2] != bytes((FUNCTION, subfunction)) or pdu[2] > len(pdu) - 3:
        raise ProtocolError("is no frame of a login", value=pdu[:3].hex() or "nothing")
    return pdu[3 : 3 + pdu[2]]


def _prefixed(data: bytes) -> tuple[bytes, bytes]:
    """The bytes whose number comes first, and what follows them."""
    if not data or data[0] > len(data) - 1:
        raise ProtocolError("a login frame ends too early")
    return data[1 : 1 + data[0]], data[1 + data[0] :]
