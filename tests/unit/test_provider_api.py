"""The provider's API as an action sees it: where its requests go, what they carry, and what refusals mean."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from actas.actions import Refused
from actas.errors import ActasError, ProviderUnavailable
from actas.http import Http, NoReply, NotSent
from actas.providers import BUILT_IN
from tests.unit.recorded import NOW, TOKEN, api, reply
from worker.errors import AccessTokenRefused, OutOfCredits, RateLimited, Redirected, UsageCapped
from worker.provider_api import ProviderApi, address_of, headers_of, is_limit

X, GOOGLE, GITHUB, LINKEDIN, MICROSOFT = (BUILT_IN[name] for name in ("x", "google", "github", "linkedin", "microsoft"))

#: At the provider's own hosts.
OURS = [
    (X, "/2/tweets", "https://api.x.com/2/tweets"),
    (X, "/", "https://api.x.com/"),
    (X, "/2/tweets?ids=1", "https://api.x.com/2/tweets?ids=1"),
    (X, "https://api.x.com/2/tweets", "https://api.x.com/2/tweets"),
    (X, "https://api.x.com", "https://api.x.com"),
    (X, "HTTPS://API.X.COM/2/tweets", "HTTPS://API.X.COM/2/tweets"),
    (X, "https://api.x.com:443/2/tweets", "https://api.x.com:443/2/tweets"),
    (X, "https://api.x.com?q=@evil.example", "https://api.x.com?q=@evil.example"),
    (X, "/@evil.example/..x", "https://api.x.com/@evil.example/..x"),
    (X, "/x//evil.example", "https://api.x.com/x//evil.example"),
    (X, "/projects/group%2Fproject", "https://api.x.com/projects/group%2Fproject"),
    (X, "/rest/posts/urn%3Ali%3Ashare%3A1", "https://api.x.com/rest/posts/urn%3Ali%3Ashare%3A1"),
    (GOOGLE, "https://gmail.googleapis.com/gmail/v1/users/me/profile", "https://gmail.googleapis.com/gmail/v1/users/me/profile"),
]  # fmt: skip

#: Ways out of them.
FOREIGN = [
    "https://evil.example/2/tweets",
    "//evil.example/2/tweets",
    "///evil.example",
    "////evil.example",
    "https:/evil.example",
    "https:evil.example",
    "https:///evil.example",
    "evil.example",
    "evil.example/2/tweets",
    "2/tweets",
    "",
    "?q=1",
    # beside ours
    "https://x.com/2/tweets",
    "https://api.x.com.evil.example/",
    "https://evil.example/api.x.com",
    "https://evil.example?https://api.x.com",
    "https://evil.example#https://api.x.com",
    "https://evilapi.x.com/",
    "https://api-x.com/",
    "https://api.x.com./",
    "https://api.x.com%2eevil.example/",
    "https://api.x.com%00.evil.example/",
    "https://api.x.com;evil.example/",
    "https://api.x.com,evil.example/",
    # who asks
    "https://api.x.com@evil.example/",
    "https://api.x.com:443@evil.example/",
    "https://api.x.com%40evil.example/",
    "https://user@api.x.com/",
    "https://user:password@api.x.com/",
    "https://@api.x.com/",
    # another door
    "http://api.x.com/2/tweets",
    "http://api.x.com:443/2/tweets",
    "https://api.x.com:80/",
    "https://api.x.com:8443/",
    "https://api.x.com:0/",
    "https://api.x.com:65536/",
    "https://api.x.com:-1/",
    "https://api.x.com:x/",
    "https://api.x.com:443:443/",
    # another way to speak
    "ftp://api.x.com/",
    "file:///etc/passwd",
    "gopher://api.x.com/",
    "javascript:alert(1)",
    "data:,x",
    "wss://api.x.com/",
    # what some read in one way and some in another
    "https:\\\\evil.example/",
    "https://api.x.com\\@evil.example/",
    "https://evil.example\\.api.x.com/",
    "/\\evil.example",
    "\\\\evil.example",
    "/2/tweets\\..\\..",
    "\thttps://api.x.com/",
    "https://api.x.com/\n",
    "https://api.x.com/\r\nHost: evil.example",
    "/2/tweets HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "/\t/evil.example",
    "ht\ntps://evil.example/",
    "https://api.x.com /",
    " /2/tweets",
    "/2/tweets#x",
    "/2/tweets\x00",
    "/2/tweets\x7f",
    "https://[::1",
    "https://[api.x.com]/",
    # other alphabets
    "https://\u0430pi.x.com/",
    "https://api\u3002x\u3002com/",
    "https://api.x.com\uff0fevil.example/",
    "https://xn--pi-7kc.x.com/",
    "/2/tweets/\u00e9",
    "/\u2028/evil.example",
    # up and out of the base address
    "/../2/tweets",
    "/2/../../x",
    "/2/tweets/..",
    "/./2",
    "/2/%2e%2e/x",
    "/2/.%2E/x",
    "/2/..%2f..%2fx",
    "/2/%252e%252e/x",
    "/2/..%5cx",
    "https://api.x.com/2/../x",
    "/2/..;/..;a=b/x",
    "/2/%2e%2e%3b/x",
]


@pytest.mark.parametrize(("provider", "url", "address"), OURS)
def test_what_is_on_the_providers_hosts_is_asked_there(provider, url, address):
    assert address_of(provider, url) == address


@pytest.mark.parametrize("url", FOREIGN)
def test_nothing_is_sent_anywhere_else(url):
    http, sent = api("x")
    for ask in (lambda: http.request("POST", url, json={}), lambda: http.send("GET", url)):
        with pytest.raises(Refused) as caught:
            ask()
        assert caught.value.refusal == "foreign_address"
        assert "evil" not in str(caught.value)
    assert sent == []


@pytest.mark.parametrize("url", ["https://gmail.googleapis.com/", "https://www.googleapis.com/"])
def test_a_host_is_only_ones_own_providers(url):
    with pytest.raises(Refused):
        address_of(X, url)


pieces = st.sampled_from(
    ["https://", "http://", "//", "/", "\\", "@", ":", "443", "80", "#", "?", ".", "..", "%2f", "%2e", "%40", "%00", "[", "]", "::1",
     "api.x.com", "API.X.COM", "x.com", "evil.example", "a", "\t", "\n", " ", "\u3002", "\uff0f", ";", "&", "=", "~"]
)  # fmt: skip


@example("https://api.x.com:443/2/tweets")
@example("HTTPS://API.X.COM")
@given(st.lists(pieces, max_size=8).map("".join) | st.text(max_size=30))
def test_whatever_is_asked_for_the_client_reads_it_as_ours_or_it_is_refused(url):
    """The judge is the library that connects: it must not read another host than we did."""
    try:
        address = address_of(X, url)
    except Refused:
        return
    read = httpx.Request("GET", address).url
    assert (read.scheme, read.host, read.port) == ("https", "api.x.com", None)
    assert not read.userinfo
    assert urlsplit(address).hostname == "api.x.com"


def test_a_query_is_escaped_and_joins_what_is_there():
    assert address_of(X, "/a", {"q": "a b&c=d/é"}) == "https://api.x.com/a?q=a+b%26c%3Dd%2F%C3%A9"
    assert address_of(X, "/a?b=1", {"q": "2"}) == "https://api.x.com/a?b=1&q=2"
    assert address_of(X, "/a", {}) == "https://api.x.com/a"


def test_a_path_goes_below_the_base_address():
    provider = X.model_copy(update={"api_url": "https://api.new.example/v1/"})
    assert address_of(provider, "/me") == "https://api.new.example/v1/me"


# --- headers ---


def test_a_later_header_counts_in_whatever_case_it_is_written():
    merged = headers_of({"Accept": "a", "X-One": "1"}, {"ACCEPT": "b"}, {"accept": "c"})
    assert merged == {"accept": "c", "X-One": "1"}


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION", "aUtHoRiZaTiOn"])
def test_no_action_says_whose_request_it_is(name):
    http, sent = api("x", reply(200, {}))
    http.send("GET", "/2/users/me", headers={name: "Bearer somebody-elses"})
    assert [value for header, value in sent[0].headers.items() if header == "authorization"] == [f"Bearer {TOKEN}"]
    assert "somebody-elses" not in f"{sent[0].headers}"


def test_a_provider_says_its_version_and_an_action_may_say_another():
    http, sent = api("linkedin", reply(200, {}), reply(200, {}))
    http.send("GET", "/rest/me")
    http.send("GET", "/rest/me", headers={"linkedin-version": "203001", "accept": "text/plain"})
    assert sent[0].headers["linkedin-version"] == LINKEDIN.api_headers["LinkedIn-Version"]
    assert sent[0].headers["accept"] == "application/json"
    assert (sent[1].headers["linkedin-version"], sent[1].headers["accept"]) == ("203001", "text/plain")


# --- replies ---


def error_of(provider, answer, *, method="POST") -> ActasError:
    http, sent = api(provider, answer)
    with pytest.raises(ActasError) as caught:
        http.send(method, "/x", json={"text": "canary"})
    assert len(sent) == 1
    assert TOKEN not in str(caught.value)
    assert "canary" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("method", "status", "kind"),
    [
        ("POST", 301, Redirected),
        ("POST", 302, Redirected),
        ("PUT", 303, Redirected),
        ("DELETE", 303, Redirected),
        ("GET", 301, Refused),
        ("GET", 302, Refused),
        ("HEAD", 303, Refused),
        ("POST", 304, Refused),
        ("POST", 307, Refused),
        ("POST", 308, Refused),
    ],
)
def test_a_redirect_is_not_followed_and_done_perhaps_where_some_do_it_first(method, status, kind):
    error = error_of("x", reply(status, b"", {"Location": "https://evil.example/"}), method=method)
    assert type(error) is kind
    assert isinstance(error, NoReply) == (kind is Redirected)


@pytest.mark.parametrize("target", ["{evil}/2/tweets", "//{evil_host}/2/tweets", "/elsewhere"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_token_does_not_follow_a_redirect(peer, status, target):
    """On real sockets: whoever answers with a redirect gets one request, and where it points gets none."""
    evil = peer(200, b"{}")
    here = peer(status, b"", "Location: " + target.format(evil=evil.url, evil_host=evil.url.removeprefix("http://")))
    http = Http()
    provider = X.model_copy(update={"api_url": here.url})
    with pytest.raises((Refused, NoReply)):
        ProviderApi(http, provider, SecretStr(TOKEN), 5, lambda: NOW).send("POST", "/2/tweets", json={})
    http.close()
    assert (len(here.requests), len(evil.requests), evil.connections) == (1, 0, 0)


SECONDARY = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
RESET = str(int((NOW + timedelta(minutes=20)).timestamp()))


def google_error(reason, domain="usageLimits"):
    """developers.google.com/workspace/calendar/api/guides/errors"""
    return {"error": {"errors": [{"domain": domain, "reason": reason, "message": "m"}], "code": 403, "message": "m"}}


@pytest.mark.parametrize(
    ("provider", "answer", "seconds"),
    [
        # docs.github.com, "Rate limits for the REST API": 403 or 429
        (GITHUB, reply(403, {}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": RESET}), 1200),
        (GITHUB, reply(429, {}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": RESET}), 1200),
        (GITHUB, reply(403, SECONDARY, {"retry-after": "120", "x-ratelimit-remaining": "17", "x-ratelimit-reset": RESET}), 120),
        (GITHUB, reply(403, SECONDARY, {"retry-after": "120", "x-ratelimit-remaining": "0", "x-ratelimit-reset": RESET}), 1200),
        (GITHUB, reply(403, SECONDARY), 60),  # "otherwise, wait for at least one minute"
        (GITHUB, reply(429, {}), 60),
        (GOOGLE, reply(403, google_error("rateLimitExceeded")), 60),
        (GOOGLE, reply(403, google_error("userRateLimitExceeded")), 60),
        (GOOGLE, reply(403, google_error("quotaExceeded")), 60),
        (GOOGLE, reply(403, google_error("dailyLimitExceeded")), 60),
        (GOOGLE, reply(429, google_error("rateLimitExceeded", "global"), {"retry-after": "30"}), 30),
        # learn.microsoft.com/graph/throttling
        (MICROSOFT, reply(429, {"error": {"code": "TooManyRequests"}}, {"Retry-After": "10"}), 10),
        (LINKEDIN, reply(429, {"status": 429, "code": "TOO_MANY_REQUESTS"}), 60),
        (X, reply(429, {}, {"x-rate-limit-remaining": "0", "x-rate-limit-reset": RESET}), 1200),
    ],
)  # fmt: skip
def test_a_limit_is_waited_out(provider, answer, seconds):
    assert is_limit(provider, answer)
    error = error_of(provider, answer)
    assert type(error) is RateLimited
    assert error.until == NOW + timedelta(seconds=seconds)
    assert error.user_until == error.until


@pytest.mark.parametrize(
    ("provider", "answer"),
    [
        # GitHub tells how many are left with each reply, and what a 403 says else is a refusal.
        (GITHUB, reply(403, {"message": "Resource not accessible by integration"}, {"x-ratelimit-remaining": "4999", "x-ratelimit-reset": RESET})),
        (GITHUB, reply(403, {"message": "Must have admin rights"}, {"x-ratelimit-remaining": "0"})),  # of which window?
        (GITHUB, reply(403, {"message": "no"})),
        (GITHUB, reply(404, {}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": RESET})),
        (GITHUB, reply(422, {}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": RESET})),
        (GOOGLE, reply(403, google_error("forbiddenForNonOrganizer", "calendar"))),
        (GOOGLE, reply(403, google_error("insufficientPermissions", "global"))),
        (GOOGLE, reply(400, google_error("rateLimitExceeded"))),
        (MICROSOFT, reply(403, {"error": {"code": "ErrorAccessDenied"}})),
        (LINKEDIN, reply(403, {"serviceErrorCode": 100, "code": "ACCESS_DENIED", "status": 403})),
        (LINKEDIN, reply(403, {}, {"retry-after": "5"})),
        (X, reply(403, {}, {"x-rate-limit-remaining": "0", "x-rate-limit-reset": RESET})),
        (X, reply(403, SECONDARY)),
    ],
)  # fmt: skip
def test_a_plain_refusal_is_no_limit(provider, answer):
    assert not is_limit(provider, answer)
    error = error_of(provider, answer)
    assert type(error) is Refused
    assert error.refusal == f"http_{answer.status}"


@pytest.mark.parametrize(
    ("provider", "answer"),
    [
        (GOOGLE, reply(409, {"error": {"errors": [{"domain": "global", "reason": "duplicate", "message": "The requested identifier already exists."}], "code": 409}})),
        (GOOGLE, reply(409, {"error": {"code": 409, "message": "The requested identifier already exists."}})),
        (LINKEDIN, reply(422, {"message": "Content is a duplicate of urn:li:share:7", "code": "DUPLICATE_POST", "status": 422})),
        (X, reply(403, {"detail": "You are not allowed to create a Tweet with duplicate content.", "status": 403})),
    ],
)  # fmt: skip
def test_a_duplicate_is_called_one(provider, answer):
    error = error_of(provider, answer)
    assert (type(error), error.refusal) == (Refused, "duplicate")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(401, {}), AccessTokenRefused),
        (reply(402, {}), OutOfCredits),
        (reply(429, {"type": "https://api.x.com/2/problems/usage-capped"}), UsageCapped),
        (reply(503, {}), ProviderUnavailable),
        (reply(500, {}), NoReply),
        (reply(502, b"<html>"), NoReply),
        (reply(599, {}), NoReply),
        (reply(400, {}), Refused),
        (reply(418, b""), Refused),
        (NotSent(), NotSent),
        (NoReply(), NoReply),
    ],
)
def test_what_came_of_a_request_is_told_apart(answer, kind):
    assert type(error_of(X, answer)) is kind


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"text"', b"null", b"{", b"[" * 100_000, b"\xff"])
def test_who_asks_for_an_object_and_gets_none_does_not_know_what_was_done(body):
    http, sent = api("x", reply(200, body), reply(200, body))
    with pytest.raises(NoReply):
        http.request("POST", "/2/tweets", json={})
    answer = http.send("POST", "/2/tweets", json={})
    assert answer.status == 200
    assert len(sent) == 2


def test_a_whole_reply_is_given_and_what_is_in_it_is_covered():
    http, _ = api("x", reply(201, {"data": {"id": "7", "text": "canary"}}, {"X-RestLi-Id": "urn"}))
    answer = http.send("POST", "/2/tweets", json={})
    assert (answer.status, answer.headers["x-restli-id"], answer.body["data"]["id"]) == (201, "urn", "7")
    assert "canary" not in repr(answer)
    assert "urn" not in repr(answer)


def test_bytes_are_sent_as_they_are(peer):
    there, http = peer(200, b"{}"), Http()
    provider = X.model_copy(update={"api_url": there.url})
    whole = ProviderApi(http, provider, SecretStr(TOKEN), 5, lambda: NOW)
    whole.send("POST", "/raw", content=b"\x00\xff", headers={"Content-Type": "application/octet-stream"})
    http.close()
    assert there.body == b"\x00\xff"
    assert there.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("answer", "error"),
    [(reply(200, {}), None), (reply(403, {}), Refused), (reply(200, b""), NoReply), (reply(302), Redirected)],
)
def test_each_reply_is_told_to_who_keeps_the_gates(answer, error):
    seen = []
    http, _ = api("x", answer)
    told = ProviderApi(http.http, http.provider, http.token, 5, http.clock, seen.append)
    with contextlib.suppress(ActasError):
        told.request("POST", "/2/tweets", json={})
    assert [each and type(each) for each in seen] == [error]


def test_an_api_shows_no_token():
    http, _ = api("x")
    assert TOKEN not in repr(http)
    assert json.dumps(TOKEN) not in str(http)
