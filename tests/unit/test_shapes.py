"""What actions send and read, held against what the providers' pages say (tests/unit/shapes), as we read them."""

from __future__ import annotations

import json
import operator
import re
from base64 import urlsafe_b64decode
from datetime import datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from actas.actions import ANY_PROVIDER, BUILT_IN, Search
from actas.actions.google.calendar import event_id
from actas.errors import InvalidPayload
from actas.ids import new_id
from tests.unit.recorded import NOW, Sent, api, reply

SHAPES = {file.stem: json.loads(file.read_text()) for file in sorted((Path(__file__).parent / "shapes").glob("*.json"))}

JOB = "0199f0a1-2b3c-7d4e-8f50-112233445566"

#: Whatever people write: any characters, what has a meaning somewhere, and long ones.
odd = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    ["\r\nBcc: x@evil.example", "\0", "#tag @[x](urn:li:person:1) {hashtag|\\#|x}", "<b>&amp;</b>", "\u202e", "👨‍👩‍👧‍👦", "e\u0301", "\u2028", "a" * 300,
     "日本" * 130, '"quoted" <a@b.example>, x', "=?utf-8?q?x?=", "\\", "{{x}}", "${x}", "' OR 1=1 --", "\ufeff", "\t", " "]
)  # fmt: skip


def mostly(good: st.SearchStrategy[Any], other: st.SearchStrategy[Any] = odd) -> st.SearchStrategy[Any]:
    """What is good, nine times out of ten: a payload is refused for one bad field, and has many."""
    return st.integers(0, 9).flatmap(lambda one_in_ten: other if one_in_ten == 7 else good)


line = odd.filter(lambda text: text.isprintable())
address = mostly(
    st.sampled_from(
        ["a@b.example", "a.b+c@x-y.example.com", "o'neil@b.example", "x@xn--bcher-kva.example", "A_B@b.example"]
    )
)
mailbox = address | st.fixed_dictionaries({"address": address}, optional={"name": mostly(line)})
mailboxes = st.lists(mailbox, max_size=3)
recipients = {"cc": mailboxes, "bcc": mailboxes, "reply_to": mailbox}
bodies = mostly(
    st.fixed_dictionaries({"text": odd}) | st.fixed_dictionaries({"html": odd}), st.just({"text": "t", "html": "h"})
)
mails = st.builds(
    operator.or_,
    st.fixed_dictionaries(
        {"to": mostly(st.lists(mailbox, min_size=1, max_size=3), st.just([]))},
        optional={**recipients, "subject": mostly(line)},
    ),
    bodies,
)

begins = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001 - their zone comes after
lasts = st.timedeltas(timedelta(seconds=1), timedelta(days=30))
zones = mostly(
    st.sampled_from(["Europe/Zurich", "UTC", "America/Argentina/Buenos_Aires"]), st.just("Mars/Olympus") | odd
)


def written(kind: str, begin: datetime, last: timedelta, zone: str) -> dict[str, str]:
    """When an event is, in one of the ways to say so."""
    if kind == "days":
        return {"start": f"{begin:%Y-%m-%d}", "end": f"{begin + last + timedelta(days=1):%Y-%m-%d}"}
    start, end = (each.isoformat(timespec="seconds") for each in (begin, begin + last))
    if kind == "zone":
        return {"start": start, "end": end, "time_zone": zone}
    return {"start": f"{start}{kind}", "end": f"{end}{kind}"}


whens = mostly(
    st.builds(written, st.sampled_from(["days", "zone", "Z", "+05:30", "-00:00"]), begins, lasts, zones),
    st.fixed_dictionaries({"start": odd, "end": odd}) | st.just({"start": "2026-12-01", "end": "2026-12-01T09:00:00Z"}),
)
events = st.fixed_dictionaries(
    {"summary": odd},
    optional={
        "calendar": mostly(
            st.sampled_from(["primary", "team@group.calendar.google.com", "de.ch#holiday@group.v.calendar.google.com"]),
            st.sampled_from(["../x", "..", "a/b?c#d", "x%2f", "../@x"]) | odd,
        ),
        "description": odd,
        "location": odd,
        "guests": st.lists(address, max_size=3),
        "recurrence": mostly(
            st.lists(st.sampled_from(["RRULE:FREQ=WEEKLY;COUNT=4", "EXDATE;VALUE=DATE:20261201"]), max_size=2),
            st.just(["DTSTART:x"]),
        ),
    },
)
repository = mostly(
    st.sampled_from(["octocat/Hello-World", "o/r", "octo_corp/.github"]),
    st.sampled_from(["o/..", "../x", "o/r/issues", "o/r?x=1", "o"]) | odd,
)

PAYLOADS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "linkedin.post": st.fixed_dictionaries(
        {"text": odd},
        optional={
            "visibility": mostly(st.sampled_from(["PUBLIC", "CONNECTIONS", "LOGGED_IN"]), st.just("CONTAINER")),
            "article": st.fixed_dictionaries(
                {"url": mostly(st.just("https://a.example/x?y=1"), st.sampled_from(["javascript:x", "//a"]) | odd), "title": odd},
                optional={"description": odd},
            ),
        },
    ),
    "google.calendar.create_event": st.builds(operator.or_, events, whens),
    "google.gmail.send": mails,
    "microsoft.send_mail": st.builds(operator.or_, mails, st.fixed_dictionaries({}, optional={"save_to_sent_items": st.booleans()})),
    "github.create_issue": st.fixed_dictionaries(
        {"repository": repository, "title": odd},
        optional={
            "body": odd | st.just("x" * 65_536),
            "labels": st.lists(mostly(line.filter(lambda text: 0 < len(text) <= 50)), max_size=3),
            "assignees": st.lists(mostly(st.sampled_from(["octocat", "octo_corp", "a-b"]), st.sampled_from(["-", "a b"])), max_size=3),
            "milestone": mostly(st.integers(1, 10), st.integers(-1, 0)),
        },
    ),
    "github.comment": st.fixed_dictionaries(
        {"repository": repository, "issue": mostly(st.integers(1, 10**9), st.integers(-1, 0)), "body": odd}
    ),
}  # fmt: skip

#: What of the odd ones is taken in any case: without them a strategy that only makes what is refused would show nothing.
PLAIN: dict[str, list[dict[str, Any]]] = {
    "linkedin.post": [
        {"text": "Hello #world"},
        {"text": "x", "visibility": "CONNECTIONS", "article": {"url": "https://a.example", "title": "t", "description": "d"}},
    ],
    "google.calendar.create_event": [
        {"summary": "Lunch", "start": "2026-12-01T12:00:00+01:00", "end": "2026-12-01T13:00:00+01:00"},
        {"summary": "Trip", "start": "2026-12-01", "end": "2026-12-03", "calendar": "team@group.calendar.google.com"},
        {
            "summary": "Weekly", "start": "2026-12-01T12:00:00", "end": "2026-12-01T13:00:00.5", "time_zone": "Europe/Zurich",
            "recurrence": ["RRULE:FREQ=WEEKLY;COUNT=4"], "guests": ["bob@b.example"], "send_updates": "all",
            "description": "d", "location": "l",
        },
    ],
    "google.gmail.send": [
        {"to": ["a@b.example"], "subject": "hi", "text": "ho"},
        {"bcc": [{"address": "a@b.example", "name": 'Ä, "B" <c>'}], "reply_to": "r@b.example", "text": "t", "html": "<p>h</p>"},
    ],
    "microsoft.send_mail": [
        {"to": ["a@b.example"], "subject": "hi", "text": "ho"},
        {"cc": [{"address": "a@b.example", "name": "A"}], "reply_to": "r@b.example", "html": "", "save_to_sent_items": False},
    ],
    "github.create_issue": [
        {"repository": "octocat/Hello-World", "title": "t"},
        {"repository": "o/r", "title": "t", "body": "b", "labels": ["bug"], "assignees": ["octocat"], "milestone": 1},
    ],
    "github.comment": [{"repository": "octocat/Hello-World", "issue": 1347, "body": "Me too"}],
}  # fmt: skip


def shape_of(sent: Sent) -> dict[str, Any]:
    """The operation that a request is; there must be one."""
    address = sent.url.partition("?")[0]
    (name,) = [
        name for name, shape in SHAPES.items() if shape["method"] == sent.method and re.search(shape["url"], address)
    ]
    return SHAPES[name]


def check(sent: Sent) -> dict[str, Any]:
    shape = shape_of(sent)
    Draft202012Validator(shape["request"]).validate(sent.json)
    Draft202012Validator(shape["query"] or {"const": {}}).validate(sent.query)
    for header, pattern in shape["headers"].items():
        assert re.search(pattern, sent.headers[header])
    assert sent.headers["authorization"].startswith("Bearer ")
    return shape


def answer(shape: dict[str, Any]):
    """The reply that the page shows, for our event and our job."""
    said = shape["reply"]
    body = said["body"] and json.loads(
        json.dumps(said["body"]).replace("{id}", JOB.replace("-", "")).replace("{job}", JOB)
    )
    return reply(said["status"], body, said["headers"])


OPERATIONS = {
    "linkedin.post": "linkedin-create-post",
    "google.calendar.create_event": "google-calendar-events-insert",
    "google.gmail.send": "google-gmail-messages-send",
    "microsoft.send_mail": "microsoft-send-mail",
    "github.create_issue": "github-create-issue",
    "github.comment": "github-create-comment",
}

REFERENCES = {
    "linkedin.post": "urn:li:share:6844785523593134080",
    "google.calendar.create_event": JOB.replace("-", ""),
    "google.gmail.send": "18c0a1b2c3d4e5f6",
    "microsoft.send_mail": JOB,
    "github.create_issue": "octocat/hello-world/issues/1347",
    "github.comment": "octocat/hello-world/issues/comments/7",
}

LOOKS = {
    "google.calendar.create_event": "google-calendar-events-get",
    "github.create_issue": "github-list-issues",
    "github.comment": "github-list-comments",
}


def perform(name: str, payload: dict[str, Any]) -> tuple[Sent, str]:
    action = BUILT_IN[name]
    http, sent = api(action.provider, answer(SHAPES[OPERATIONS[name]]))
    result = action.perform(http, action.parse(payload), JOB)
    (request,) = sent
    assert check(request) is SHAPES[OPERATIONS[name]]
    return request, result.reference


def test_each_action_and_each_shape_has_its_test():
    ours = {name for name, action in BUILT_IN.items() if action.provider not in {"x", ANY_PROVIDER}}
    assert ours == set(OPERATIONS) == set(PAYLOADS) == set(PLAIN) == set(REFERENCES)
    assert set(OPERATIONS.values()) | set(LOOKS.values()) == set(SHAPES)
    for shape in SHAPES.values():
        assert shape["page"]
        Draft202012Validator.check_schema(shape["request"])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_replies_on_the_pages_are_what_is_written_of_them(shape):
    Draft202012Validator(shape["reply"]["schema"]).validate(shape["reply"]["body"])


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_asked_for_is_sent_and_the_reply_is_understood(name):
    for payload in PLAIN[name]:
        reference = perform(name, payload)[1]
        assert reference.rpartition("/")[2] == REFERENCES[name].rpartition("/")[2]
    assert perform(name, PLAIN[name][0])[1] == REFERENCES[name]


@pytest.mark.parametrize("name", PAYLOADS)
@given(data=st.data())
def test_whatever_is_taken_is_sent_as_the_provider_wants_it(name, data):
    payload = data.draw(PAYLOADS[name])
    try:
        BUILT_IN[name].parse(payload)
    except InvalidPayload:
        return
    request, _ = perform(name, payload)
    if name == "google.gmail.send":
        check_mail(request)


def check_mail(request: Sent) -> None:
    """No field of a message has become a header, or an address, of its own."""
    mail = message_from_bytes(urlsafe_b64decode(request.json["raw"]))
    assert set(mail.keys()) <= {
        "To", "Cc", "Bcc", "Reply-To", "Subject", "Content-Type", "Content-Transfer-Encoding", "MIME-Version"
    }  # fmt: skip
    assert len(set(mail.keys())) == len(mail.keys())
    assert "x@evil.example" not in f"{mail['To']}{mail['Cc']}{mail['Bcc']}"


@pytest.mark.parametrize("name", LOOKS)
def test_looking_asks_as_the_provider_wants_it(name):
    action, shape = BUILT_IN[name], SHAPES[LOOKS[name]]
    http, sent = api(action.provider, answer(shape))
    payload = {
        **PLAIN[name][0],
        **({"title": "Found a bug", "body": "I'm having a problem with this."} if "issue" in name else {}),
    }
    found = action.find(http, action.parse(payload), JOB, Search("42", NOW))
    assert found == [REFERENCES[name]]
    assert [check(request) for request in sent] == [shape]


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - set(LOOKS)))
def test_who_cannot_look_does_not_ask(name):
    action = BUILT_IN[name]
    http, sent = api(action.provider)
    assert action.find(http, action.parse(PLAIN[name][0]), JOB, Search("42", NOW)) is None
    assert sent == []


def test_every_job_has_an_id_that_makes_an_event_id():
    for job in (new_id(), new_id(), JOB):
        assert re.fullmatch("[a-v0-9]{5,1024}", event_id(job))
        assert event_id(job) == job.replace("-", "")
