"""What X answers, as much of it as our code reads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from actas.actions import Search
from tests.contract.schema import Operation, Request

ACCOUNT = "2244994945"
SEARCH = Search(ACCOUNT, datetime(2026, 11, 26, 12, tzinfo=UTC))

#: An account's two pages: the second is asked for by the token of the first.
FIRST_PAGE = {
    "data": [
        {
            "id": "1346889436626259968",
            "text": "Learn how https://t.co/56a0vZUx7i",
            "created_at": "2026-11-26T12:00:10.000Z",
            "edit_history_post_ids": ["1346889436626259968"],
        }
    ],
    "meta": {"result_count": 1, "newest_id": "1346889436626259968", "oldest_id": "1346889436626259968", "next_token": "7140w"},
}  # fmt: skip
LAST_PAGE = {"meta": {"result_count": 0}}

ANSWERS: dict[str, Any] = {
    "GET /2/users/me": {"data": {"id": ACCOUNT, "name": "X Dev", "username": "TwitterDev"}},
    "POST /2/tweets": {"data": {"id": "1346889436626259968", "text": "Learn how"}},
    "GET /2/tweets/{id}": {"data": {"id": "1", "text": "hi", "edit_history_post_ids": ["1"]}},
    "DELETE /2/tweets/{id}": {"data": {"deleted": True}},
    "POST /2/users/{id}/retweets": {"data": {"rest_id": "1", "retweeted": True}},
    "POST /2/users/{id}/likes": {"data": {"liked": True}},
    "POST /2/media/upload/initialize": {"data": {"id": "11", "media_key": "3_11", "expires_after_secs": 86400}},
    "POST /2/media/upload/{id}/append": {"data": {"expires_at": 1_800_000_000}},
    "POST /2/media/upload/{id}/finalize": {
        "data": {"id": "11", "processing_info": {"state": "pending", "check_after_secs": 1}}
    },
    "GET /2/media/upload": {"data": {"id": "11", "processing_info": {"state": "succeeded", "progress_percent": 100}}},
    "POST /2/media/metadata": {"data": {"id": "11"}},
}


def answer(request: Request, operation: Operation) -> Any:
    """X's answer to a request that does what it was asked for."""
    if operation.name == "GET /2/users/{id}/tweets":
        return LAST_PAGE if "pagination_token" in request.query else FIRST_PAGE
    return ANSWERS[operation.name]
