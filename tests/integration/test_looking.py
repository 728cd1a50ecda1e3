"""Looking for posts at the real sandbox, over HTTP, as a worker does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pydantic import SecretStr

from actas.actions import BUILT_IN, Search
from actas.clock import utc_now
from actas.errors import ProviderUnavailable
from actas.http import NoReply
from actas.sandbox.state import account_id
from tests.support import dance, eventually
from worker.errors import AccessTokenRefused, RateLimited
from worker.provider_api import ProviderApi

POST, THREAD = BUILT_IN["x.post"], BUILT_IN["x.thread"]


class Counted:
    def __init__(self, api):
        self.api = api
        self.requests = 0

    def request(self, *args, **kwargs):
        self.requests += 1
        return self.api.request(*args, **kwargs)


@pytest.fixture
def api(room, client, sandbox, user):
    token = SecretStr(dance(client, sandbox, user)["access_token"])
    return ProviderApi(room.http, room.providers["x"], token, 10, utc_now)


@pytest.fixture
def find(api, user):
    since = utc_now() - timedelta(seconds=1)

    def find(text, *, since=since, account=None, api=api):
        return POST.find(api, POST.parse({"text": text}), "job", Search(account or account_id(user), since))

    return find


def post(api, text):
    return POST.perform(api, POST.parse({"text": text}), "job").reference


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "Ünï & <b> &amp; 👍🏽\n\nsecond paragraph ",
        "see https://a.example/b?c=1&d=2 (and example.com/x).",
        "https://a.example/" + "b" * 300,
    ],
)
def test_a_post_is_found_though_x_shows_it_otherwise(api, find, text):
    assert find(text) == []
    made = post(api, text)
    assert find(text) == [made]
    assert find(f"{text[:-1]}~") == []


def test_links_are_told_apart(api, find):
    made = [post(api, f"New: https://blog.example/{n}") for n in range(3)]
    assert [find(f"New: https://blog.example/{n}") for n in range(4)] == [[each] for each in made] + [[]]


def test_a_thread_is_found_step_by_step_and_its_posts_are_no_others(api, find, sandbox, user):
    texts = ["one https://a.example/1", "two & three", "four"]
    payload, made = THREAD.parse({"posts": texts}), []
    since = utc_now() - timedelta(seconds=1)
    for _ in texts:
        search = Search(account_id(user), since, tuple(made))
        assert THREAD.find(api, payload, "job", search) == []
        made.append(THREAD.perform_step(api, payload, "job", made).reference)
        assert THREAD.find(api, payload, "job", search) == [made[-1]]
    assert [find(text) for text in texts] == [[made[0]], [], []]
    posts = [each for each in sandbox.ledger()["posts"] if each["account"] == user]
    assert [(each["id"], each["reply_to"]) for each in posts] == list(zip(made, [None, *made[:2]], strict=True))


def test_it_is_paged_back_to_the_beginning_of_the_search_and_no_further(api, find):
    first = post(api, "first")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: post(api, f"{n}"), range(230)))
    last = post(api, "last")
    assert (find("first"), find("last"), find("other")) == ([first], [last], [])
    counted = Counted(api)
    assert find("first", api=counted) == [first]
    assert counted.requests == 3  # of 232 posts, 100 at a time

    def none_since_now():
        counted = Counted(api)
        return find("last", api=counted, since=utc_now()) == [] and counted.requests == 1

    eventually(none_since_now)  # in the next second


def test_a_post_that_is_not_there_yet_is_found_later(api, find, sandbox, user):
    sandbox.settle(3600, user)
    made = post(api, "late")
    assert find("late") == []
    sandbox.settle(1, user)
    assert eventually(lambda: find("late")) == [made]


def test_the_account_of_an_import_is_asked_for(api, find, user):
    made = post(api, "hi")
    assert find("hi", account=f"imported:{user}") == [made]


def test_an_account_that_x_does_not_know_has_no_timeline(find):
    with pytest.raises(NoReply):
        find("hi", account="123456")


@pytest.mark.parametrize(
    ("misbehaviour", "error"),
    [
        ({"how": "status", "status": 429, "headers": {"x-rate-limit-reset": "4102444800"}, "body": {}}, RateLimited),
        ({"how": "status", "status": 503, "body": {}}, ProviderUnavailable),
        ({"how": "status", "status": 500, "body": {}}, NoReply),
        ({"how": "status", "status": 401, "body": {}}, AccessTokenRefused),
        ({"how": "malformed"}, NoReply),
        ({"how": "empty"}, NoReply),
        ({"how": "drop_before"}, NoReply),
        ({"how": "status", "status": 200, "body": {"data": [{"id": "1"}], "meta": {}}}, NoReply),
    ],
    ids=lambda value: "" if isinstance(value, type) else f"{value['how']} {value.get('status', '')}",
)
def test_a_timeline_that_cannot_be_had_says_nothing(api, find, sandbox, user, misbehaviour, error):
    sandbox.misbehave("timeline", times=1, account=user, **misbehaviour)
    with pytest.raises(error):
        find("hi")
    assert find("hi") == []


def test_looking_makes_nothing(api, find, sandbox, user):
    made = post(api, "hi")
    find("hi")
    find("ho", account="imported:x")
    assert [each["id"] for each in sandbox.ledger()["posts"] if each["account"] == user] == [made]
