"""What mail is made of, at whichever provider: an address, a line, a text, those it goes to."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Self
from unicodedata import category

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from actas.payload import Payload

#: RFC 5321 sections 4.1.2 and 4.5.3.1: a dot-string of at most 64 octets, and a domain. No comments, no quoted strings
#: and no address literals: nobody has such an address, and each reads them in a way of its own.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?=.{{1,254}}\Z)(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+")

#: Control characters, among them all that ends a line, and the halves of characters. What joins emojis is none of them.
_NOT_IN_A_LINE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError("must be a plain ASCII address, such as alice@example.com (of other domains the xn-- form)")
    return text


def one_line(text: str) -> str:
    """A text, if it is one line.

    Raises:
        ValueError.
    """
    if any(category(character) in _NOT_IN_A_LINE for character in text):  # a header of two lines would be two headers
        raise ValueError("must be one line without control characters")
    return text


def _text(text: str) -> str:
    if "\0" in text:  # RFC 5322 section 2.3
        raise ValueError("must have no NUL characters")
    return text


Address = Annotated[str, AfterValidator(_address)]
Line = Annotated[str, AfterValidator(one_line)]
Text = Annotated[str, AfterValidator(_text)]


class NamedAddress(Payload):
    address: Address
    name: Annotated[str, Field(max_length=200), AfterValidator(one_line)] = ""


def _named(value: Any) -> Any:
    return {"address": value} if isinstance(value, str) else value


#: An address alone, or with a name: ``"a@example.com"``, ``{"address": "a@example.com", "name": "Alice"}``.
Mailbox = Annotated[NamedAddress, BeforeValidator(_named)]


class Recipients(Payload):
    """Whom a message goes to: to somebody, and not to more than its provider takes."""

    most_recipients: ClassVar[int]

    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    reply_to: Mailbox | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        count = len(self.to) + len(self.cc) + len(self.bcc)
        if not 1 <= count <= self.most_recipients:
            raise ValueError(
                f"to, cc and bcc must have 1 to {self.most_recipients} addresses together, and have {count}"
            )
        return self
