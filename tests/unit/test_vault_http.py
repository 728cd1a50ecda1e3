"""Vault over HTTP: whose certificate is believed, what is sent along, and what is made of odd answers."""

from __future__ import annotations

import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from actas import Settings
from actas.errors import SettingsError, VaultDenied, VaultUnavailable
from actas.vault import installing
from actas.vault.installing import VaultInstaller
from actas.vault.room import VaultRoom
from tests.support import eventually
from tests.unit.peer import http_reply


class Denying(http.server.BaseHTTPRequestHandler):
    """Says no to everything: enough to tell whether it was reached."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(403)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET = do_PUT  # noqa: N815 - the names http.server looks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A private authority's certificate for 127.0.0.1, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a private authority")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "server.pem").write_bytes(private + made.public_bytes(Encoding.PEM))
    (tmp_path / "authority.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return tmp_path


@pytest.fixture
def address(certificate: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.pem")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Denying) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a refused handshake is what we are after
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def settings_for(address: str, **more: object) -> Settings:
    return Settings.model_validate(
        {
            "mongodb_url": "mongodb://localhost/actas",
            "vault_addr": address,
            "vault_role_id": "role",
            "vault_secret_id": "canary",
            **more,
        }
    )


def ask(settings: Settings) -> None:
    room = VaultRoom(settings)
    try:
        room.sign("demo", [b"x"], version=1)
    finally:
        room.close()


def test_an_authority_nobody_named_is_not_believed(address):
    with pytest.raises(VaultUnavailable, match="SSLError"):
        ask(settings_for(address))


def test_an_authority_named_by_the_settings_is_believed(address, certificate):
    with pytest.raises(VaultDenied):  # reached, and refused: that is Vault's word
        ask(settings_for(address, vault_ca_file=certificate / "authority.pem"))


def test_an_authority_that_is_gone_again_is_an_outage(address, certificate):
    """requests says so with a plain OSError, for each call anew."""
    file = certificate / "authority.pem"
    settings = settings_for(address, vault_ca_file=file)
    file.unlink()
    with pytest.raises(VaultUnavailable, match="OSError"):
        ask(settings)


@pytest.mark.parametrize("file", ["nowhere.pem", ".", "not-one.pem"])
def test_the_installer_refuses_an_authority_that_is_none(address, tmp_path, monkeypatch, file):
    (tmp_path / "not-one.pem").write_text("canary")
    monkeypatch.setenv("VAULT_CACERT", str(tmp_path / file))
    with pytest.raises(SettingsError, match="VAULT_CACERT"):
        VaultInstaller(address, SecretStr("canary"))


def test_for_the_installer_too_an_authority_that_is_gone_again_is_an_outage(address, tmp_path, monkeypatch):
    monkeypatch.setenv("VAULT_CACERT", str(tmp_path / "nowhere.pem"))
    monkeypatch.setattr(installing, "holds_certificates", lambda _: True)
    with pytest.raises(VaultUnavailable, match="OSError"):
        VaultInstaller(address, SecretStr("canary"))


def test_a_plain_error_of_a_library_is_an_outage_without_its_text(address, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise ValueError("canary")

    monkeypatch.setattr(requests.Session, "request", fail)
    for go in (lambda: ask(settings_for(address)), lambda: VaultInstaller(address, SecretStr("canary"))):
        with pytest.raises(VaultUnavailable, match="ValueError") as outage:
            go()
        assert "canary" not in str(outage.value)


# --- what is sent along ---


@pytest.fixture
def anothers_token(tmp_path, monkeypatch):
    """Where vault's own console, and hvac, look for a token: nothing that is ours."""
    (tmp_path / ".vault-token").write_text("canary")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAULT_TOKEN", "canary")
    return monkeypatch


@pytest.mark.parametrize("name", ["VAULT_TOKEN", "none"])
def test_a_token_that_lies_about_is_not_sent_with_the_sign_in(peer, anothers_token, name):
    if name == "none":
        anothers_token.delenv("VAULT_TOKEN")
    vault = peer(403, b"{}")
    with pytest.raises(VaultDenied):
        ask(settings_for(vault.url))
    assert b'"secret_id"' in vault.body
    assert "x-vault-token" not in vault.headers


# --- what is made of odd answers ---


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (200, b"<h1>Welcome</h1>", VaultUnavailable, "not Vault"),  # a proxy's page
        (204, b"", VaultUnavailable, "not Vault"),
        (200, b'{"status": "ok"}', VaultUnavailable, "not Vault"),
        (200, b"[]", VaultUnavailable, "not Vault"),
        (200, b"null", VaultUnavailable, "not Vault"),
        (
            400,
            b'{"errors": ["canary"]}',
            VaultDenied,
            "refused what was asked",
        ),  # a key that does not fit: it must be mended
        (302, b"", VaultUnavailable, "not Vault"),
        (503, b'{"errors": ["canary"]}', VaultUnavailable, "sealed"),
    ],
)
def test_an_odd_answer_is_an_outage_or_a_refusal_and_its_text_is_not_shown(peer, status, body, error, says):
    vault = peer(status, body)
    settings = settings_for(vault.url, vault_token=SecretStr("t"), env="development")
    with closing(VaultRoom(settings)) as room, pytest.raises(error, match=says) as caught:
        room.sign("blog", [b"x"], version=1)
    assert "canary" not in repr(caught.value)
    with closing(VaultRoom(settings_for(vault.url))) as signing_in, pytest.raises(error) as caught:
        signing_in.check() if error is VaultUnavailable else signing_in.sign("blog", [b"x"], version=1)
    assert "canary" not in repr(caught.value)


# --- one signs in, the others wait ---


class Counted:
    """A lock that knows who has come to it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.came = 0

    def __enter__(self) -> None:
        self.came += 1
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_those_who_waited_for_one_sign_in_share_its_failure(peer):
    """A Vault that hangs keeps its one caller for a timeout, and not sixty-four of them for one each, in a row."""
    counted, threads = Counted(), 8

    def answer(connection):
        eventually(lambda: counted.came >= threads, what="all of them want to sign in")
        connection.sendall(http_reply(503, b'{"errors": ["Vault is sealed"]}', "Content-Type: application/json"))

    sealed = peer(answer)
    with closing(VaultRoom(settings_for(sealed.url))) as room, ThreadPoolExecutor(threads) as pool:
        room._lock = counted
        asked = [pool.submit(room.public_keys, "actas-app-a") for _ in range(threads)]
        assert {type(each.exception()) for each in asked} == {VaultUnavailable}
        assert len(sealed.requests) == 1
        # Who comes later tries anew: a failure is shared, not kept.
        with pytest.raises(VaultUnavailable):
            room.public_keys("actas-app-a")
        assert len(sealed.requests) == 2
