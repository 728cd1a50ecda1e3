"""The profile and the actions through the whole battery: ``pytest examples/plugin/tests``, with actas[testing].

What stands here is from Spotify's documentation, and not from the profile: so a mistake there is found.
"""

from __future__ import annotations

from actas_spotify.actions import CreatePlaylist, SaveToLibrary
from actas_spotify.provider import SPOTIFY

from actas.testing import ActionBattery, Made, ProviderBattery, Reply

TRACK = "spotify:track:4iV5W9uYEdYUVa79Axb7Rh"


class TestSpotify(ProviderBattery):
    provider = SPOTIFY
    # "Authorization Code Flow", the example of a response.
    token_reply = {
        "access_token": "NgCXRK...MzYjw",
        "token_type": "Bearer",
        "scope": "user-read-private user-read-email",
        "expires_in": 3600,
        "refresh_token": "NgAagA...Um_SHo",
    }
    # "Refreshing tokens": "Depending on the grant used to get the initial refresh token, a refresh token might not be
    # included in each response."
    refresh_reply = {"access_token": "NgCXRK...MzYjw", "token_type": "Bearer", "scope": "x", "expires_in": 3600}
    rotates = False
    # "Get Current User's Profile", shortened.
    account_reply = {"display_name": "Smedjan", "id": "smedjan", "product": "premium", "type": "user"}
    account = "smedjan"
    account_at = "https://api.spotify.com/v1/me"
    dead = (Reply(400, {"error": "invalid_grant", "error_description": "Refresh token revoked"}),)
    wrong_client = Reply(400, {"error": "invalid_client", "error_description": "Invalid client secret"})
    revokes = False
    scopes = ("user-library-modify",)


class TestSaveToLibrary(ActionBattery):
    provider = SPOTIFY
    action = SaveToLibrary()
    payload = {"uris": [TRACK]}
    bad_payloads = (
        ("uris", {"uris": []}),
        ("uris.0", {"uris": ["https://open.spotify.com/track/4iV5W9uYEdYUVa79Axb7Rh"]}),
        ("uris", {"uris": [TRACK] * 41}),
    )
    # Saving what is saved is a success like any other.
    api = (Made("PUT", "/v1/me/library", Reply(200), id="{query.uris}", key="{query.uris}"),)
    hollow_replies = ()  # no success of it has anything to say


class TestCreatePlaylist(ActionBattery):
    provider = SPOTIFY
    action = CreatePlaylist()
    payload = {"name": "Road trip", "description": "Loud ones"}
    bad_payloads = (
        ("name", {"name": ""}),
        ("name", {"name": "a" * 101}),
        ("description", {"name": "Road trip", "description": "two\nlines"}),
        ("tracks", {"name": "Road trip", "tracks": []}),
    )
    # "Create Playlist", shortened.
    api = (Made("POST", "/v1/me/playlists", Reply(201, {"id": "{id}", "name": "{json.name}", "type": "playlist"})),)
