"""microsoft.send_mail: what it takes, what it sends, what it makes of the answer."""

from __future__ import annotations

import pytest

from actas.actions import BUILT_IN, Refused, Result, Search
from actas.http import NoReply
from tests.unit.recorded import NOW, api, reply
from tests.unit.refusing import check_refused

MAIL = BUILT_IN["microsoft.send_mail"]
JOB = "0199f0a1-2b3c-7d4e-8f50-112233445566"
HI = {"to": ["bob@b.example"], "text": "Hi"}


def send(**payload):
    http, sent = api("microsoft", reply(202, b"", {"request-id": "of-theirs"}))
    result = MAIL.perform(http, MAIL.parse(payload), JOB)
    (request,) = sent
    return result, request


def test_a_message_is_one_request_and_its_result_is_what_graph_knows_the_request_by():
    result, request = send(**HI, subject="Grüße")
    assert result == Result(JOB)
    assert (request.method, request.url) == ("POST", "https://graph.microsoft.com/v1.0/me/sendMail")
    assert request.headers["client-request-id"] == JOB
    assert request.json == {
        "message": {
            "subject": "Grüße",
            "body": {"contentType": "Text", "content": "Hi"},
            "toRecipients": [{"emailAddress": {"address": "bob@b.example"}}],
        }
    }


def test_everything_that_can_be_said_is_sent():
    _, request = send(
        cc=[{"address": "c@c.example", "name": "Zoë, the Great"}],
        bcc=["d@d.example"],
        reply_to="alice@a.example",
        html="<p>x</p>",
        save_to_sent_items=False,
    )
    assert request.json == {
        "message": {
            "subject": "",
            "body": {"contentType": "HTML", "content": "<p>x</p>"},
            "ccRecipients": [{"emailAddress": {"address": "c@c.example", "name": "Zoë, the Great"}}],
            "bccRecipients": [{"emailAddress": {"address": "d@d.example"}}],
            "replyTo": [{"emailAddress": {"address": "alice@a.example"}}],
        },
        "saveToSentItems": False,
    }


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"text": "x"}, "to, cc and bcc must have 1 to 1000 addresses together, and have 0"),
        ({"to": [f"a{n}@b.example" for n in range(1001)], "text": "x"}, "and have 1001"),
        ({"to": ["b@b.example"]}, "needs either a text or an html"),
        ({"to": ["b@b.example"], "text": "canary", "html": "canary"}, "needs either a text or an html"),
        ({**HI, "subject": "c" * 256}, "subject: String should have at most 255 characters"),
        ({**HI, "subject": "canary\nx"}, "subject: Value error, must be one line without control characters"),
        ({**HI, "to": ["canary"]}, "to.0.address: Value error, must be a plain ASCII address"),
        ({**HI, "to": [{"address": "b@b.example", "name": "canary\r"}]}, "to.0.name: Value error, must be one line"),
        ({**HI, "to": [{"name": "canary"}]}, "to.0.address: Field required"),
        ({**HI, "reply_to": "canary"}, "reply_to.address: "),
        ({**HI, "from": "canary@b.example"}, "from: Extra inputs are not permitted"),
    ],
)
def test_what_exchange_would_refuse_is_refused_early(payload, words):
    check_refused(MAIL.name, payload, words)


def test_a_mailbox_that_may_not_send_is_a_refusal():
    http, _ = api("microsoft", reply(403, {"error": {"code": "ErrorAccessDenied", "message": "Access is denied."}}))
    with pytest.raises(Refused):
        MAIL.perform(http, MAIL.parse(HI), JOB)


def test_a_lost_reply_is_of_unknown_outcome_and_nobody_looks():
    payload = MAIL.parse(HI)
    http, _ = api("microsoft", NoReply())
    with pytest.raises(NoReply):
        MAIL.perform(http, payload, JOB)
    http, sent = api("microsoft")
    assert MAIL.find(http, payload, JOB, Search("42", NOW)) is None
    assert (sent, MAIL.is_idempotent(payload), MAIL.scopes) == ([], False, {"Mail.Send"})
