"""A provider that actas knows by nothing but a TOML table with its issuer's address: from connecting to disconnecting.

Tried by: leaving the metadata out of reach, putting another issuer's in its place, and asking the provider's own books
what it was asked for and how often.
"""

from __future__ import annotations

import pytest

from actas import Client, GrantStatus, JobStatus
from actas.errors import ProviderUnavailable, UnknownProvider
from actas.sandbox.directing import PersonaControl
from actas.settings import ClientCredentials
from tests.integration.by_hand import send_again
from tests.support import REDIRECT, made_stale, nothing_is_sent, settings_from
from worker.chores import revoke_grant
from worker.room import Room
from worker.run import run

NAME = "acme"
CREDENTIALS = ClientCredentials(client_id="actas at acme", client_secret="s3cret: +%")


@pytest.fixture(scope="module")
def acme(stack):
    """The provider: it rotates, kills the grant at reuse, demands PKCE and form-encoded Basic, and has one endpoint."""
    control = PersonaControl(stack.sandbox_url, NAME)
    notes = {
        "method": "POST",
        "path": "/api/notes",
        "does": "makes",
        "reply": {"status": 201, "body": {"data": {"id": "{id}"}}},
    }
    control.play(
        {
            "client_id": CREDENTIALS.client_id,
            "client_secrets": [CREDENTIALS.client_secret.get_secret_value()],
            "iss": control.url,
            "account_reply": {"sub": "account", "name": "Alice"},
            "api": [notes],
        }
    )
    return control


@pytest.fixture(scope="module")
def file(acme, tmp_path_factory):
    file = tmp_path_factory.mktemp("providers") / "providers.toml"
    file.write_text(f'[providers.{NAME}]\nissuer = "{acme.url}"\n')
    return file


def told(stack, role, file):
    """The settings of a role, with just this providers file, and what the app is at the provider."""
    settings = settings_from(stack.role_env(role) | {"ACTAS_PROVIDERS_FILE": str(file)})
    return settings.model_copy(update={"clients": {f"demo/{NAME}": CREDENTIALS}})


@pytest.fixture
def app(stack, file):
    with Client(told(stack, "app-demo", file)) as client:
        yield client


@pytest.fixture
def worker(stack, file):
    room = Room.open(told(stack, "worker", file))
    yield room
    room.close()


def test_it_connects_exchanges_rotates_acts_and_disconnects(app, worker, acme, stack, documents, user):
    request = app.begin_connect(user=user, provider=NAME, redirect_uri=REDIRECT)
    grant = app.finish_connect(acme.authorize(request.url, user), user=user)
    assert (grant.status, grant.scopes) == (GrantStatus.ACTIVE, {"openid", "offline_access"})
    made = []
    for text in ("the first", "the second", "the third"):
        made_stale(documents, user)  # so that each needs an exchange
        payload = {"provider": NAME, "method": "POST", "url": "/p/acme/api/notes", "json": {"text": text}}
        with nothing_is_sent(stack):  # the stack's own workers have never heard of this provider
            job = app.schedule("http.request", user=user, payload=payload | {"reference": "data.id"})
            send_again(documents, job)
            assert run(job.id, worker) is not None
        job = app.job(job.id)
        assert job.status is JobStatus.SUCCEEDED, job.error
        made.append(job.result)
    seen = acme.seen(grant.account)
    assert [(thing["id"], thing["json"]["text"]) for thing in seen["things"]] == list(
        zip(made, ("the first", "the second", "the third"), strict=True)
    )
    [family] = seen["families"]
    assert (family["kind"], family["exchanges"], family["generation"], family["reuse"]) == ("rotating", 3, 4, 0)
    app.disconnect(user=user, provider=NAME)
    assert revoke_grant(grant.id, worker)
    [family] = acme.seen(grant.account)["families"]
    assert (family["alive"], family["living"]) == (False, 0)
    assert documents["grants"].find_one({"_id": grant.id})["status"] == "revoked"


def test_whoever_connected_a_provider_that_was_taken_out_of_the_file_can_disconnect(app, stack, acme, user):
    request = app.begin_connect(user=user, provider=NAME, redirect_uri=REDIRECT)
    app.finish_connect(acme.authorize(request.url, user), user=user)
    with Client(settings_from(stack.role_env("app-demo"))) as later:
        with pytest.raises(UnknownProvider):
            later.grant(user=user, provider=NAME)
        assert later.disconnect(user=user, provider=NAME).grants == 1
        with pytest.raises(UnknownProvider):
            later.disconnect(user=f"{user}-nobody", provider=NAME)
    assert [grant.status for grant in app.grants(user=user)] == [GrantStatus.REVOKING]


def test_an_issuer_that_is_away_or_another_is_an_early_error(stack, acme, tmp_path, user):
    file = tmp_path / "providers.toml"
    for address, words in (("http://127.0.0.1:1", "does not answer"), (f"{acme.url}/", "another issuer's")):
        file.write_text(f'[providers.{NAME}]\nissuer = "{address}"\n')
        with Client(told(stack, "app-demo", file)) as app, pytest.raises(ProviderUnavailable, match=words):
            app.begin_connect(user=user, provider=NAME, redirect_uri=REDIRECT)
