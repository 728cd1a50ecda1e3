"""Actions: what they take, and what they send."""

from __future__ import annotations

import time
from typing import Any

import pytest

from actas.actions import ANY_PROVIDER, BUILT_IN, Action, Actions, Payload, Refused, Result
from actas.errors import InvalidPayload, UnknownAction
from actas.http import NoReply
from actas.providers import BUILT_IN as PROVIDERS

POST = BUILT_IN["x.post"]
THREAD = BUILT_IN["x.thread"]
FAMILY = "👨‍👩‍👧‍👦"  # one emoji of seven code points
LINK = "https://example.com/" + "a" * 300


def counted(text: str) -> int | None:
    """The length by which a text is refused; None if it is taken."""
    try:
        POST.parse({"text": text})
    except InvalidPayload as error:
        return int(str(error).rpartition(" ")[2])
    return None


@pytest.mark.parametrize(
    ("unit", "weight"),
    [
        ("a", 1),
        ("é", 1),
        ("e\u0301", 1),  # the same letter in two code points: X counts the composed form
        ("ß", 1),
        ("я", 1),
        ("\u2018", 1),
        ("日", 2),
        ("한", 2),
        ("ﷺ", 2),
        ("😀", 2),
        ("👍🏽", 2),
        ("🇩🇪", 2),
        (FAMILY, 2),
        ("1️⃣", 2),
    ],
)
def test_characters_count_as_x_counts_them(unit, weight):
    assert counted(unit * (280 // weight)) is None
    assert counted(unit * (280 // weight) + "a") == 281


@pytest.mark.parametrize(
    "link",
    [
        "http://a.co",
        "https://example.com",
        LINK,
        f"{LINK}/{'b-' * 300}?oc=5",
        f"https://example.com/?token={'A1_-' * 200}",
        "example.com",
        "https://例え.jp/",
    ],
)
def test_a_link_counts_23_however_long_it_is(link):
    assert counted(f"{link} {'a' * 256}") is None
    assert counted(f"{link} {'a' * 257}") == 281


@pytest.mark.parametrize("text", ["http://a", "user@example.com", "a.b", "3.14"])
def test_what_only_looks_like_a_link_counts_by_its_characters(text):
    assert counted(f"{text} {'a' * (279 - len(text))}") is None
    assert counted(f"{text} {'a' * (280 - len(text))}") == 281


def test_several_links_count_each():
    assert counted(" ".join([LINK] * 11) + "a" * 0) is None  # 11 * 23 + 10 = 263
    assert counted(" ".join([LINK] * 12)) == 287


@pytest.mark.parametrize("text", ["", "a\ufffeb", "a\uffffb", "\ufeff"])
def test_a_text_x_would_not_take_is_refused(text):
    with pytest.raises(InvalidPayload):
        POST.parse({"text": text})


@pytest.mark.parametrize("text", ["line\nbreak", "  spaces  ", "\u202etxt", "{{template}}", "<b>&amp;</b>", "a\0b"])
def test_a_text_is_taken_as_it_is(text):
    assert POST.parse({"text": text}).text == text


#: What makes looking for links slow: many labels, long labels, and both hidden behind what looks like something else.
HOSTILE = [
    "a.", "a.b-", "a.b\u0330-", "a-", "é", "日", "@", "#a", "(", "http://", "http://a.", "http://a.co/(", "a.co ", "😀", FAMILY,
    "日.", "a." * 45 + " ", "a.b-" * 45 + " ", "a" * 60 + ".", "é" * 500 + ".",
]  # fmt: skip


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("x/", ""), ("http://x/", ""), ("http://a.co/.?", ""), ("", "://"), ("", " .")],
)
def test_no_text_takes_long_to_be_counted(before, piece, after):
    """Users write these texts; one that took hours would stop the whole process, because counting holds its lock."""
    for length in (1_600, 60_000):
        text = before + piece * (length // len(piece)) + after
        began = time.process_time()  # ours alone, on a machine that has other things to do
        with pytest.raises(InvalidPayload):
            POST.parse({"text": text})
        assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({}, "x.post: text: Value error, required, unless there are media_ids"),
        ({"text": None}, "x.post: text: "),
        ({"text": 1}, "x.post: text: "),
        ({"text": ["canary"]}, "x.post: text: "),
        ({"text": "canary\ud800"}, "x.post: text: "),
        ({"text": "canary" * 50}, "must be 1 to 280 characters as X counts them; this is 300"),
        ({"text": "canary", "Text": "canary"}, "x.post: Text: Extra inputs are not permitted"),
        ({"text": "canary", "replies": {"canary": 1}}, "x.post: replies: Extra inputs are not permitted"),
        ({"txt": "canary"}, "there are media_ids; txt: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_field_is_named_and_its_content_is_not_shown(payload, words):
    with pytest.raises(InvalidPayload) as caught:
        POST.parse(payload)
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({}, "x.thread: posts: Field required"),
        ({"posts": "canary"}, "x.thread: posts: "),
        ({"posts": []}, "x.thread: posts: Tuple should have at least 2 items"),
        ({"posts": ["canary"]}, "x.thread: posts: Tuple should have at least 2 items after validation, not 1"),
        ({"posts": [f"canary {n}" for n in range(26)]}, "x.thread: posts: Tuple should have at most 25 items"),
        (
            {"posts": ["canary", "canary" * 50]},
            "posts.1: Value error, must be 1 to 280 characters as X counts them; this",
        ),
        ({"posts": ["", "canary"]}, "x.thread: posts.0: Value error, must be 1 to 280 characters"),
        ({"posts": ["canary", None]}, "x.thread: posts.1: "),
        ({"posts": ["canary", {"text": "canary"}]}, "x.thread: posts.1: "),
        ({"posts": ["canary", "two"], "text": "canary"}, "x.thread: text: Extra inputs are not permitted"),
    ],
)
def test_of_a_thread_it_is_said_which_post_does_not_fit(payload, words):
    with pytest.raises(InvalidPayload) as caught:
        THREAD.parse(payload)
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_payload_cannot_be_changed_once_it_was_checked():
    with pytest.raises(ValueError, match="frozen"):
        POST.parse({"text": "hi"}).text = "ho"


# --- performing ---


class Api:
    """The provider's API as an action sees it, with one answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.account = "2244994945"
        self.answer = answer
        self.asked: list[tuple[str, str, Any]] = []

    def request(self, method: str, url: str, *, json: Any = None, query: Any = None) -> dict[str, Any]:
        self.asked.append((method, url, json))
        return self.answer


def test_a_post_is_one_request_and_its_result_is_the_id():
    api = Api({"data": {"id": "1346889436626259968", "text": "Learn how", "edit_history_tweet_ids": ["1"]}})
    assert POST.perform(api, POST.parse({"text": "hi 😀"}), "job") == Result("1346889436626259968")
    assert api.asked == [("POST", "/2/tweets", {"text": "hi 😀"})]


@pytest.mark.parametrize(
    "answer",
    [{}, {"data": None}, {"data": []}, {"data": {}}, {"data": {"id": None}}, {"data": {"id": 1}}, {"errors": [{}]}],
)
def test_an_accepted_post_without_an_id_is_of_unknown_outcome(answer):
    api = Api(answer)
    with pytest.raises(NoReply):
        POST.perform(api, POST.parse({"text": "hi"}), "job")
    assert len(api.asked) == 1


@pytest.mark.parametrize("count", [2, 25])
def test_a_thread_has_a_step_for_each_post_each_a_reply_to_the_one_before(count):
    payload = THREAD.parse({"posts": [f"{n}" for n in range(count)]})
    assert THREAD.steps(payload) == count
    made: list[str] = []
    for n in range(count):
        api = Api({"data": {"id": f"1{n}"}})
        made.append(THREAD.perform_step(api, payload, "job", tuple(made)).reference)
        reply = {"reply": {"in_reply_to_tweet_id": made[n - 1]}} if n else {}
        assert api.asked == [("POST", "/2/tweets", {"text": f"{n}", **reply})]
    first = Api({"data": {"id": "9"}})
    assert THREAD.perform(first, payload, "job") == Result("9")
    assert first.asked == [("POST", "/2/tweets", {"text": "0"})]


def test_a_post_is_one_step():
    api = Api({"data": {"id": "7"}})
    payload = POST.parse({"text": "hi"})
    assert (POST.steps(payload), POST.perform_step(api, payload, "job", ())) == (1, Result("7"))


# --- by name ---


def test_an_unknown_action_is_refused_with_the_known_ones():
    with pytest.raises(UnknownAction, match=r"no action 'x\.pots'; known: .*x\.post, "):
        Actions()["x.pots"]


@pytest.mark.parametrize("action", BUILT_IN.values(), ids=BUILT_IN)
def test_every_built_in_action_says_what_it_is(action):
    assert BUILT_IN[action.name] is action
    assert action.name.startswith("http." if action.provider == ANY_PROVIDER else f"{action.provider}.")
    assert action.provider in {*PROVIDERS, ANY_PROVIDER}
    # A GitHub App has permissions instead; and what any request needs, nobody knows.
    assert bool(action.scopes) is (action.provider not in {"github", ANY_PROVIDER})
    assert action.idempotent in {True, False}
    assert issubclass(action.payload_type, Payload)
    assert action.payload_type.model_config["extra"] == "forbid"


def test_posts_are_not_idempotent():
    """X has no idempotency header: repeated after an unknown outcome, it could be posted twice."""
    assert (POST.idempotent, THREAD.idempotent) == (False, False)


def test_the_scopes_of_a_provider_are_those_of_all_its_actions():
    class Other(type(POST)):
        name = "x.other"
        scopes = frozenset({"tweet.read", "other"})

    class Elsewhere(type(POST)):
        name = "y.post"
        provider = "y"
        scopes = frozenset({"elsewhere"})

    actions: dict[str, Action[Any]] = {action.name: action for action in (POST, Other(), Elsewhere())}
    assert Actions(actions).scopes_for("x") == {"tweet.read", "tweet.write", "users.read", "other"}
    assert Actions(actions).scopes_for("z") == frozenset()


def test_a_refusal_carries_its_own_code():
    assert (Refused("again", refusal="duplicate").refusal, Refused().refusal) == ("duplicate", "refused")
