"""Modbus/TCP Security: our server with a TLS context, asked by streams and by pymodbus."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pymodbus.client import AsyncModbusTlsClient

from bessai.devices.mbap import ModbusServer, frame
from tests.support.modbus_raw import HOST, READ_ONE, Bank, dial, serving


@pytest.fixture
async def bank() -> Bank:
    return Bank()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate for the loopback address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated inverter")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(HOST))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(pem)
    )
    return path


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_tls_serves_clients_that_trust_the_certificate_and_no_others(
    bank: Bank, certificate: Path
) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    async with serving(ModbusServer(bank, ssl_context=server_tls(certificate))) as server:
        client = await dial(server, trusting)
        assert await client.ask(READ_ONE) == b"\x03\x02\x00\x00"
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(server, ssl.create_default_context())
        plain = await dial(server)
        plain.writer.write(frame(1, 1, READ_ONE))
        # What comes back is a TLS alert at most.
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                assert not (await plain.reader.read()).startswith(b"\0\1\0\0")
        await plain.close()
        foreign = AsyncModbusTlsClient(
            HOST, port=server.port, sslctx=trusting, retries=0, timeout=10
        )
        assert await foreign.connect()
        assert (await foreign.read_holding_registers(0, count=2)).registers == [0, 0]
        foreign.close()
        server.drop_clients()
        assert await client.ended()
        await client.close()


async def test_stop_does_not_wait_for_a_tls_client_that_says_no_goodbye(
    bank: Bank, certificate: Path
) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    async with serving(ModbusServer(bank, ssl_context=server_tls(certificate))) as server:
        client = await dial(server, trusting)
        assert await client.ask(READ_ONE) == b"\x03\x02\x00\x00"
        cast("asyncio.ReadTransport", client.writer.transport).pause_reading()
        server.drop_clients()
        async with asyncio.timeout(10):
            await server.stop()
        client.writer.transport.abort()


async def test_connections_that_are_cancelled_do_not_wait_for_their_clients(
    bank: Bank, certificate: Path
) -> None:
    """What the end of ``asyncio.run`` does to a server that nobody stopped."""
    trusting = ssl.create_default_context(cafile=certificate)

    def ask(port: int) -> ssl.SSLSocket:
        client = trusting.wrap_socket(socket.create_connection((HOST, port)), server_hostname=HOST)
        client.sendall(frame(1, 1, READ_ONE))
        assert client.recv(64) == frame(1, 1, b"\x03\x02\x00\x00")
        return client

    async with serving(ModbusServer(bank, ssl_context=server_tls(certificate))) as server:
        client = await asyncio.to_thread(ask, server.port)
        (connection,) = asyncio.all_tasks() - {asyncio.current_task()}
        connection.cancel()
        # Without our abort TLS waits half a minute for the client's goodbye.
        await asyncio.wait([connection], timeout=15)
        assert connection.cancelled()
        client.close()
