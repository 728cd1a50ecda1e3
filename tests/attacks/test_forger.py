"""Jobs signed by somebody who may not. The attacker writes to MongoDB, and signs whatever they like.

Knows every public key, has Ed25519 keys of their own, and in the end an old signing key of the app, retired since.
Cannot sign at Vault. What is tried: the classics of RFC 8725 (alg none, HMAC with the public key, a key that comes along
in the header, crit, another type), another key's name, a signature over other claims, a denied id, a retired version.
The rules themselves are tried one by one in tests/unit/test_jws.py; here a real worker judges, from a real database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace
from datetime import timedelta
from typing import Any

import hvac
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actas import Client, JobStatus, jws
from actas.clock import from_numeric_date, utc_now
from actas.embedded.stack import CLIENT_ID, PROVIDER
from actas.errors import JobRefused, VaultDenied
from actas.ids import new_id
from actas.installing import installer
from actas.signing import CACHE_SECONDS, KeyVersions
from tests.attacks.tampering import claims_of, decoded, encoded, ended, insert_job, token, waiting_job
from tests.support import REDIRECT, settings_from

HEADER = {"alg": "Ed25519", "typ": "job+jwt", "kid": "actas-app-demo:v1"}
OWN_KEY = Ed25519PrivateKey.generate()


def own(data: bytes) -> str:
    return b64(OWN_KEY.sign(data))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk_of(key: Ed25519PrivateKey) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().public_bytes_raw())}


def hmac_with(public_key: bytes) -> Any:
    return lambda data: b64(hmac.digest(public_key, data, hashlib.sha256))


#: How the header is changed; who signs; what a worker says.
FORGERIES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no algorithm, no signature": ({"alg": "none"}, "nobody", "bad_header"),
    "no algorithm, under our header": ({}, "nobody", "bad_signature"),
    "HMAC with the public key": ({"alg": "HS256"}, "public key", "bad_header"),
    "HMAC with the public key, under our header": ({}, "public key", "bad_signature"),
    "a key of their own": ({}, "own", "bad_signature"),
    "a key of their own, brought along": ({"jwk": jwk_of(OWN_KEY)}, "own", "bad_header"),
    "a key of their own, at an address": ({"jku": "http://127.0.0.1:9/keys"}, "own", "bad_header"),
    "a key of their own, named as a file": ({"kid": "../../actas-app-demo:v1"}, "own", "bad_header"),
    "a rule of their own": ({"crit": ["exp"]}, "own", "bad_header"),
    "the name of the KEK": ({"kid": "actas-kek-demo:v1"}, "own", "bad_header"),
    "the name of an app that is not there": ({"kid": "actas-app-nobody:v1"}, "own", "bad_signature"),
    "a version that is not there": ({"kid": "actas-app-demo:v99"}, "own", "bad_signature"),
    "another type, rightly signed": ({"typ": "JWT"}, "demo", "bad_header"),
    "another spelling of the algorithm, rightly signed": ({"alg": "EdDSA"}, "demo", "bad_header"),
    "the control: our header, rightly signed": ({}, "demo", ""),
}


@pytest.fixture(scope="module")
def verdicts(client, module_grant, documents, worker_vault) -> dict[str, Any]:
    """All of them at once, each as a job of its own: what became of it."""
    public_key = worker_vault.public_keys("actas-app-demo")[1]
    signers = {
        "nobody": lambda _: "",
        "own": own,
        "public key": hmac_with(public_key),
        "demo": lambda data: client._room.vault.sign("demo", [data], version=1)[0],
    }
    jobs = {
        name: insert_job(documents, claims, token(HEADER | change, claims, signers[signer]))
        for name, (change, signer, _) in FORGERIES.items()
        for claims in [claims_of("demo", module_grant.user, module_grant.id, text=name)]
    }
    return {name: client.wait(job) for name, job in jobs.items()}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_job_is_refused_and_a_rightly_signed_one_is_done(verdicts, name):
    job, code = verdicts[name], FORGERIES[name][2]
    expected = (JobStatus.FAILED, code) if code else (JobStatus.SUCCEEDED, None)
    assert (job.status, job.error and job.error.code) == expected


#: One claim, what it is changed to, and the copy of it in the job's document.
EDITS: dict[str, tuple[Any, str]] = {
    "sub": ("somebody-else", "user"),
    "grant": (new_id(), "grant"),
    "payload": ({"text": "something else"}, "payload"),
    "nbf": (0, "run_at"),
    "exp": (4_000_000_000, "deadline"),
    "jti": (new_id(), "_id"),
    "iss": ("mallory", "app"),
    "action": ("x.delete_post", "action"),
}


@pytest.fixture(scope="module")
def edited(client, documents, module_grant) -> dict[str, str]:
    """Signed jobs with one claim changed, and its copy kept in step, so that only the signature can tell."""
    ids = {}
    for claim, (value, copy) in EDITS.items():
        job = waiting_job(client, module_grant.user, claim)
        header, body, signature = job.jws.split(".")
        token = ".".join((header, encoded(decoded(body) | {claim: value}), signature))
        row = documents["jobs"].find_one_and_delete({"_id": job.id})
        row |= {
            copy: from_numeric_date(value) if claim in {"nbf", "exp"} else value,
            "jws": token,
            "next_at": utc_now(),
        }
        documents["jobs"].insert_one(row)
        ids[claim] = row["_id"]
    return ids


@pytest.mark.parametrize("claim", EDITS)
def test_a_claim_edited_under_its_signature_and_in_its_document_is_refused(documents, edited, claim):
    job = ended(documents, edited[claim])
    assert (job["status"], job["error"]["code"]) == ("failed", "bad_signature")


def test_of_all_of_these_the_provider_has_seen_the_control(documents, verdicts, edited, module_grant, posts):
    for job in edited.values():
        ended(documents, job)
    assert posts(module_grant.user) == ["the control: our header, rightly signed"]


def test_a_job_whose_id_was_denied_is_not_done_however_it_comes(client, connect, documents, user, posts):
    """Signed while that was right, denied since; the attacker brings it back with the blacklist still standing."""
    connect(user)
    job = waiting_job(client, user, "never")
    documents["blacklist"].insert_one(
        {
            "_id": f"jti:demo/{job.id}",
            "reason": "test",
            "created_at": utc_now(),
            "expires_at": utc_now() + timedelta(days=2),
        }
    )
    now = utc_now()
    claims = replace(claims_of("demo", user, job.grant), id=job.id, run_at=now)
    signed = token(HEADER, claims, lambda data: client._room.vault.sign("demo", [data], version=1)[0])
    documents["jobs"].delete_one({"_id": job.id})
    insert_job(documents, claims, signed)
    stopped = client.wait(job.id)
    assert (stopped.status, stopped.error.code) == (JobStatus.CANCELLED, "revoked")
    assert posts(user) == []


def test_a_job_signed_with_a_retired_version_is_refused(stack, add_app, documents, sandbox, user, posts, worker_vault):
    """The app's first key is stolen; it is rotated, and the old version retired, as `actas keys` does."""
    settings = settings_from(add_app("rotating"))
    installer.set_client_credentials(
        app="rotating",
        provider=PROVIDER,
        client_id=CLIENT_ID,
        client_secret=stack._place.secret("sandbox-client"),
        vault_addr=stack.servers.bao.url,
        vault_token=stack.servers.bao.token,
    )
    with Client(settings) as client:
        request = client.begin_connect(user=user, provider="x", redirect_uri=REDIRECT)
        grant = client.finish_connect(sandbox.authorize(request.url, user), user=user)
        claims = claims_of("rotating", user, grant.id, text="by the old key")
        old = token(
            HEADER | {"kid": "actas-app-rotating:v1"},
            claims,
            lambda data: client._room.vault.sign("rotating", [data], version=1)[0],
        )
        seconds = [0.0]
        believing = KeyVersions(worker_vault, clock=lambda: seconds[0])
        jws.verify(old, believing.get, utc_now())  # while it was in force, it held
        retire(stack, "actas-app-rotating")
        jws.verify(
            old, believing.get, utc_now()
        )  # a worker that has the key believes it for a while, docs/operations.md
        seconds[0] = CACHE_SECONDS
        with pytest.raises(JobRefused, match="version 1"):
            jws.verify(old, believing.get, utc_now())
        with pytest.raises(JobRefused, match="version 1"):
            jws.verify(old, KeyVersions(worker_vault).get, utc_now())
        insert_job(documents, claims, old)
        job = client.wait(claims.id)
        assert (job.status, job.error.code) == (JobStatus.FAILED, "bad_signature")
    with Client(settings) as client:  # a process that knows of the new version
        job = client.wait(client.schedule("x.post", user=user, payload={"text": "by the new key"}).id)
        assert job.status is JobStatus.SUCCEEDED
    assert posts(user) == ["by the new key"]
    with pytest.raises(VaultDenied), Client(settings) as client:
        client._room.vault.sign("demo", [b"x"], version=1)


def retire(stack: Any, key: str) -> None:
    vault = hvac.Client(stack.servers.bao.url, stack.servers.bao.token.get_secret_value())
    vault.secrets.transit.rotate_key(key)
    vault.secrets.transit.update_key_configuration(key, min_decryption_version=2)
