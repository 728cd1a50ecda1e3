"""A provider's API that redirects: nothing is followed, and what was asked for may be done or not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from actas.actions import Refused
from actas.http import Http, NoReply
from actas.providers import BUILT_IN
from worker.provider_api import ProviderApi

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)


@pytest.fixture
def asked(peer):
    """Ask an API that answers with this status: ``asked(method, status)``; the error that comes of it."""
    http = Http()

    def ask(method, status):
        there = peer(status, b"", "Location: http://127.0.0.1:9/canary")
        provider = BUILT_IN["x"].model_copy(update={"api_url": there.url})
        api = ProviderApi(http, provider, SecretStr("canary-token"), 5, lambda: NOW)
        with pytest.raises((Refused, NoReply)) as caught:
            api.request(method, "/2/tweets", json={"text": "hi"} if method == "POST" else None)
        assert len(there.requests) == 1
        assert "canary" not in repr(caught.value)
        assert f"x answered {status}, a redirect, which is not followed" in str(caught.value)
        return caught.value

    yield ask
    http.close()


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_where_a_browser_would_go_on_with_get_what_was_asked_for_may_be_done(asked, method, status):
    """RFC 9110 section 15.4: POST, and then a page that says so. Calling that a refusal could be a lie."""
    assert isinstance(asked(method, status), NoReply)


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 301), ("GET", 302), ("GET", 303), ("POST", 307), ("POST", 308), ("POST", 304)]
)
def test_where_nothing_can_be_done_it_is_a_refusal(asked, method, status):
    refused = asked(method, status)
    assert (type(refused), refused.refusal) == (Refused, f"http_{status}")
