"""google.calendar.create_event and google.gmail.send: what they take, what they send, what they make of the answer."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actas.actions import BUILT_IN, Refused, Result, Search
from actas.actions.google.gmail import message
from actas.errors import InvalidPayload
from actas.http import NoReply
from tests.unit.recorded import NOW, api, reply
from tests.unit.refusing import check_refused

EVENT, MAIL = BUILT_IN["google.calendar.create_event"], BUILT_IN["google.gmail.send"]
JOB = "0199f0a1-2b3c-7d4e-8f50-112233445566"
ID = "0199f0a12b3c7d4e8f50112233445566"
LUNCH = {"summary": "Lunch", "start": "2026-12-01T12:00:00+01:00", "end": "2026-12-01T13:00:00+01:00"}
DUPLICATE = reply(409, {"error": {"errors": [{"domain": "global", "reason": "duplicate"}], "code": 409}})
OURS = {"id": ID, "status": "confirmed", "extendedProperties": {"private": {"actas-job": JOB}}}


def create(*answers, **payload):
    http, sent = api("google", *answers)
    return EVENT.perform(http, EVENT.parse(LUNCH | payload), JOB), sent


# --- calendar ---


def test_an_event_is_one_request_under_an_id_of_the_jobs():
    result, sent = create(reply(200, {"id": ID, "status": "confirmed"}))
    assert result == Result(ID)
    (request,) = sent
    assert (request.method, request.url) == (
        "POST",
        "https://www.googleapis.com/calendar/v3/calendars/primary/events?sendUpdates=none",
    )
    assert request.json == {
        "id": ID,
        "summary": "Lunch",
        "start": {"dateTime": "2026-12-01T12:00:00+01:00"},
        "end": {"dateTime": "2026-12-01T13:00:00+01:00"},
        "extendedProperties": {"private": {"actas-job": JOB}},
    }


@pytest.mark.parametrize("field", ["description", "location"])
@pytest.mark.parametrize("value", ["", "x"])
def test_what_is_said_is_sent_and_what_is_not_is_not(field, value):
    _, sent = create(reply(200, {"id": ID}), **{field: value})
    assert sent[0].json[field] == value


def test_an_event_of_whole_days_and_one_that_recurs():
    _, sent = create(reply(200, {"id": ID}), start="2026-12-24", end="2026-12-27")
    assert (sent[0].json["start"], sent[0].json["end"]) == ({"date": "2026-12-24"}, {"date": "2026-12-27"})
    zone = {"start": "2026-12-01T12:00:00", "end": "2026-12-01T13:00:00", "time_zone": "Europe/Zurich"}
    _, sent = create(reply(200, {"id": ID}), **zone, recurrence=["RRULE:FREQ=WEEKLY;COUNT=4"])
    assert sent[0].json["start"] == {"dateTime": "2026-12-01T12:00:00", "timeZone": "Europe/Zurich"}
    assert sent[0].json["recurrence"] == ["RRULE:FREQ=WEEKLY;COUNT=4"]


def test_guests_are_invited_as_was_asked_for_in_the_calendar_that_was_asked_for():
    calendar = "de.ch#holiday@group.v.calendar.google.com"
    _, sent = create(reply(200, {"id": ID}), calendar=calendar, guests=["bob@b.example"], send_updates="all")
    assert sent[0].json["attendees"] == [{"email": "bob@b.example"}]
    assert sent[0].query == {"sendUpdates": "all"}
    assert sent[0].path == "/calendar/v3/calendars/de.ch%23holiday%40group.v.calendar.google.com/events"


def test_doing_it_twice_is_doing_it_once():
    assert EVENT.is_idempotent(EVENT.parse(LUNCH))
    result, sent = create(DUPLICATE, reply(200, OURS))
    assert result == Result(ID)
    assert [(request.method, request.path.rpartition("/")[2]) for request in sent] == [("POST", "events"), ("GET", ID)]


@pytest.mark.parametrize(
    "there",
    [
        {"id": ID, "status": "cancelled"},  # of what its user has deleted, Google shows no more
        {**OURS, "status": "cancelled"},
        {**OURS, "summary": "moved by its user"},
    ],
)
def test_an_event_that_its_user_has_changed_or_deleted_meanwhile_was_made(there):
    assert create(DUPLICATE, reply(200, there))[0] == Result(ID)


@pytest.mark.parametrize(
    "there",
    [
        {"id": ID, "status": "confirmed", "summary": "Lunch"},
        {"id": ID, "status": "confirmed", "extendedProperties": {"private": {"actas-job": "another"}}},
        {"id": ID, "status": "cancelled", "extendedProperties": {"private": {"actas-job": "another"}}},
        {"id": ID, "extendedProperties": {"shared": {"actas-job": JOB}}},
        {"id": "another", "status": "cancelled"},
        {},
    ],
)
def test_an_event_that_is_somebody_elses_is_a_refusal(there):
    with pytest.raises(Refused) as caught:
        create(DUPLICATE, reply(200, there))
    assert caught.value.refusal == "duplicate"


def test_what_cannot_be_looked_at_is_not_called_done():
    with pytest.raises(NoReply):
        create(DUPLICATE, reply(500))
    with pytest.raises(Refused):
        create(DUPLICATE, reply(404))


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": "another"}, [], b""])
def test_an_accepted_event_under_no_or_another_id_is_of_unknown_outcome(body):
    with pytest.raises(NoReply):
        create(reply(200, body))


def test_other_refusals_are_no_reason_to_look():
    for status in (400, 403, 404, 410):
        with pytest.raises(Refused) as caught:
            create(reply(status, {"error": {"code": status, "errors": [{"reason": "x"}]}}))
        assert caught.value.refusal == f"http_{status}"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (reply(200, OURS), [ID]),
        (reply(200, {"id": ID, "status": "cancelled"}), [ID]),
        (reply(404, {"error": {"code": 404}}), []),
        (reply(200, {"id": ID, "status": "confirmed"}), None),
    ],
)
def test_an_event_is_looked_for_by_its_id(answer, found):
    http, sent = api("google", answer)
    assert EVENT.find(http, EVENT.parse(LUNCH), JOB, Search("42", NOW)) == found
    assert [(request.method, request.path) for request in sent] == [
        ("GET", f"/calendar/v3/calendars/primary/events/{ID}")
    ]


@pytest.mark.parametrize("answer", [reply(403, {}), reply(500), reply(410, {})])
def test_a_look_that_fails_says_nothing(answer):
    http, _ = api("google", answer)
    with pytest.raises((Refused, NoReply)):
        EVENT.find(http, EVENT.parse(LUNCH), JOB, Search("42", NOW))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"summary": ""}, "summary: String should have at least 1 character"),
        ({"start": "canary"}, "start: Value error, must be a date, such as 2026-12-01, or a time, such as"),
        ({"start": "2026-12-01 12:00:00Z"}, "start: "),
        ({"start": "2026-12-01T12:00Z"}, "start: "),
        ({"start": "20261201"}, "start: "),
        ({"start": "2026-02-30"}, "start: Value error, must be a day and a time that there are"),
        ({"start": "2026-12-01T25:00:00Z"}, "start: "),
        ({"start": "2026-12-01T12:00:00+99:00"}, "start: "),
        ({"start": 1_800_000_000}, "start: "),
        ({"end": "2026-12-02"}, "payload: Value error, start and end must be two dates, or two times"),
        ({"start": "2026-12-01"}, "start and end must be two dates, or two times"),
        ({"end": "2026-12-01T12:00:00+01:00"}, "end must be after start"),
        ({"end": "2026-12-01T12:30:00+02:00"}, "end must be after start"),
        ({"start": "2026-12-01", "end": "2026-12-01"}, "(of whole days: the day after the last one)"),
        ({"start": "2026-12-01T12:00:00", "end": "2026-12-01T13:00:00"}, "needs an offset from UTC, such as +01:00, or a time_zone"),
        ({"start": "2026-12-01T12:00:00", "time_zone": "UTC"}, "must both have an offset from UTC, or neither"),
        ({"time_zone": "Mars/canary"}, "time_zone: Value error, must be the name of an IANA time zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone: Value error, must be the name"),
        ({"time_zone": "/etc/passwd"}, "time_zone: "),
        ({"time_zone": ""}, "time_zone: "),
        ({"time_zone": "a\0b"}, "time_zone: "),
        ({"start": "2026-12-01", "end": "2026-12-02", "time_zone": "UTC"}, "time_zone is for times"),
        ({"recurrence": ["RRULE:FREQ=DAILY"]}, "recurrence needs a time_zone"),
        ({"recurrence": ["DTSTART:canary"]}, "recurrence.0: Value error, must be an RRULE, EXRULE, RDATE or EXDATE line"),
        ({"recurrence": ["RRULE:FREQ=DAILY\nDTSTART:x"]}, "recurrence.0: "),
        ({"calendar": "canary"}, "calendar: Value error, must be primary, or a calendar's address"),
        ({"calendar": "../canary"}, "calendar: "),
        ({"guests": ["canary"]}, "guests.0: Value error, must be a plain ASCII address"),
        ({"guests": [f"a{n}@b.example" for n in range(201)]}, "guests: Tuple should have at most 200 items"),
        ({"send_updates": "all"}, "send_updates is for guests, and there are none"),
        ({"send_updates": "canary"}, "send_updates: Input should be 'all', 'externalOnly' or 'none'"),
        ({"id": "canary"}, "id: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_what_google_would_refuse_is_refused_early(changed, words):
    check_refused(EVENT.name, LUNCH | changed, words)


def test_a_machine_that_knows_no_time_zones_leaves_them_to_google(monkeypatch):
    monkeypatch.setattr("actas.actions.google.calendar.available_timezones", set)
    assert EVENT.parse(LUNCH | {"time_zone": "Mars/Olympus"}).time_zone == "Mars/Olympus"
    check_refused(EVENT.name, LUNCH | {"time_zone": "../x"}, "time_zone: ")


# --- mail ---


def read(raw: str) -> EmailMessage:
    return message_from_bytes(urlsafe_b64decode(raw), policy=policy.SMTP)


def send(**payload) -> EmailMessage:
    http, sent = api("google", reply(200, {"id": "18c0", "threadId": "18c0"}))
    assert MAIL.perform(http, MAIL.parse(payload), JOB) == Result("18c0")
    (request,) = sent
    assert (request.method, request.url) == ("POST", "https://gmail.googleapis.com/gmail/v1/users/me/messages/send")
    return read(request.json["raw"])


def test_a_message_is_what_was_asked_for():
    mail = send(
        to=["bob@b.example", {"address": "z@c.example", "name": 'Zoë, "the" <Great>'}],
        cc=["c@c.example"],
        bcc=["d@d.example"],
        reply_to={"address": "alice@a.example", "name": "Alice"},
        subject="Grüße 👨‍👩‍👧‍👦 " + "long " * 60,
        text="Zeile eins\nЖ\n.\nFrom me",
    )  # fmt: skip
    assert [(each.display_name, each.addr_spec) for each in mail["To"].addresses] == [
        ("", "bob@b.example"),
        ('Zoë, "the" <Great>', "z@c.example"),
    ]
    assert [each.addr_spec for each in mail["Cc"].addresses + mail["Bcc"].addresses] == ["c@c.example", "d@d.example"]
    assert str(mail["Reply-To"]) == "Alice <alice@a.example>"
    assert mail["Subject"] == "Grüße 👨‍👩‍👧‍👦 " + "long " * 60
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines() == ["Zeile eins", "Ж", ".", "From me"]
    assert "Date" not in mail
    assert "From" not in mail


def test_html_comes_alone_or_with_a_text_for_those_who_see_none():
    alone = send(to=["b@b.example"], html="<p>ho\u00e9</p>")
    assert (alone.get_content_type(), alone.get_content().strip()) == ("text/html", "<p>ho\u00e9</p>")
    both = send(to=["b@b.example"], text="t", html="<p>h</p>")
    assert both.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in both.iter_parts()] == ["text/plain", "text/html"]


lines = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=120)


@given(lines, lines, st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200))
def test_whatever_is_written_stays_where_it_was_written(subject, name, text):
    payload = MAIL.parse({"to": [{"address": "b@b.example", "name": name}], "subject": subject, "text": text})
    raw = message(payload)
    head, _, body = raw.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert sorted(set(names)) == sorted(names)
    assert set(names) <= {b"To", b"Subject", b"Content-Type", b"Content-Transfer-Encoding", b"MIME-Version"}
    assert head.isascii()
    mail = message_from_bytes(raw, policy=policy.SMTP)
    assert [each.addr_spec for each in mail["To"].addresses] == ["b@b.example"]
    assert not [line for line in body.split(b"\r\n") if b"\n" in line or b"\r" in line]


@pytest.mark.parametrize(
    "names",
    [
        ["Smith, J.", "Éva (home)", "Jörg"],  # Python 3.11.7 sends this one to two of them
        ["Jörg", "<Ann>, Q.", "Łukasz " * 10, "a@evil.example, b"],
        ["ü" * 200, "plain " * 30, "=?utf-8?q?=2C?=", "\\", '"', ""],
    ],
)
def test_a_message_goes_to_whom_it_names_whatever_their_names(names):
    whom = [{"address": f"n{number}@b.example", "name": name} for number, name in enumerate(names)]
    raw = message(MAIL.parse({"to": whom, "cc": whom[::-1], "text": "t"}))
    mail, as_it_is = message_from_bytes(raw, policy=policy.SMTP), message_from_bytes(raw)
    for read_as, asked in (("To", whom), ("Cc", whom[::-1])):
        assert [each.addr_spec for each in mail[read_as].addresses] == [each["address"] for each in asked]
        # Of a name that is in several encoded words, Python's newer reader makes several words.
        older = getaddresses([str(as_it_is[read_as])])
        shown = [(str(make_header(decode_header(name))).strip(), address) for name, address in older]
        assert shown == [(each["name"].strip(), each["address"]) for each in asked]


@pytest.mark.parametrize("subject", ["=?utf-8?q?=0d=0aBcc:_eve?=", "x" * 2000, " blanks ", "é" + "=?utf-8?q?a?=b"])
def test_a_subject_is_what_was_written(subject):
    mail = send(to=["b@b.example"], subject=subject, text="t")
    assert mail["Subject"] == subject


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\0", "\x7f"]
)
@pytest.mark.parametrize("field", ["subject", "name", "address", "reply_to"])
def test_no_field_becomes_a_header_of_its_own(end, field):
    injected = f"canary{end}Bcc: evil@evil.example"
    payload = {"to": ["b@b.example"], "text": "t"}
    payload |= {
        "subject": {"subject": injected},
        "name": {"to": [{"address": "b@b.example", "name": injected}]},
        "address": {"to": [f"b@b.example{end}Bcc: evil@evil.example"]},
        "reply_to": {"reply_to": {"address": "b@b.example", "name": injected}},
    }[field]
    with pytest.raises(InvalidPayload) as caught:
        MAIL.parse(payload)
    assert "canary" not in str(caught.value)
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"text": "t"}, "to, cc and bcc must have 1 to 100 addresses together, and have 0"),
        ({"to": [f"a{n}@b.example" for n in range(60)], "bcc": [f"b{n}@b.example" for n in range(41)], "text": "t"}, "and have 101"),
        ({"to": ["b@b.example"]}, "needs a text, an html, or both"),
        ({"to": "b@b.example", "text": "t"}, "to: "),
        ({"to": ["canary"], "text": "t"}, "to.0.address: Value error, must be a plain ASCII address"),
        ({"to": ["canary@canary"], "text": "t"}, "to.0.address: "),
        ({"to": ["a@b.example, canary@b.example"], "text": "t"}, "to.0.address: "),
        ({"to": ["Canary <canary@b.example>"], "text": "t"}, "to.0.address: "),
        ({"to": ['"canary"@b.example'], "text": "t"}, "to.0.address: "),
        ({"to": ["canary@[127.0.0.1]"], "text": "t"}, "to.0.address: "),
        ({"to": ["canary@bücher.example"], "text": "t"}, "xn--"),
        ({"to": ["bücher@canary.example"], "text": "t"}, "to.0.address: "),
        ({"to": ["a..b@b.example"], "text": "t"}, "to.0.address: "),
        ({"to": [".a@b.example"], "text": "t"}, "to.0.address: "),
        ({"to": ["a@-b.example"], "text": "t"}, "to.0.address: "),
        ({"to": ["a@b..example"], "text": "t"}, "to.0.address: "),
        ({"to": ["a" * 65 + "@b.example"], "text": "t"}, "to.0.address: "),
        ({"to": ["a@" + "b." * 126 + "example"], "text": "t"}, "to.0.address: "),
        ({"to": ["b@b.example"], "text": "a\0canary"}, "text: Value error, must have no NUL characters"),
        ({"to": ["b@b.example"], "text": "t", "from": "canary@b.example"}, "from: Extra inputs are not permitted"),
        ({"to": ["b@b.example"], "text": "t", "attachments": ["canary"]}, "attachments: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_what_gmail_would_refuse_is_refused_early(payload, words):
    check_refused(MAIL.name, payload, words)


@pytest.mark.parametrize(
    "address",
    [
        "a@b.example",
        "a.b-c_d+e/f=g@x.y-z.example",
        "o'neil@b.example",
        "x@xn--bcher-kva.example",
        "a" * 64 + "@b.example",
    ],
)
def test_an_address_that_mail_goes_to_is_taken(address):
    assert [each.addr_spec for each in send(to=[address], text="t")["To"].addresses] == [address]


@pytest.mark.timeout(10)
def test_no_address_takes_long_to_be_read():
    for hostile in ("a." * 30_000, "a@" + "b." * 30_000, "a@" + "b-" * 30_000, "!" * 60_000):
        check_refused(MAIL.name, {"to": [hostile], "text": "t"}, "to.0.address: ")


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": ""}, {"id": 1}, [], b"<html>"])
def test_an_accepted_message_without_an_id_is_of_unknown_outcome(body):
    http, _ = api("google", reply(200, body))
    with pytest.raises(NoReply):
        MAIL.perform(http, MAIL.parse({"to": ["b@b.example"], "text": "t"}), JOB)


def test_mail_is_sent_once_and_nobody_looks_for_it():
    payload = MAIL.parse({"to": ["b@b.example"], "text": "t"})
    assert not MAIL.is_idempotent(payload)
    http, sent = api("google")
    assert MAIL.find(http, payload, JOB, Search("42", NOW)) is None
    assert sent == []
    assert MAIL.scopes == {"https://www.googleapis.com/auth/gmail.send"}
