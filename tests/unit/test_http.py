"""The one bounded request: what is said of it, whatever the other side does."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import ssl
import threading
import time
import traceback
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from actas.http import MAX_REPLY_BYTES, Http, NoReply, NotSent, NotWritten, Reply, ReplyTooLarge
from actas.unshown import in_clear
from tests.unit.peer import http_reply, reset

CANARY = "canary-secret"

#: What a request carries that must never be shown.
SECRETS = {"headers": {"Authorization": f"Bearer {CANARY}"}, "form": {"refresh_token": CANARY}}

#: Between the end of a request's time and our noticing it, on a machine that stalls. A peer that shall be too slow must
#: outlast a request's time by more than this, or its test cannot fail.
SLACK = 5


@pytest.fixture
def http():
    http = Http()
    yield http
    http.close()


def failure(http: Http, url: str, *, seconds: float = 5) -> NotSent | NoReply:
    """How a request fails; within its time, and showing nothing of what it carried."""
    began = time.monotonic()
    with pytest.raises((NotSent, NoReply)) as caught:
        http.send("POST", url, seconds=seconds, **SECRETS)
    assert time.monotonic() - began < seconds + SLACK
    shown = [str(caught.value), repr(caught.value), *traceback.format_exception(caught.value)]
    assert "canary" not in "".join(shown)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


# --- certainly not sent ---


def test_nobody_listening_means_not_sent(http):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # holds the port, and does not listen
        assert type(failure(http, f"http://127.0.0.1:{taken.getsockname()[1]}")) is NotSent


def test_no_answer_to_connecting_means_not_sent(http):
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):  # fill its backlog; it never accepts
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        assert type(failure(http, f"http://127.0.0.1:{full.getsockname()[1]}", seconds=0.5)) is NotSent


def test_no_free_connection_in_time_means_not_sent(peer):
    http, busy = Http(connections=1), threading.Event()

    def hold(connection):
        busy.set()
        closing.wait(10)
        connection.sendall(http_reply(200, b""))

    closing, slow = threading.Event(), peer(hold)
    first = threading.Thread(target=lambda: http.send("GET", slow.url, seconds=20))
    first.start()
    assert busy.wait(10)
    assert type(failure(http, slow.url, seconds=0.3)) is NotSent
    closing.set()
    first.join(10)
    assert len(slow.requests) == 1
    http.close()


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/x", "127.0.0.1/x", "/x", "", "http://", "http://127.0.0.1/\x00", "http://[::1"]
)
def test_an_address_that_is_none_means_not_sent(http, url):
    assert isinstance(failure(http, url), NotSent)


@pytest.mark.parametrize("value", [f"Bearer {CANARY}é", f"Bearer {CANARY}\ud800"])
def test_a_header_that_cannot_be_written_means_not_sent(http, peer, value):
    there = peer(200)
    with pytest.raises(NotWritten) as caught:
        http.send("GET", there.url, seconds=5, headers={"Authorization": value})
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert there.requests == []


def certificate(path):
    """A certificate for 127.0.0.1 that nobody vouches for."""
    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    path.write_bytes(pem)
    return path


def test_a_server_nobody_vouches_for_gets_nothing(http, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path / "server.pem"))
    received = []

    def serve(listening):
        connection, _ = listening.accept()
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                received.append(secured.recv(1))
        except (ssl.SSLError, ConnectionError) as error:
            received.append(type(error))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve, args=(listening,))
        serving.start()
        assert type(failure(http, f"https://localhost:{listening.getsockname()[1]}/")) is NotSent
        serving.join(10)
    assert received != []
    assert not isinstance(received[0], bytes) or received[0] == b""


def test_a_server_without_tls_gets_nothing(http, peer):
    there = peer(200)
    assert type(failure(http, there.url.replace("http:", "https:"), seconds=0.5)) is NotSent
    assert not any(b"canary" in request for request in there.requests)


# --- nobody can know ---


def promise(connection: socket.socket, length: int) -> None:
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())


def drip(connection: socket.socket, data: bytes, *, for_seconds: float = 9) -> None:
    ends_at = time.monotonic() + for_seconds
    while time.monotonic() < ends_at:
        connection.sendall(data)
        time.sleep(0.05)


def silence(_):
    threading.Event().wait(9)


def drip_status(connection):
    drip(connection, b"H")


def drip_headers(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    drip(connection, b"x: y\r\n")


def drip_interim(connection):
    drip(connection, b"HTTP/1.1 102 Processing\r\n\r\n")


def drip_body(connection):
    promise(connection, 1000)
    drip(connection, b"x")


def drip_chunks(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    drip(connection, b"1\r\nx\r\n")


def stall_late(connection):
    """Each part is within the time of one read; all of them together are not.

    The pause is longer than SLACK: were the second read given the whole time again, that would be too late.
    """
    time.sleep(SLACK + 0.5)
    promise(connection, 1000)
    silence(connection)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (silence, 0.5),
        (drip_status, 0.5),
        (drip_headers, 0.5),
        (drip_interim, 0.5),
        (drip_body, 0.5),
        (drip_chunks, 0.5),
        (stall_late, SLACK + 1),
    ],
)
def test_a_peer_too_slow_with_any_part_of_its_reply_ends_in_time_as_no_reply(http, peer, answer, seconds):
    there = peer(answer)
    assert type(failure(http, there.url, seconds=seconds)) is NoReply
    assert len(there.requests) == 1


def cut_body(connection):
    promise(connection, 100)
    connection.sendall(b"x")
    connection.close()


def garbage(connection):
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    connection.close()


def endless_headers(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000)


def endless_body(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000_000)
    connection.close()


def large_body(connection):
    promise(connection, 10_000_000)
    connection.sendall(b"x" * 10_000_000)


def bomb(connection):
    connection.sendall(http_reply(200, gzip.compress(b"\0" * 10_000_000), "Content-Encoding: gzip"))


def not_gzip(connection):
    connection.sendall(http_reply(200, b"plain", "Content-Encoding: gzip"))


@pytest.mark.parametrize(
    "answer", [reset, socket.socket.close, cut_body, garbage, endless_headers, endless_body, large_body, bomb, not_gzip]
)
def test_a_reply_that_does_not_come_whole_is_no_reply(http, peer, answer):
    there = peer(answer)
    large = answer in {endless_body, large_body, bomb}
    assert type(failure(http, there.url)) is (ReplyTooLarge if large else NoReply)
    assert len(there.requests) == 1, "never sent twice"


def test_after_a_failure_the_next_request_gets_its_own_reply(http, peer):
    """What is left of a broken reply must not be read as the beginning of another."""
    replies = iter([b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 2_000_000, http_reply(201, b"mine")])
    there = peer(lambda connection: connection.sendall(next(replies)))
    failure(http, there.url)
    reply = http.send("GET", there.url, seconds=5)
    assert (reply.status, reply.body) == (201, b"mine")


# --- replies ---


def test_a_reply_is_returned_whole(http, peer):
    body = b"x" * MAX_REPLY_BYTES
    reply = http.send("GET", peer(418, body, "X-Some: thing").url, seconds=5)
    assert (reply.status, reply.body, reply.headers["x-SOME"]) == (418, body, "thing")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(http, peer, status):
    elsewhere = peer(200)
    reply = http.send("POST", peer(status, b"", f"Location: {elsewhere.url}/").url, seconds=5, **SECRETS)
    assert reply.status == status
    assert elsewhere.connections == 0


@pytest.mark.parametrize("target", ["mailto:a@b", "https:[", "http://xn--a", "//[::1", "http://a:b"])
def test_a_redirect_to_nowhere_is_no_proof_that_nothing_was_done(http, peer, target):
    there = peer(lambda connection: connection.sendall(http_reply(302, b"", f"Location: {target}")))
    with suppress(NoReply):  # httpx reads the address even when it is not to follow it
        assert http.send("POST", there.url, seconds=5).status == 302
    assert len(there.requests) == 1


def test_a_connection_is_used_again(http, peer):
    there = peer(200)
    for _ in range(3):
        http.send("GET", there.url, seconds=5)
    assert (there.connections, len(there.requests)) == (1, 3)


def test_a_connection_that_was_closed_meanwhile_is_not_used(http, peer):
    closed = threading.Event()

    def once(connection):
        connection.sendall(http_reply(200, b""))
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    there = peer(once)
    for _ in range(3):
        assert http.send("POST", there.url, seconds=5).status == 200
        assert closed.wait(5)
        closed.clear()


def test_no_proxy_of_the_environment_comes_between_us_and_this_machine(peer, monkeypatch):
    between, there = peer(200, b"between"), peer(200, b"there")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, between.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with closing(Http()) as http:
        assert http.send("GET", there.url, seconds=5).body == b"there"


def test_what_is_sent_is_what_was_asked_for(http, peer):
    there = peer(200)
    http.send("PUT", f"{there.url}/path?a=b", seconds=5, json_body={"text": "é"}, headers={"X-Some": "thing"})
    assert there.requests[0].startswith(b"PUT /path?a=b HTTP/1.1\r\n")
    assert json.loads(there.body) == {"text": "é"}
    assert there.headers["content-type"] == "application/json"
    assert there.headers["x-some"] == "thing"


def test_a_form_is_sent_form_encoded(http, peer):
    there = peer(200)
    http.send("POST", there.url, seconds=5, form={"a": "b c", "d": "é&="})
    assert there.body == b"a=b+c&d=%C3%A9%26%3D"
    assert there.headers["content-type"] == "application/x-www-form-urlencoded"


def test_cookies_of_one_user_are_not_sent_for_the_next(http, peer):
    there = peer(200, b"", "Set-Cookie: session=alice; Path=/")
    for _ in range(2):
        http.send("GET", there.url, seconds=5)
    assert b"cookie" not in there.requests[1].lower()


def test_nothing_secret_is_logged_at_any_level(http, peer, caplog):
    caplog.set_level(logging.DEBUG)
    there = peer(200, CANARY.encode())
    http.send("POST", there.url, seconds=5, **SECRETS)
    http.send("POST", there.url, seconds=5, json_body={"token": CANARY}, basic_auth=("id", SecretStr(CANARY)))
    assert caplog.records
    assert "canary" not in caplog.text


# --- bodies ---


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"[]", []),
        (b"null", None),
        (b"", None),
        (b"<html>no</html>", None),
        (b"{", None),
        (b"\xff\xfe\x00", None),
        (b'{"a": "\xe9"}', None),
        (b"1" * 5000, None),
        (b"[" * 100_000, None),
        (b'{"a":' * 100_000, None),
    ],
)
def test_a_body_that_is_no_json_is_none_and_never_an_exception(body, value):
    found = Reply(200, {}, body).json()
    assert (in_clear(found) if isinstance(found, dict) else found) == value
