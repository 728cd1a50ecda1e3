"""The sandbox's books: what a rotating provider remembers, without any HTTP."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest

from actas.errors import SettingsError
from actas.providers.model import RefreshProfile
from actas.sandbox.config import Client, read_config
from actas.sandbox.records import Attached, Authorization, Issued, Poll, Reason, Refused
from actas.sandbox.state import DUPLICATE_WINDOW, Books, account_id, s256
from actas.sandbox.steered_clock import SteeredClock

VERIFIER = "v" * 43
REDIRECT = "http://127.0.0.1:1/cb"
SCOPES = frozenset({"tweet.read", "tweet.write", "users.read", "offline.access"})


class FakeClock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def books(clock):
    return Books(clock, access_seconds=7200, first_access_seconds=60, post_limit=3)


def code(books: Books, username: str = "alice", scopes: frozenset[str] = SCOPES) -> str:
    return books.issue_code(Authorization("c", REDIRECT, scopes, s256(VERIFIER), username))


def redeem(books: Books, code: str, **changed: str) -> Issued:
    return books.redeem_code(code, **{"client_id": "c", "redirect_uri": REDIRECT, "verifier": VERIFIER} | changed)


def grant(books: Books, username: str = "alice", scopes: frozenset[str] = SCOPES) -> Issued:
    return redeem(books, code(books, username, scopes))


def refused(call, *args, **kwargs) -> Reason:
    with pytest.raises(Refused) as caught:
        call(*args, **kwargs)
    return caught.value.reason


def test_the_challenge_is_that_of_rfc_7636_appendix_b():
    assert s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_refresh_token_works_once_and_each_exchange_makes_its_successor(books):
    first = grant(books)
    second = books.refresh(first.refresh_token, client_id="c")
    third = books.refresh(second.refresh_token, client_id="c")
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    [family] = books.ledger()["families"]
    assert (family["alive"], family["generation"], family["exchanges"], family["reuse"]) == (True, 3, 2, 0)


def test_presenting_a_used_refresh_token_kills_the_family_and_only_it(books):
    first, bystander = grant(books), grant(books)
    second = books.refresh(first.refresh_token, client_id="c")
    assert refused(books.refresh, first.refresh_token, client_id="c") is Reason.TOKEN
    for dead in (first, second):
        assert refused(books.authenticate, dead.access_token, ()) is Reason.UNAUTHORIZED
    assert refused(books.refresh, second.refresh_token, client_id="c") is Reason.TOKEN
    assert books.ledger()["counts"]["reuse"] == 1  # the unused token of a dead family is refused, but is no reuse
    books.refresh(bystander.refresh_token, client_id="c")


def test_of_many_threads_with_one_refresh_token_exactly_one_wins_and_the_rest_are_reuse(books):
    token, threads = grant(books).refresh_token, 16
    together = Barrier(threads)

    def exchange(_: int) -> bool:
        together.wait()
        try:
            books.refresh(token, client_id="c")
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(threads) as pool:
        won = list(pool.map(exchange, range(threads)))
    assert won.count(True) == 1
    counts = books.ledger()["counts"]
    assert (counts["exchanges"], counts["reuse"]) == (1, threads - 1)


def test_of_many_threads_with_one_text_exactly_one_posts(books):
    alice = books.authenticate(grant(books).access_token, ())
    threads, rounds = 8, 40
    together = Barrier(threads)

    def post_each(_: int) -> int:
        made = 0
        for n in range(rounds):
            together.wait()
            with suppress(Refused):
                books.post(alice, f"{n}")
                made += 1
        return made

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # or the interpreter hardly ever changes threads between the check and the change
    try:
        with ThreadPoolExecutor(threads) as pool:
            assert sum(pool.map(post_each, range(threads))) == rounds
    finally:
        sys.setswitchinterval(before)
    assert len(books.ledger()["posts"]) == rounds


def test_another_clients_refresh_token_is_refused_and_costs_the_family_nothing(books):
    token = grant(books).refresh_token
    assert refused(books.refresh, token, client_id="other") is Reason.TOKEN
    books.refresh(token, client_id="c")
    assert refused(books.refresh, token, client_id="other") is Reason.TOKEN
    assert books.ledger()["families"][0]["alive"]


def test_an_access_token_is_no_refresh_token_and_the_other_way_round(books):
    issued = grant(books)
    assert refused(books.refresh, issued.access_token, client_id="c") is Reason.TOKEN
    assert refused(books.authenticate, issued.refresh_token, ()) is Reason.UNAUTHORIZED


def test_a_kept_refresh_token_stays_valid_and_no_new_one_is_issued(books):
    token = grant(books).refresh_token
    for _ in range(2):
        assert books.refresh(token, client_id="c", keep=True).refresh_token is None
    assert books.refresh(token, client_id="c").refresh_token
    counts = books.ledger()["counts"]
    assert (counts["exchanges"], counts["reuse"]) == (3, 0)


# --- refresh tokens of other kinds ---


def of_kind(clock: FakeClock, **profile: object) -> Books:
    return Books(clock, access_seconds=60, refresh={"c": RefreshProfile(**profile)})


def exchange(books: Books, token: str) -> Issued:
    return books.refresh(token, client_id="c")


def test_within_the_reuse_window_a_used_refresh_token_is_accepted_again(clock):
    books = of_kind(clock, kind="rotating", reuse_window_seconds=30)
    first = grant(books)
    second = exchange(books, first.refresh_token)
    clock.pass_(29)
    again = exchange(books, first.refresh_token)
    assert len({first.refresh_token, second.refresh_token, again.refresh_token}) == 3
    third = exchange(books, second.refresh_token)  # what it had brought before lives on
    assert books.ledger()["counts"]["reuse"] == 0
    clock.pass_(1)  # counted from the first use, not the last
    assert refused(exchange, books, first.refresh_token) is Reason.TOKEN
    assert refused(exchange, books, third.refresh_token) is Reason.TOKEN
    [family] = books.ledger()["families"]
    assert (family["alive"], family["exchanges"], family["reuse"], family["living"]) == (False, 3, 1, 0)


@pytest.mark.parametrize("kind", ["sliding", "static"])
def test_a_refresh_token_that_does_not_rotate_may_be_used_at_any_time(clock, kind):
    books = of_kind(clock, kind=kind)
    token = grant(books).refresh_token
    for _ in range(3):
        clock.pass_(1_000_000)
        assert exchange(books, token).refresh_token is None
    [family] = books.ledger()["families"]
    assert (family["kind"], family["generation"], family["exchanges"], family["reuse"]) == (kind, 1, 3, 0)


def test_a_lifetime_is_each_rotating_tokens_own(clock):
    books = of_kind(clock, kind="rotating", lifetime_seconds=100)
    token = grant(books).refresh_token
    for _ in range(3):
        clock.pass_(99)
        token = exchange(books, token).refresh_token
    clock.pass_(100)
    assert refused(exchange, books, token) is Reason.TOKEN
    [family] = books.ledger()["families"]
    assert (family["exchanges"], family["reuse"], family["living"]) == (3, 0, 0)


@pytest.mark.parametrize("kind", ["sliding", "static"])
def test_a_lifetime_is_not_lengthened_by_use_where_the_token_stays(clock, kind):
    books = of_kind(clock, kind=kind, lifetime_seconds=100)
    token = grant(books).refresh_token
    clock.pass_(99)
    exchange(books, token)
    clock.pass_(1)
    assert refused(exchange, books, token) is Reason.TOKEN


@pytest.mark.parametrize("kind", ["sliding", "rotating"])
def test_idle_time_begins_anew_with_each_use(clock, kind):
    books = of_kind(clock, kind=kind, idle_seconds=100)
    token = grant(books).refresh_token
    for _ in range(3):
        clock.pass_(99)
        token = exchange(books, token).refresh_token or token
    clock.pass_(100)
    assert refused(exchange, books, token) is Reason.TOKEN
    assert refused(exchange, books, token) is Reason.TOKEN
    assert books.ledger()["counts"]["reuse"] == 0, "it is over, not used"


def test_a_reply_knows_when_the_refresh_token_in_force_ends(clock):
    assert grant(of_kind(clock, kind="static")).refresh_expires_in is None
    rotating = of_kind(clock, kind="rotating", lifetime_seconds=100)
    first = grant(rotating)
    clock.pass_(40)
    assert (first.refresh_expires_in, exchange(rotating, first.refresh_token).refresh_expires_in) == (100, 100)
    sliding = of_kind(clock, kind="sliding", lifetime_seconds=100, idle_seconds=70)
    first = grant(sliding)
    clock.pass_(40)
    assert (first.refresh_expires_in, exchange(sliding, first.refresh_token).refresh_expires_in) == (70, 60)


def test_one_request_has_one_time(clock):
    """A reading of the clock for the use and another for the reply once said 86399 of 86400 seconds left."""

    def running():
        clock.pass_(0.3)
        return clock()

    sliding = of_kind(running, kind="sliding", idle_seconds=70)
    first = grant(sliding)
    assert (first.refresh_expires_in, exchange(sliding, first.refresh_token).refresh_expires_in) == (70, 70)


def test_where_revocation_takes_one_token_the_others_live_on(clock):
    books = of_kind(clock, kind="rotating", revocation="token")
    first = grant(books)
    second = exchange(books, first.refresh_token)
    assert books.ledger()["families"][0]["living"] == 3
    books.revoke(second.refresh_token, client_id="c")
    books.revoke(second.refresh_token, client_id="c")
    assert refused(exchange, books, second.refresh_token) is Reason.TOKEN
    books.authenticate(second.access_token, ())
    books.revoke(second.access_token, client_id="c")
    assert refused(books.authenticate, second.access_token, ()) is Reason.UNAUTHORIZED
    books.authenticate(first.access_token, ())
    ledger = books.ledger()
    assert (ledger["counts"]["revocations"], ledger["families"][0]["alive"], ledger["families"][0]["living"]) == (
        2,
        True,
        1,
    )


def test_each_client_has_its_own_kind(clock):
    books = of_kind(clock, kind="static")
    [theirs] = books.make_grants("other", ["bob"], SCOPES)
    assert books.refresh(theirs.refresh_token, client_id="other").refresh_token is not None
    assert [family["kind"] for family in books.ledger()["families"]] == ["rotating"]


def test_grants_made_at_once_are_as_good_as_those_of_a_code_exchange(books):
    made = books.make_grants("c", ["alice", "bob", "alice"], SCOPES)
    assert [books.authenticate(issued.access_token, SCOPES).username for issued in made] == ["alice", "bob", "alice"]
    for issued in made:
        exchange(books, issued.refresh_token)
    assert [(family["account"], family["exchanges"]) for family in books.ledger()["families"]] == [
        ("alice", 1),
        ("bob", 1),
        ("alice", 1),
    ]


def test_a_clock_is_put_ahead_and_never_back(clock):
    steered = SteeredClock(clock)
    assert steered.put_ahead(60)
    assert steered() == clock.now + timedelta(seconds=60)
    clock.pass_(5)
    assert steered.put_ahead(60)
    assert not steered.put_ahead(59)
    assert steered() == clock.now + timedelta(seconds=60)


def test_access_tokens_die_at_their_time_the_first_one_at_its_own(books, clock):
    first = grant(books)
    assert first.expires_in == 60
    clock.pass_(59.999)
    books.authenticate(first.access_token, SCOPES)
    clock.pass_(0.001)
    assert refused(books.authenticate, first.access_token, ()) is Reason.UNAUTHORIZED
    assert books.refresh(first.refresh_token, client_id="c").expires_in == 7200


def test_without_offline_access_there_is_no_refresh_token(books):
    assert grant(books, scopes=SCOPES - {"offline.access"}).refresh_token is None


def test_a_missing_scope_is_told_apart_from_a_dead_token(books):
    assert refused(
        books.authenticate, grant(books, scopes=frozenset({"tweet.read"})).access_token, {"tweet.write"}
    ) is (Reason.SCOPE)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"verifier": "w" * 43}, Reason.VERIFIER),
        ({"redirect_uri": REDIRECT + "/"}, Reason.REDIRECT_URI),
        ({"client_id": "other"}, Reason.CODE),
    ],
)
def test_a_code_belongs_to_its_verifier_address_and_client_and_survives_a_wrong_try(books, changed, reason):
    made = code(books)
    assert refused(redeem, books, made, **changed) is reason
    assert redeem(books, made).access_token


def test_a_code_is_too_old_after_thirty_seconds(books, clock):
    made = code(books)
    clock.pass_(30)
    assert refused(redeem, books, made) is Reason.CODE


def test_a_code_used_twice_costs_the_family_it_began(books):
    made = code(books)
    issued = redeem(books, made)
    assert refused(redeem, books, made) is Reason.CODE
    assert refused(books.authenticate, issued.access_token, ()) is Reason.UNAUTHORIZED


def test_revoking_any_token_of_a_family_ends_it_and_counts_once(books):
    first = grant(books)
    second = books.refresh(first.refresh_token, client_id="c")
    assert refused(books.revoke, first.access_token, client_id="other") is Reason.TOKEN
    books.revoke(first.access_token, client_id="c")
    books.revoke(second.refresh_token, client_id="c")
    books.revoke("never issued", client_id="c")
    assert refused(books.refresh, second.refresh_token, client_id="c") is Reason.TOKEN
    assert books.ledger()["counts"]["revocations"] == 1


def test_expire_access_and_kill_reach_the_named_account_only(books):
    alice, bob = grant(books, "alice"), grant(books, "bob")
    assert books.expire_access("alice") == 1
    assert refused(books.authenticate, alice.access_token, ()) is Reason.UNAUTHORIZED
    books.authenticate(bob.access_token, ())
    alice = books.refresh(alice.refresh_token, client_id="c")
    assert books.expire_access() == 2
    assert books.kill("bob") == 1
    assert books.kill("bob") == 0
    assert refused(books.refresh, bob.refresh_token, client_id="c") is Reason.TOKEN
    books.refresh(alice.refresh_token, client_id="c")
    assert books.ledger()["counts"]["revocations"] == 0  # kill is the user's doing, not a client's


def test_duplicates_are_refused_within_the_accounts_latest_posts_and_not_once_deleted(books):
    alice = books.authenticate(grant(books, "alice").access_token, ())
    bob = books.authenticate(grant(books, "bob").access_token, ())
    post = books.post(alice, "hi")
    books.post(bob, "hi")
    assert refused(books.post, alice, "hi") is Reason.DUPLICATE
    assert refused(books.delete, bob, post.id) is Reason.NOT_YOURS
    books.delete(alice, post.id)
    books.delete(alice, post.id)
    again = books.post(alice, "hi")
    for n in range(DUPLICATE_WINDOW - 1):
        books.post(alice, f"{n}")
    assert refused(books.post, alice, "hi") is Reason.DUPLICATE
    books.post(alice, "one more")
    books.post(alice, "hi")
    assert again.id in {entry["id"] for entry in books.ledger()["posts"]}
    assert books.ledger()["counts"]["duplicates"] == 2


def test_duplicates_are_taken_where_they_are_not_to_be_refused(clock):
    books = Books(clock, duplicate_window=0)
    alice = books.authenticate(grant(books).access_token, ())
    assert books.post(alice, "hi").id != books.post(alice, "hi").id
    assert books.ledger()["counts"]["duplicates"] == 0


def test_deleted_posts_leave_the_timeline_but_not_the_ledger(books):
    alice = books.authenticate(grant(books).access_token, ())
    post = books.post(alice, "hi")
    books.delete(alice, post.id)
    assert books.timeline(account_id("alice")) == books.latest(10) == []
    [entry] = books.ledger()["posts"]
    assert entry["deleted_at"] is not None
    assert refused(books.post, alice, "re", reply_to=post.id) is Reason.REPLY


def test_a_post_is_on_its_timeline_once_it_has_settled_though_it_is_made_at_once(books, clock):
    alice, bob = (books.authenticate(grant(books, name).access_token, ()) for name in ("alice", "bob"))
    books.settle(60)
    books.settle(10, "bob")
    for family in (alice, bob):
        books.post(family, "hi")

    def seen() -> list[int]:
        return [len(books.timeline(account_id(name))) for name in ("alice", "bob")]

    assert (seen(), len(books.latest(9)), len(books.ledger()["posts"])) == ([0, 0], 2, 2)
    assert refused(books.post, alice, "hi") is Reason.DUPLICATE
    clock.pass_(10)
    assert seen() == [0, 1]
    clock.pass_(49.999)
    assert seen() == [0, 1]
    clock.pass_(0.001)
    assert seen() == [1, 1]
    books.post(alice, "again")
    books.settle(0)
    assert seen() == [2, 1]


def test_there_is_a_timeline_for_whoever_has_an_account(books):
    assert books.timeline(account_id("alice")) is None
    grant(books, "alice")
    assert books.timeline(account_id("alice")) == []


def test_the_ledger_says_what_replies_to_what(books):
    alice = books.authenticate(grant(books).access_token, ())
    first = books.post(alice, "one")
    books.post(alice, "two", reply_to=first.id)
    assert refused(books.post, alice, "three", reply_to="1") is Reason.REPLY
    assert [entry["reply_to"] for entry in books.ledger()["posts"]] == [None, first.id]


def test_the_ledger_says_what_is_attached(books):
    alice = books.authenticate(grant(books).access_token, ())
    first = books.post(alice, "one")
    books.post(alice, "two", attached=Attached(quote=first.id), reply_settings="following")
    books.post(alice, "two", attached=Attached(poll=Poll(("a", "b"), 60)))
    books.post(alice, "", attached=Attached(media_ids=("5", "6")))
    assert refused(books.post, alice, "", attached=Attached(media_ids=("5", "6"))) is Reason.DUPLICATE
    books.post(alice, "", attached=Attached(media_ids=("6", "5")))
    assert refused(books.post, alice, "three", attached=Attached(quote="1")) is Reason.QUOTE
    names = ("quote", "poll", "media_ids", "reply_settings")
    assert [tuple(entry[name] for name in names) for entry in books.ledger()["posts"][:4]] == [
        (None, None, [], None),
        (first.id, None, [], "following"),
        (None, {"options": ["a", "b"], "duration_minutes": 60}, [], None),
        (None, None, ["5", "6"], None),
    ]


def test_reposts_and_likes_are_one_of_each_and_the_ledger_says_how_often_they_were_asked_for(books, clock):
    alice, bob = (books.authenticate(grant(books, name).access_token, ()) for name in ("alice", "bob"))
    post = books.post(alice, "hi")
    books.repost(bob, post.id)
    at = clock.now.isoformat()
    clock.pass_(1)
    assert refused(books.repost, bob, post.id) is Reason.REPOSTED
    books.repost(alice, post.id)
    for _ in range(3):
        books.like(bob, post.id)
    assert [refused(each, bob, "1") for each in (books.repost, books.like)] == [Reason.NO_POST] * 2
    ledger = books.ledger()
    assert ledger["reposts"][0] == {
        "account": "bob",
        "account_id": account_id("bob"),
        "post": post.id,
        "at": at,
        "family": bob.id,
        "asked": 2,
    }
    assert [(entry["account"], entry["asked"]) for entry in ledger["reposts"]] == [("bob", 2), ("alice", 1)]
    assert [(entry["account"], entry["post"], entry["asked"]) for entry in ledger["likes"]] == [("bob", post.id, 3)]
    assert len(ledger["posts"]) == 1


def test_a_repost_is_on_its_accounts_timeline_as_long_as_its_post_is_there(books):
    alice, bob = (books.authenticate(grant(books, name).access_token, ()) for name in ("alice", "bob"))
    post = books.post(alice, "hi")
    books.repost(bob, post.id)
    [repost] = books.timeline(account_id("bob"))
    assert (repost.text, repost.references()) == ("RT @alice: hi", [{"type": "retweeted", "id": post.id}])
    assert int(repost.id) > int(post.id)
    assert books.find(repost.id) is None
    books.post(bob, "RT @alice: hi")
    books.delete(alice, post.id)
    assert [each.text for each in books.timeline(account_id("bob"))] == ["RT @alice: hi"]
    assert books.find(post.id) is None
    assert [refused(each, bob, post.id) for each in (books.repost, books.like)] == [Reason.NO_POST] * 2


def test_post_ids_are_numeric_and_grow_whatever_the_clock_does(books, clock):
    alice = books.authenticate(grant(books).access_token, ())
    ids = []
    for n, step in enumerate((0, 0, 5, -5, 0)):
        clock.pass_(step)
        ids.append(int(books.post(alice, str(n)).id))
    assert ids == sorted(set(ids))
    assert max(ids) < 10**19
    assert [int(post.id) for post in books.timeline(account_id("alice"))] == ids[::-1]


def test_a_quota_counts_per_account_and_begins_anew_after_fifteen_minutes(books, clock):
    spent = [books.spend("alice") for _ in range(4)]
    assert [quota.remaining for quota in spent] == [2, 1, 0, 0]
    assert [quota.exceeded for quota in spent] == [False, False, False, True]
    assert not books.spend("bob").exceeded
    clock.now = spent[0].reset
    assert books.spend("alice").remaining == 2


def test_account_ids_are_numeric_stable_and_different():
    assert account_id("alice") == account_id("alice")
    assert account_id("alice").isdigit()
    assert len({account_id(f"user{n}") for n in range(1000)}) == 1000


def test_every_credential_ever_issued_is_remembered(books):
    made = code(books)
    first = redeem(books, made)
    second = books.refresh(first.refresh_token, client_id="c")
    books.kill("alice")
    issued = {made, first.access_token, first.refresh_token, second.access_token, second.refresh_token}
    assert set(books.credentials()) == issued
    assert not any(token in repr(first) for token in issued)


@pytest.mark.parametrize(
    ("patterns", "uri", "accepted"),
    [
        (None, "http://127.0.0.1:8123/cb", True),
        (None, "http://localhost/cb?x=1", True),
        (None, "http://[::1]:80/cb", True),
        (None, "https://127.0.0.1/cb", False),
        (None, "http://127.0.0.1.evil.example/cb", False),
        (None, "http://127.0.0.1:80@evil.example/cb", False),
        (None, "http://127.0.0.1/cb#", False),
        (None, "http://[", False),
        (None, "", False),
        (("http://127.0.0.1:*/cb",), "http://127.0.0.1:8123/cb", True),
        (("http://127.0.0.1:*/cb",), "http://127.0.0.1:8123/cb/", False),
        (("http://127.0.0.1:*/cb",), "http://127.0.0.1:80@evil.example/cb", False),
        (("http://127.0.0.1:*/cb",), "http://127a0.0.1:80/cb", False),
        (("https://app.example/cb",), "https://app.example/cb", True),
        ((), "http://127.0.0.1/cb", False),
    ],
)
def test_a_client_accepts_its_own_addresses_only(patterns, uri, accepted):
    assert Client(redirect_uris=patterns).accepts(uri) is accepted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"clients": {}, "prot": 1}', "prot"),
        ('{"clients": {}, "host": "0.0.0.0"}', "loopback"),
        ('{"clients": {"c": {"secret": ["canary-secret"]}}}', "clients.c.secret"),
        ('{"clients": {"c": {"refresh": {"kind": "static", "idle_seconds": 1}}}}', "clients.c.refresh.idle_seconds"),
        ('{"clients": {"c": {"secret": "canary-secret", "refresh": {"kind": "canary"}}}}', "clients.c.refresh.kind"),
        ('{"clients": "canary-secret', "JSON"),
        ("{}", "clients"),
    ],
)
def test_a_wrong_config_is_named_without_its_values(tmp_path, text, words):
    path = tmp_path / "sandbox.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SettingsError) as caught:
        read_config(path)
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "sandbox.json"
    path.write_text(json.dumps({"clients": {}}))
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_config(path)
    with pytest.raises(SettingsError, match="No such file"):
        read_config(tmp_path / "none.json")
