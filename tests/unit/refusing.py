"""That a payload is refused, with words that tell and show nothing of it."""

from __future__ import annotations

from typing import Any

import pytest

from actas.actions import BUILT_IN
from actas.errors import InvalidPayload


def check_refused(name: str, payload: dict[str, Any], words: str) -> None:
    """In one line, that names the field (or says what goes together), and not its content."""
    with pytest.raises(InvalidPayload) as caught:
        BUILT_IN[name].parse(payload)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert words in message
    assert "canary" not in message
    assert "\n" not in message
