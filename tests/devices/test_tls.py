"""Modbus/TCP Security from the client's side: real certificates, right and wrong ones."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bessai.config.profile import MAIN, Connection, Space, Table
from bessai.devices.connection import ModbusConnection
from bessai.devices.mbap import Exchange, ModbusServer
from bessai.devices.tls import TlsSettings, client_context
from bessai.errors import ConfigError, DeviceError, DeviceTimeout
from tests.support.modbus_raw import HOST, Bank, serving, until

HOLDING = Space(MAIN, Table.HOLDING)
PEM = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates and writes them to files."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    name: x509.Name

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def sign(
        self, subject: str, names: Sequence[x509.GeneralName], *, days: int = 1, secret: bytes = b""
    ) -> tuple[Path, Path]:
        """Certificate and key file of ``subject``."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(_name(subject), self.name, key, self.key, names, days)
        lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if secret:
            lock = serialization.BestAvailableEncryption(secret)
        certificate_file = self.folder / f"{subject}.pem"
        key_file = self.folder / f"{subject}.key"
        certificate_file.write_bytes(made.public_bytes(PEM))
        key_file.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, lock))
        return certificate_file, key_file


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    days: int,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=key is signer, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if key is not signer:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(authority, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def authority(folder: Path) -> Authority:
    folder.mkdir()
    key, name = ec.generate_private_key(ec.SECP256R1()), _name("test authority")
    made = Authority(folder, key, name)
    made.file.write_bytes(_certificate(name, name, key, key, (), 1).public_bytes(PEM))
    return made


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture(scope="module")
def inverter(ca: Authority) -> tuple[Path, Path]:
    return ca.sign(
        "inverter", [x509.IPAddress(IPv4Address(HOST)), x509.DNSName("inverter.example")]
    )


def server_side(files: tuple[Path, Path], clients: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


@pytest.fixture
async def server(inverter: tuple[Path, Path]) -> AsyncIterator[ModbusServer]:
    async with serving(ModbusServer(Bank(), ssl_context=server_side(inverter))) as running:
        yield running


def link_to(server: ModbusServer, tls: TlsSettings | None) -> ModbusConnection:
    return ModbusConnection(HOST, server.port, {MAIN: 1}, Connection(), tls=tls)


def handshakes_ended() -> bool:
    """The server's part of a failed handshake ends a little after the client's."""
    return asyncio.all_tasks() == {asyncio.current_task()}


async def works(link: ModbusConnection) -> bool:
    await link.connect()
    await link.write(MAIN, 5, (1, 2))
    found = await link.read(HOLDING, 5, 2)
    link.close()
    return found == (1, 2)


async def test_a_device_that_proves_its_address_is_talked_to(
    server: ModbusServer, ca: Authority
) -> None:
    assert await works(link_to(server, TlsSettings(ca.file)))


async def test_a_device_may_have_another_name_that_the_site_file_gives(
    server: ModbusServer, ca: Authority
) -> None:
    assert await works(link_to(server, TlsSettings(ca.file, server_name="inverter.example")))
    other = TlsSettings(ca.file, server_name="other.example")
    with pytest.raises(DeviceError, match=r"not trusted \(Hostname mismatch"):
        await link_to(server, other).connect()


async def test_a_device_of_a_stranger_is_not_talked_to(
    server: ModbusServer, tmp_path: Path
) -> None:
    stranger = authority(tmp_path / "stranger")
    link = link_to(server, TlsSettings(stranger.file))
    with pytest.raises(DeviceError, match=r"tls: .* certificate that is not trusted") as error:
        await link.connect()
    assert not isinstance(error.value, DeviceTimeout)
    assert not link.connected


async def test_an_expired_certificate_is_not_trusted(ca: Authority) -> None:
    old = ca.sign("old", [x509.IPAddress(IPv4Address(HOST))], days=-1)
    async with serving(ModbusServer(Bank(), ssl_context=server_side(old))) as server:
        with pytest.raises(DeviceError, match="expired"):
            await link_to(server, TlsSettings(ca.file)).connect()
        await until(handshakes_ended)


async def test_a_device_that_asks_who_we_are_gets_our_certificate(
    inverter: tuple[Path, Path], ca: Authority
) -> None:
    certificate, key = ca.sign("site", ())
    context = server_side(inverter, clients=ca.file)
    async with serving(ModbusServer(Bank(), ssl_context=context)) as server:
        assert await works(link_to(server, TlsSettings(ca.file, certificate, key)))
        nobody = link_to(server, TlsSettings(ca.file))
        with pytest.raises(DeviceError):
            await works(nobody)
        assert not nobody.connected
        await until(handshakes_ended)


async def test_plain_and_secure_do_not_mix(server: ModbusServer, ca: Authority) -> None:
    async with serving(ModbusServer(Bank())) as plain:
        link = ModbusConnection(
            HOST,
            plain.port,
            {MAIN: 1},
            Connection(request_deadline_s=5.0),
            tls=TlsSettings(ca.file),
        )
        with pytest.raises(DeviceError):
            await link.connect()
        await until(handshakes_ended)
    with pytest.raises(DeviceTimeout):
        await works(link_to(server, None))


async def test_old_versions_of_tls_are_refused(inverter: tuple[Path, Path], ca: Authority) -> None:
    context = server_side(inverter)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(ModbusServer(Bank(), ssl_context=context)) as server:
        with pytest.raises(DeviceError, match=r"tls: .* TLS"):
            await link_to(server, TlsSettings(ca.file)).connect()
        await until(handshakes_ended)


async def test_an_answer_in_pieces_is_one_answer(
    inverter: tuple[Path, Path], ca: Authority
) -> None:
    async def in_pieces(exchange: Exchange) -> Sequence[bytes]:
        raw = exchange.frame()
        return [raw[at : at + 1] for at in range(len(raw))]

    context = server_side(inverter)
    async with serving(ModbusServer(Bank(), ssl_context=context, frames=in_pieces)) as server:
        assert await works(link_to(server, TlsSettings(ca.file)))


def test_there_is_no_way_without_checks(ca: Authority) -> None:
    context = client_context(TlsSettings(ca.file))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_files_that_cannot_be_used_are_named(
    ca: Authority, inverter: tuple[Path, Path], tmp_path: Path
) -> None:
    _, key = inverter
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    locked = ca.sign("locked", (), secret=b"pass phrase")
    wrong: list[tuple[str, TlsSettings]] = [
        (r"tls\.ca_file: .*No such file", TlsSettings(tmp_path / "gone.pem")),
        (r"tls\.ca_file: ", TlsSettings(text)),
        (r"tls\.certificate_file: ", TlsSettings(ca.file, text, key)),
        (r"tls\.certificate_file: .*No such file", TlsSettings(ca.file, tmp_path / "gone", key)),
        (r"tls\.certificate_file: .*MISMATCH", TlsSettings(ca.file, ca.file, key)),
        (r"tls\.certificate_file: ", TlsSettings(ca.file, *locked)),
        (r"tls\.key_file: has no certificate", TlsSettings(ca.file, None, key)),
    ]
    for message, settings in wrong:
        with pytest.raises(ConfigError, match=message):
            client_context(settings)
