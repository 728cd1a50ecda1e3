"""Mail from a user's Gmail account: ``POST /gmail/v1/users/me/messages/send``.

Sources: developers.google.com/workspace/gmail, "Method: users.messages.send", "Create and send email messages" (the
whole message, RFC 2822, base64url-encoded, as ``raw``).
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from typing import Self

from pydantic import model_validator

from actas.actions.base import Action, ActionHttp, Result
from actas.actions.mail import Line, NamedAddress, Recipients, Text
from actas.http import NoReply

#: On a host of its own, ``other_api_urls`` of the profile.
SEND = "https://gmail.googleapis.com/gmail/v1/users/me/messages/send"

#: RFC 5322 section 2.1.1: a line has at most 998 characters; this leaves room for the rest of one.
PLAIN_LINE = 900


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
        raw = urlsafe_b64encode(message(payload)).decode()
        match http.request("POST", SEND, json={"raw": raw}):
            case {"id": str(made)} if made:
                return Result(made)
        raise NoReply("Gmail accepted the message but named no id")


def message(payload: MessagePayload) -> bytes:
    """The message as it is sent; Gmail adds who it is from, its date and its id. Pure."""
    headers = [
        f"{header}: {_addresses(whom)}"
        for header, whom in (
            ("To", payload.to),
            ("Cc", payload.cc),
            ("Bcc", payload.bcc),
            ("Reply-To", [payload.reply_to] if payload.reply_to else []),
        )
        if whom
    ]
    headers.append(f"Subject: {_words(payload.subject, 'Subject')}")
    return "".join(f"{header}\r\n" for header in headers).encode("ascii") + _content(payload).as_bytes()


def _content(payload: MessagePayload) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    if payload.text is not None:
        mail.set_content(payload.text)
    if payload.html is not None and payload.text is not None:
        mail.add_alternative(payload.html, subtype="html")
    elif payload.html is not None:
        mail.set_content(payload.html, subtype="html")
    return mail


def _addresses(whom: Iterable[NamedAddress]) -> str:
    """Addresses, each in a line of its own.

    ``email.headerregistry`` would do, but where it folds a list with names that are not ASCII, some releases of Python
    encode the commas, too (CVE-2025-1795; 3.11.7, for one): then the message goes to fewer than were named, or others.
    """
    return ",\r\n ".join(f"{_name(each.name)}<{each.address}>" for each in whom)


def _name(name: str) -> str:
    words = _words(name, "To")
    if words != name:
        return f"{words} "
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" ' if name else ""


def _words(text: str, header: str) -> str:
    """A text as it may stand in a header: as it is, or else in encoded words (RFC 2047), folded between them."""
    plain = text.isascii() and text == text.strip() and "=?" not in text and len(text) <= PLAIN_LINE
    return text if plain else Header(text, "utf-8", header_name=header).encode(linesep="\r\n")
