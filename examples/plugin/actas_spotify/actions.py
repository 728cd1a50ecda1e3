"""What can be done on Spotify as a user.

Sources, on developer.spotify.com/documentation/web-api: "Save Items to Library" (40 URIs in one request) and "Create
Playlist", both as of the changes of February 2026.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from actas.actions import Action, ActionHttp, Payload, Result
from actas.http import NoReply

Uri = Annotated[str, StringConstraints(pattern=r"^spotify:(track|album|episode|show|audiobook):[A-Za-z0-9]{22}$")]


class Saved(Payload):
    uris: Annotated[tuple[Uri, ...], Field(min_length=1, max_length=40)]


class SaveToLibrary(Action[Saved]):
    """Put tracks, albums and the like into the user's library; what is there already stays there."""

    name = "spotify.save_to_library"
    provider = "spotify"
    scopes = frozenset({"user-library-modify"})
    idempotent = True  # a library is a set
    payload_type = Saved

    def perform(self, http: ActionHttp, payload: Saved, job_id: str) -> Result:
        http.send("PUT", "/v1/me/library", query={"uris": ",".join(payload.uris)})  # answers without a body
        return Result(payload.uris[0])


class Playlist(Payload):
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    description: Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\n]*$")] = ""
    public: bool = False


class CreatePlaylist(Action[Playlist]):
    """Make a playlist.

    Made twice there are two. Spotify does not tell when a playlist was made, so one that is found may be an old one of
    the same name: no ``find``. A job whose answer was lost stays uncertain until somebody says what they see.
    """

    name = "spotify.create_playlist"
    provider = "spotify"
    scopes = frozenset({"playlist-modify-private", "playlist-modify-public"})
    idempotent = False
    payload_type = Playlist

    def perform(self, http: ActionHttp, payload: Playlist, job_id: str) -> Result:
        match http.request("POST", "/v1/me/playlists", json=payload.model_dump()):
            case {"id": str(playlist)}:
                return Result(playlist)
        raise NoReply("Spotify made a playlist and named no id")
