"""Mail from a user's Gmail account: ``POST /gmail/v1/users/me/messages/send``.

Sources: developers.google.com/workspace/gmail, "Method: users.messages.send", "Create and send email messages" (the
whole message, RFC 2822, base64url-encoded, as ``raw``).
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.policy import SMTP
from typing import Self

from pydantic import model_validator

from actas.actions.base import Action, ActionHttp, Result
from actas.actions.mail import Line, NamedAddress, Recipients, Text
from actas.http import NoReply

#: On a host of its own, ``other_api_urls`` of the profile.
SEND = "https://gmail.googleapis.com/gmail/v1/users/me/messages/send"


class MessagePayload(Recipients):
    #: support.google.com/a/answer/166852: "Recipients per message sent via SMTP ... or the Gmail API".
    most_recipients = 100

    subject: Line = ""
    text: Text | None = None
    html: Text | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.text is None and self.html is None:
            raise ValueError("needs a text, an html, or both (the same, for those who see no HTML)")
        return self


class Send(Action[MessagePayload]):
    """One message. It cannot be asked for once: a request repeated is a message more.

    ``find``: who may only send (gmail.send) may not look, and Gmail may give a message another Message-ID than the one
    that it was sent with, so that one who may would not find it, and it would be sent twice. A person decides.
    """

    name = "google.gmail.send"
    provider = "google"
    scopes = frozenset({"https://www.googleapis.com/auth/gmail.send"})
    idempotent = False
    payload_type = MessagePayload

    def perform(self, http: ActionHttp, payload: MessagePayload, job_id: str) -> Result:  # noqa: ARG002
        raw = urlsafe_b64encode(message(payload).as_bytes()).decode()
        match http.request("POST", SEND, json={"raw": raw}):
            case {"id": str(made)} if made:
                return Result(made)
        raise NoReply("Gmail accepted the message but named no id")


def message(payload: MessagePayload) -> EmailMessage:
    """The message as it is sent; Gmail adds who it is from, its date and its id. Pure."""
    mail = EmailMessage(policy=SMTP)
    for header, whom in (("To", payload.to), ("Cc", payload.cc), ("Bcc", payload.bcc)):
        if whom:
            mail[header] = _addresses(whom)
    if payload.reply_to is not None:
        mail["Reply-To"] = _addresses([payload.reply_to])
    mail["Subject"] = payload.subject
    if payload.text is not None:
        mail.set_content(payload.text)
    if payload.html is not None and payload.text is not None:
        mail.add_alternative(payload.html, subtype="html")
    elif payload.html is not None:
        mail.set_content(payload.html, subtype="html")
    return mail


def _addresses(whom: Iterable[NamedAddress]) -> tuple[HeaderAddress, ...]:
    return tuple(HeaderAddress(each.name, addr_spec=each.address) for each in whom)
