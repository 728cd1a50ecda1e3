"""Mail from a user's Exchange Online or Outlook.com mailbox: ``POST /v1.0/me/sendMail``.

Sources: learn.microsoft.com/graph/api/user-sendmail (202 without a body), .../resources/message and .../recipient,
.../graph/best-practices-concept ("client-request-id"); learn.microsoft.com/office365/servicedescriptions, "Exchange
Online limits".
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from actas.actions.base import Action, ActionHttp, Result
from actas.actions.mail import NamedAddress, Recipients, Text, one_line

#: "Exchange Online limits": the longest subject.
MOST_SUBJECT = 255


class MailPayload(Recipients):
    #: "Exchange Online limits", the recipient limit: 500 unless an administrator says otherwise, up to this.
    most_recipients = 1000

    subject: Annotated[str, Field(max_length=MOST_SUBJECT), AfterValidator(one_line)] = ""
    text: Text | None = None
    html: Text | None = None
    save_to_sent_items: bool = True

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if (self.text is None) == (self.html is None):
            raise ValueError("needs either a text or an html: a message of Graph's has one body")
        return self


class SendMail(Action[MailPayload]):
    """One message. Graph has no idempotency header here: a request repeated is a message more.

    What was sent could be looked for in Sent Items by whoever may read them (Mail.Read), which is much to ask of a user
    who is to send; and what comes there comes late, or never (save_to_sent_items). So ``find`` cannot tell.
    """

    name = "microsoft.send_mail"
    provider = "microsoft"
    scopes = frozenset({"Mail.Send"})
    idempotent = False
    payload_type = MailPayload

    def perform(self, http: ActionHttp, payload: MailPayload, job_id: str) -> Result:
        """Send it. Graph names nothing that it made; the reference is what its logs and its support know this by."""
        headers = {"client-request-id": job_id}
        http.send("POST", "/v1.0/me/sendMail", json=request(payload), headers=headers)
        return Result(job_id)


def request(payload: MailPayload) -> dict[str, Any]:
    """What Graph is asked to send. Pure."""
    kind, content = ("Text", payload.text) if payload.text is not None else ("HTML", payload.html)
    message: dict[str, Any] = {"subject": payload.subject, "body": {"contentType": kind, "content": content}}
    for field, whom in (("to", payload.to), ("cc", payload.cc), ("bcc", payload.bcc)):
        if whom:
            message[f"{field}Recipients"] = [_recipient(each) for each in whom]
    if payload.reply_to is not None:
        message["replyTo"] = [_recipient(payload.reply_to)]
    saved = {} if payload.save_to_sent_items else {"saveToSentItems": False}  # "only if the parameter is false"
    return {"message": message, **saved}


def _recipient(whom: NamedAddress) -> dict[str, Any]:
    name = {"name": whom.name} if whom.name else {}
    return {"emailAddress": {"address": whom.address, **name}}
