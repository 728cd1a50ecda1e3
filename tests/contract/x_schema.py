"""The operations of X's API that actas uses, in our own words.

The facts are those of X's published OpenAPI document, v2.167: paths, scopes (its ``security``), limits, statuses. Where
ours is tighter, the reason is beside it. What an operation has besides, and we do not use, is not in here.
"""

from __future__ import annotations

from tests.contract.schema import Operation, Schema

ID: Schema = {"type": "string", "pattern": "^[0-9]{1,19}$"}
READ = frozenset({"tweet.read", "users.read"})
WRITE = READ | {"tweet.write"}


def _object(*required: str, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def _list(items: Schema, **limits: int) -> Schema:
    return {"type": "array", "items": items, **limits}


def _fields(*names: str) -> Schema:
    return {"type": "array", "items": {"type": "string", "enum": list(names)}, "minItems": 1, "uniqueItems": True}


POST: Schema = {
    **_object(
        text={"type": "string", "minLength": 1},  # X says "required unless media is provided", and has "" for absent
        reply=_object(
            "in_reply_to_tweet_id",
            in_reply_to_tweet_id=ID,
            exclude_reply_user_ids=_list(ID),  # ids, as everywhere; the document has any text
        ),
        quote_tweet_id=ID,
        poll=_object(
            "options",
            "duration_minutes",
            options=_list({"type": "string", "minLength": 1, "maxLength": 25}, minItems=2, maxItems=4),
            duration_minutes={"type": "integer", "minimum": 5, "maximum": 10_080},
        ),
        media=_object(
            "media_ids",
            media_ids=_list(ID, minItems=1, maxItems=4),
            tagged_user_ids=_list(ID, minItems=1, maxItems=10),
        ),
        reply_settings={"type": "string", "enum": ["following", "mentionedUsers", "subscribers", "verified"]},
    ),
    "anyOf": [{"required": ["text"]}, {"required": ["media"]}],
    # "Mutually exclusive", say the descriptions up to v2.166; v2.167 has no word of it.
    "not": {
        "anyOf": [
            {"required": ["quote_tweet_id", "poll"]},
            {"required": ["quote_tweet_id", "media"]},
            {"required": ["poll", "media"]},
        ]
    },
}

MEDIA = frozenset({"media.write"})
UPLOAD = {
    "data.id": "string",
    "data.processing_info.state": "string",
    "data.processing_info.check_after_secs": "integer",
}

OPERATIONS = (
    Operation("GET", "/2/users/me", READ, 200, reads={"data.id": "string"}),
    Operation("POST", "/2/tweets", WRITE, 201, body=POST, reads={"data.id": "string"}),
    Operation(
        "GET",
        "/2/tweets/{id}",
        READ,
        200,
        parameters={"id": ID},
        reads={"data.id": "string", "errors[].type": "string"},
    ),
    Operation(
        "DELETE",
        "/2/tweets/{id}",
        WRITE,
        200,
        parameters={"id": ID},
        reads={"data.deleted": "boolean", "errors[].type": "string"},
    ),
    Operation(
        "POST",
        "/2/users/{id}/retweets",
        WRITE,
        200,
        parameters={"id": ID},
        body=_object("tweet_id", tweet_id=ID),
        reads={"data.retweeted": "boolean", "errors[].type": "string"},
    ),
    Operation(
        "POST",
        "/2/users/{id}/likes",
        READ | {"like.write"},
        200,
        parameters={"id": ID},
        body=_object("tweet_id", tweet_id=ID),
        reads={"data.liked": "boolean", "errors[].type": "string"},
    ),
    Operation(
        "GET",
        "/2/users/{id}/tweets",
        READ,
        200,
        parameters={"id": ID},
        query={
            "max_results": {"type": "integer", "minimum": 5, "maximum": 100},
            "pagination_token": {"type": "string", "minLength": 1},
            "start_time": {
                "type": "string",
                "format": "date-time",
                "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
            },
            "post.fields": _fields("created_at", "entities", "attachments"),
            "expansions": _fields("referenced_posts", "attachments.poll_ids"),
        },
        reads={
            "data[].id": "string",
            "data[].text": "string",
            "data[].created_at": "string",
            "data[].entities.urls[].url": "string",
            "data[].entities.urls[].expanded_url": "string",
            "data[].referenced_posts[].type": "string",
            "data[].referenced_posts[].id": "string",
            "data[].attachments.media_keys[]": "string",
            "data[].attachments.poll_ids[]": "string",
            "includes.polls[].id": "string",
            "includes.polls[].options[].label": "string",
            "meta.result_count": "integer",
            "meta.next_token": "string",
        },
    ),
    Operation(
        "POST",
        "/2/media/upload/initialize",
        MEDIA,
        200,
        body=_object(
            "media_type",  # the document lets all of them be left out
            "total_bytes",
            "media_category",
            media_type={
                "type": "string",
                "enum": [
                    "image/jpeg",
                    "image/png",
                    "image/webp",
                    "image/gif",
                    "video/mp4",
                    "video/quicktime",
                    "video/webm",
                    "video/mp2t",
                ],
            },
            total_bytes={"type": "integer", "minimum": 1, "maximum": 512 * 1024**2},  # what a stored file has
            media_category={"type": "string", "enum": ["tweet_image", "tweet_gif", "tweet_video"]},
        ),
        reads={"data.id": "string"},
    ),
    Operation(
        "POST",
        "/2/media/upload/{id}/append",
        MEDIA,
        200,
        parameters={"id": ID},
        body=_object(
            "media",
            "segment_index",
            media={"type": "string", "minLength": 1, "maxLength": 1024**2},
            segment_index={"type": "integer", "minimum": 0, "maximum": 999},
        ),
        content_type="multipart/form-data",
    ),
    Operation("POST", "/2/media/upload/{id}/finalize", MEDIA, 200, parameters={"id": ID}, reads=UPLOAD),
    Operation(
        "GET",
        "/2/media/upload",
        MEDIA,
        200,
        query={"media_id": ID, "command": {"type": "string", "enum": ["STATUS"]}},
        reads=UPLOAD,
    ),
    Operation(
        "POST",
        "/2/media/metadata",
        MEDIA,
        200,
        body=_object(
            "id",
            "metadata",
            id=ID,
            metadata=_object(
                "alt_text",
                alt_text=_object("text", text={"type": "string", "minLength": 1, "maxLength": 1000}),
            ),
        ),
    ),
)
