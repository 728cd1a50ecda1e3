"""X's ids, and whose account it is."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from actas.actions.base import ActionHttp
from actas.http import NoReply

#: X's published OpenAPI document (v2.167): PostId, UserId and MediaId.
ID = re.compile(r"[0-9]{1,19}")


def _an_id(text: str) -> str:
    # X shows an id without leading zeros: what refers to 007 would not be found where X says 7, and be made twice.
    if not ID.fullmatch(text) or text != str(int(text)):
        raise ValueError("must be an id of X, as a text of 1 to 19 digits that does not begin with 0")
    return text


Id = Annotated[str, AfterValidator(_an_id)]


def account_id(http: ActionHttp, account: str) -> str:
    """The account's id at X, which the grant of an import may not know.

    Raises:
        NoReply: X does not say it.
    """
    if ID.fullmatch(account):
        return account
    match http.request("GET", "/2/users/me"):
        case {"data": {"id": str(known)}} if ID.fullmatch(known):
            return known
    raise NoReply("X did not say whose access token it is")
