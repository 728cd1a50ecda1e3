"""One app against another. The attacker is an app of the same house, ``mallory``, with the env file it was given.

May wrap under its own KEK, sign as itself, and, because MongoDB does not part apps, write jobs and grants of all of
them. What is tried: jobs for the other app's users, the other's grants made one's own, a key of one's own put under the
other's grant. It can end grants and stop jobs (docs/security.md); it must act as nobody but its own users.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from actas.clock import utc_now
from actas.embedded.stack import Stack
from actas.envelope import Purpose, encrypt, new_data_key
from actas.errors import VaultDenied
from actas.records import Grant
from actas.vault.keys import VaultKeys
from tests.attacks.tampering import claims_of, insert_job, refused, token
from tests.support import settings_from


@pytest.fixture(scope="module")
def their_documents(mallory) -> Any:
    """MongoDB as mallory's own user: what is done here an app can do."""
    return mallory._room.database


@pytest.fixture(scope="module")
def operator_vault(stack: Stack) -> Iterator[VaultKeys]:
    with closing(VaultKeys(settings_from(stack.role_env("operator")))) as vault:
        yield vault


def signed_by(mallory: Any, claims: Any, *, kid: str) -> str:
    header = {"alg": "Ed25519", "typ": "job+jwt", "kid": f"actas-app-{kid}:v1"}
    return token(header, claims, lambda data: mallory._room.vault.sign("mallory", [data], version=1)[0])


@pytest.mark.parametrize("kid", ["mallory", "demo"], ids=["its own key named", "the victim's key named"])
def test_a_job_for_one_app_signed_by_another_is_refused(client, mallory, their_documents, connect, user, posts, kid):
    with pytest.raises(VaultDenied):
        mallory._room.vault.sign("demo", [b"x"], version=1)  # Vault itself will not let it use the victim's key
    claims = claims_of("demo", user, connect(user).id)
    insert_job(their_documents, claims, signed_by(mallory, claims, kid=kid))
    refused(client, claims.id, "bad_signature")
    assert posts(user) == []


def test_one_app_cannot_prove_to_a_provider_that_it_is_anothers_client(mallory, operator_vault):
    """The victim has a key at the provider. Its own are the control: the attacker may use these."""
    for app in ("demo", "mallory"):
        operator_vault.make_client_key(app, "signed", "ed25519")
    vault = mallory._room.vault
    with pytest.raises(VaultDenied):
        vault.client_key("demo", "signed")
    with pytest.raises(VaultDenied):
        vault.sign_as_client(operator_vault.client_key("demo", "signed"), b"x", version=1, algorithm="EdDSA")
    own = vault.client_key("mallory", "signed")
    assert vault.sign_as_client(own, b"x", version=1, algorithm="EdDSA")


def test_a_job_rightly_signed_by_one_app_for_anothers_grant_is_refused(mallory, their_documents, connect, user, posts):
    claims = claims_of("mallory", user, connect(user).id)
    insert_job(their_documents, claims, signed_by(mallory, claims, kid="mallory"))
    refused(mallory, claims.id, "foreign_grant")
    assert posts(user) == []


def test_anothers_grant_relabelled_as_ones_own_cannot_be_unwrapped(mallory, their_documents, connect, user, posts):
    """The labels fit and so does the signature; the data key is still wrapped by a key that is not mallory's."""
    grant = connect(user)
    their_documents["grants"].update_one({"_id": grant.id}, {"$set": {"app": "mallory"}})
    claims = claims_of("mallory", user, grant.id)
    insert_job(their_documents, claims, signed_by(mallory, claims, kid="mallory"))
    refused(mallory, claims.id, "bad_envelope")
    assert posts(user) == []


def test_a_key_wrapped_for_anothers_grant_under_ones_own_kek_does_not_open_there(
    client, mallory, their_documents, connect, user, posts
):
    """So that the victim's posts would appear in an account of mallory's: all is right but for whose KEK it is."""
    grant = connect(user)
    key, key_id = new_data_key(), "of-mallory"
    with pytest.raises(VaultDenied):
        mallory._room.vault.wrap("demo", [(grant.id, key)])
    wrapped = mallory._room.vault.wrap("mallory", [(grant.id, key)])[0]
    stored = Grant.from_doc(their_documents["grants"].find_one({"_id": grant.id}))
    context = stored.context(Purpose.ACCESS, generation=stored.generation, data_key_id=key_id)
    access = encrypt(key, SecretStr("a-token-of-mallorys"), context)
    now = utc_now()
    their_documents["grants"].update_one(
        {"_id": grant.id},
        {
            "$set": {
                "data_key": {"id": key_id, "wrapped": wrapped, "key_version": 1, "made_at": now},
                "access_token": {**access.to_doc(), "expires_at": now + timedelta(hours=1)},
            }
        },
    )
    job = client.schedule("x.post", user=user, payload={"text": "in whose name?"})
    refused(client, job.id, "bad_envelope")
    assert posts(user) == []


def test_the_same_key_in_a_grant_of_ones_own_is_read(mallory, their_documents, connect, user, worker_vault):
    """The control: it is the KEK that is refused above, and not the way the attacker went."""
    stored = Grant.from_doc(their_documents["grants"].find_one({"_id": connect(user).id}))
    key = new_data_key()
    wrapped = mallory._room.vault.wrap("mallory", [(stored.id, key)])[0]
    assert worker_vault.unwrap("mallory", [(stored.id, wrapped)]) == [key]
