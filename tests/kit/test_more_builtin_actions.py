"""The other built-in actions through the whole battery; the replies are the examples of the providers' pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actas.actions import github, google, http_request, linkedin, microsoft, x
from actas.actions.base import Action
from actas.providers import BUILT_IN
from actas.testing import ActionBattery, Lists, Looks, Made, Person, Reply, Says, World

WRITE = ("tweet.read", "tweet.write", "users.read")

NOT_FOUND = {
    "errors": [
        {
            "detail": "Could not find tweet with id: [1228393702244134912].",
            "title": "Not Found Error",
            "resource_type": "tweet",
            "parameter": "id",
            "value": "1228393702244134912",
            "type": "https://api.twitter.com/2/problems/resource-not-found",
        }
    ]
}


class TestXDeletePost(ActionBattery):
    """docs.x.com, "Delete Post"."""

    provider = BUILT_IN["x"]
    action = x.DeletePost()
    payload = {"post_id": "1228393702244134912"}
    bad_payloads = [("post_id", {"post_id": "12x"}), ("post_id", {})]
    api = [
        Made(
            "DELETE",
            "/2/tweets/{id}",
            Reply(200, {"data": {"deleted": True}}),
            reference="deleted:{path.id}",
            key="{path.id}",
            again=Reply(200, NOT_FOUND),
            scopes=WRITE,
        )
    ]


class TestXLike(ActionBattery):
    """docs.x.com, "Like Post"."""

    provider = BUILT_IN["x"]
    action = x.Like()
    payload = {"post_id": "1228393702244134912"}
    bad_payloads = [("post_id", {"post_id": "12x"})]
    api = [
        Made(
            "POST",
            "/2/users/{id}/likes",
            Reply(200, {"data": {"liked": True}}),
            reference="like:{json.tweet_id}",
            key="{json.tweet_id}",
            scopes=("tweet.read", "users.read", "like.write"),
        )
    ]


class TestXRepost(ActionBattery):
    """docs.x.com, "Repost Post"."""

    provider = BUILT_IN["x"]
    action = x.Repost()
    payload = {"post_id": "1228393702244134912"}
    bad_payloads = [("post_id", {"post_id": "12x"})]
    api = [
        Made(
            "POST",
            "/2/users/{id}/retweets",
            Reply(200, {"data": {"retweeted": True}}),
            reference="repost:{json.tweet_id}",
            key="{json.tweet_id}",
            again=Reply(
                400,
                {
                    "detail": "You cannot retweet a Tweet that you have already retweeted.",
                    "title": "Invalid Request",
                    "type": "https://api.twitter.com/2/problems/invalid-request",
                },
            ),
            scopes=WRITE,
        )
    ]


IMAGE = b"\x89PNG\r\n\x1a\n" * 200_000  # of two segments
FILE = {"sha256": "0" * 64, "size": len(IMAGE), "media_type": "image/png"}


class TestXUploadMedia(ActionBattery):
    """docs.x.com, "Chunked Media Upload". What is made is made by finalizing; the rest may be begun anew."""

    provider = BUILT_IN["x"]
    action = x.UploadMedia()
    payload = {"file": FILE, "category": "tweet_image", "alt_text": "Nothing to see"}
    bad_payloads = [
        ("tweet_gif is one of image/gif", {"file": FILE, "category": "tweet_gif"}),
        ("file.size", {"file": {**FILE, "size": 0}, "category": "tweet_image"}),
    ]
    makes = 1
    api = [
        Says("POST", "/2/media/upload/initialize", Reply(200, {"data": {"id": "1146654567674912769"}})),
        Says("POST", "/2/media/upload/{id}/append", Reply(200, {"data": {"expires_at": 1_808_128_515}})),
        Made(
            "POST",
            "/2/media/upload/{id}/finalize",
            Reply(200, {"data": {"id": "{path.id}", "media_key": "3_1146654567674912769"}}),
            key="{path.id}",
            reference="{path.id}",
            scopes=("media.write",),
        ),
        Says("POST", "/2/media/metadata", Reply(200, {"data": {"id": "1146654567674912769"}})),
    ]

    def payload_for(self, world: World, who: Person) -> Mapping[str, Any]:
        file = world.app.store_file(IMAGE, media_type="image/png")
        return {**self.payload, "file": file.model_dump()}


#: docs.github.com/rest, "Rate limits for the REST API": a 403 with nothing remaining; and a secondary limit's 429.
GITHUB_LIMITS = [
    Reply(
        403,
        {"message": "API rate limit exceeded for user ID 583231."},
        {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "{reset}"},
        pause=900,
    ),
    Reply(429, {"message": "You have exceeded a secondary rate limit."}, {"retry-after": "60"}),
]


class TestGitHubCreateIssue(ActionBattery):
    """docs.github.com/rest/issues/issues, "Create an issue", "List repository issues"."""

    provider = BUILT_IN["github"]
    action = github.CreateIssue()
    payload = {"repository": "octocat/hello-world", "title": "Found a bug", "body": "I'm having a problem with this."}
    bad_payloads = [
        ("title", {"repository": "octocat/hello-world", "title": " "}),
        ("repository", {"repository": "hello-world", "title": "t"}),
    ]
    similar = {"repository": "octocat/hello-world", "title": "Found a bug, too", "body": "I'm having a problem."}
    api = [
        Made(
            "POST",
            "/repos/{owner}/{repo}/issues",
            Reply(201, {"id": 1, "number": "{number}", "title": "{json.title}", "state": "open"}),
            reference="{path.owner}/{path.repo}/issues/{number}",
        ),
        Lists(
            "GET",
            "/repos/{owner}/{repo}/issues",
            Reply(200, "{items}"),
            {
                "number": "{number}",
                "title": "{json.title}",
                "body": "{json.body}",
                "user": {"login": "octocat", "id": "{account_number}"},
                "created_at": "{at}",
                "updated_at": "{at}",
            },
            everybodys=True,
        ),
    ]
    limits = GITHUB_LIMITS


class TestGitHubComment(ActionBattery):
    """docs.github.com/rest/issues/comments, "Create an issue comment", "List issue comments"."""

    provider = BUILT_IN["github"]
    action = github.Comment()
    payload = {"repository": "octocat/hello-world", "issue": 1347, "body": "Me too"}
    bad_payloads = [
        ("body", {"repository": "octocat/hello-world", "issue": 1347, "body": ""}),
        ("issue", {"repository": "octocat/hello-world", "issue": 0, "body": "b"}),
    ]
    similar = {"repository": "octocat/hello-world", "issue": 1347, "body": "Me neither"}
    api = [
        Made(
            "POST",
            "/repos/{owner}/{repo}/issues/{issue}/comments",
            Reply(201, {"id": "{number}", "body": "{json.body}"}),
            reference="{path.owner}/{path.repo}/issues/comments/{number}",
        ),
        Lists(
            "GET",
            "/repos/{owner}/{repo}/issues/{issue}/comments",
            Reply(200, "{items}"),
            {
                "id": "{number}",
                "body": "{json.body}",
                "user": {"login": "octocat", "id": "{account_number}"},
                "created_at": "{at}",
                "updated_at": "{at}",
            },
            everybodys=True,
            newest_first=False,
        ),
    ]
    limits = GITHUB_LIMITS


#: developers.google.com/workspace/calendar/api/guides/errors
def _google_error(status: int, reason: str, message: str) -> Reply:
    error = {"errors": [{"domain": "usageLimits", "reason": reason, "message": message}], "code": status}
    return Reply(status, {"error": {**error, "message": message}})


class TestGoogleCreateEvent(ActionBattery):
    """developers.google.com/workspace/calendar, "Events: insert", "Events: get", "Handle API errors"."""

    provider = BUILT_IN["google"]
    action = google.CreateEvent()
    payload = {"summary": "Lunch", "start": "2026-12-01T12:00:00+01:00", "end": "2026-12-01T13:00:00+01:00"}
    bad_payloads = [
        ("summary", {"summary": "", "start": "2026-12-01", "end": "2026-12-02"}),
        ("start", {"summary": "s", "start": "tomorrow", "end": "2026-12-02"}),
    ]
    api = [
        Made(
            "POST",
            "/calendar/v3/calendars/{calendar}/events",
            Reply(200, {"kind": "calendar#event", "id": "{id}", "status": "confirmed", "summary": "{json.summary}"}),
            id="{json.id}",
            key="{json.id}",
            again=_google_error(409, "duplicate", "The requested identifier already exists."),
            scopes=("https://www.googleapis.com/auth/calendar.events",),
        ),
        Looks(
            "GET",
            "/calendar/v3/calendars/{calendar}/events/{id}",
            Reply(
                200,
                {"id": "{id}", "status": "confirmed", "extendedProperties": "{json.extendedProperties}"},
            ),
            _google_error(404, "notFound", "Not Found"),
        ),
    ]
    limits = [
        _google_error(403, "rateLimitExceeded", "Rate Limit Exceeded"),
        _google_error(403, "userRateLimitExceeded", "User Rate Limit Exceeded"),
        _google_error(429, "rateLimitExceeded", "Too many requests"),
    ]
    refusals = [(_google_error(403, "forbiddenForNonOrganizer", "Forbidden"), "http_403")]


class TestGoogleSend(ActionBattery):
    """developers.google.com/workspace/gmail, "Method: users.messages.send"."""

    provider = BUILT_IN["google"]
    action = google.Send()
    payload = {"to": [{"address": "bob@example.org"}], "subject": "Hello", "text": "Hello, Bob."}
    bad_payloads = [
        ("to", {"to": [{"address": "nobody"}], "text": "t"}),
        ("text", {"to": [{"address": "bob@example.org"}], "subject": "s"}),
    ]
    api = [
        Made(
            "POST",
            "https://gmail.googleapis.com/gmail/v1/users/me/messages/send",
            Reply(200, {"id": "{id}", "threadId": "{id}", "labelIds": ["SENT"]}),
            scopes=("https://www.googleapis.com/auth/gmail.send",),
        )
    ]


class TestLinkedInPost(ActionBattery):
    """learn.microsoft.com/linkedin, "Posts API": 201, no body, the URN in a header."""

    provider = BUILT_IN["linkedin"]
    action = linkedin.Post()
    payload = {"text": "Sample text Post"}
    bad_payloads = [("text", {"text": ""}), ("text", {"text": "x" * 3001})]
    api = [
        Made(
            "POST",
            "/rest/posts",
            Reply(201, None, {"x-restli-id": "urn:li:share:{number}"}),
            reference="urn:li:share:{number}",
            scopes=("w_member_social",),
        )
    ]
    refusals = [
        (Reply(422, {"message": "Content is a duplicate of urn:li:share:1", "code": "DUPLICATE_POST"}), "duplicate"),
        (Reply(400, {"message": "commentary is too long"}), "http_400"),
    ]


class TestMicrosoftSendMail(ActionBattery):
    """learn.microsoft.com/graph/api/user-sendmail: 202, no body."""

    provider = BUILT_IN["microsoft"]
    action = microsoft.SendMail()
    payload = {"to": [{"address": "bob@example.org"}], "subject": "Hello", "text": "Hello, Bob."}
    bad_payloads = [("to", {"to": [], "text": "t"})]
    api = [
        Made(
            "POST",
            "/v1.0/me/sendMail",
            Reply(202, None),
            reference="{headers.client-request-id}",
            scopes=("Mail.Send",),
        )
    ]
    limits = [Reply(429, {"error": {"code": "ApplicationThrottled"}}, {"retry-after": "10"})]


class TestHttpRequest(ActionBattery):
    """Of a method that HTTP calls idempotent, and one that it does not."""

    provider = BUILT_IN["github"]
    action: Action = http_request.Request()
    payload = {
        "provider": "github",
        "method": "PUT",
        "url": "/user/starred/octocat/hello-world",
    }
    bad_payloads = [
        ("method", {"provider": "github", "method": "CONNECT", "url": "/x"}),
        ("url", {"provider": "github", "method": "GET", "url": "ftp://api.github.com/x"}),
        ("headers", {"provider": "github", "method": "GET", "url": "/x", "headers": {"Authorization": "Bearer x"}}),
    ]
    api = [
        Made(
            "PUT",
            "/user/starred/{owner}/{repo}",
            Reply(204),
            key="{path.owner}/{path.repo}",
            reference="HTTP 204",
        )
    ]
    limits = GITHUB_LIMITS
    hollow_replies = []  # whatever the answer, nobody here knows what it should have


class TestHttpRequestOnce(TestHttpRequest):
    payload = {
        "provider": "github",
        "method": "POST",
        "url": "/repos/octocat/hello-world/issues",
        "json": {"title": "Found a bug"},
        "reference": "number",
    }
    api = [Made("POST", "/repos/{owner}/{repo}/issues", Reply(201, {"number": "{number}"}), reference="{number}")]
