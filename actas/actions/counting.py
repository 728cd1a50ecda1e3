"""How X counts a text: the one importer of the counting library.

That library reads a file of its own through setuptools' pkg_resources: which it does not declare, which warns when it
is there, and which new Pythons and new releases of setuptools do not have. For the time of the import, it gets what it
needs of it from here.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unicodedata import normalize


def _resource_string(module: str, name: str) -> bytes:
    """A file that lies beside a module."""
    return Path(str(sys.modules[module].__file__)).with_name(name).read_bytes()


def _imported() -> Any:
    name, there = "pkg_resources", sys.modules.get("pkg_resources")
    stand_in = ModuleType(name)
    stand_in.resource_string = _resource_string  # type: ignore[attr-defined]
    sys.modules[name] = stand_in
    try:
        return importlib.import_module("twitter_text")
    finally:
        del sys.modules[name]
        if there is not None:
            sys.modules[name] = there


parse_tweet = _imported().parse_tweet

LIMIT = 280

#: A link counts 23 however long it is, so what follows its host need not be looked at: a path and a query, each ending
#: in a character that X lets one end in.
LONG_LINK = re.compile(
    r"(https?://[a-z0-9-]+(?:\.[a-z0-9-]+)+/)(?:[a-z0-9/._%=&+~-]*[a-z0-9/_=+-])?(?:\?[a-z0-9/?._%=&+~-]*[a-z0-9/_=&-])?",
    re.IGNORECASE,
)

#: What joins and styles emojis adds nothing to a count; so do the single people of a family.
WEIGHTLESS = frozenset("\u200d\ufe0f\u20e3")

#: The longest emojis have seven code points, and count 2.
MOST_CODE_POINTS = LIMIT * 5


def misfit(text: str) -> int | None:
    """What X counts of a text that it does not take, at least; None for one that it takes.

    X counts weighted characters: a link is 23, an emoji 2 (docs.x.com, "Counting characters").

    The library looks for links in a time that grows with the cube of a word's length, holding Python's lock: a hostile
    text could stop a whole process. So it gets only what could fit by a lower bound of its own rules.
    """
    shown = LONG_LINK.sub(r"\1", normalize("NFC", text))
    least = sum(character < "\U00010000" and character not in WEIGHTLESS for character in shown)
    if least > LIMIT or len(shown) > MOST_CODE_POINTS:
        return max(least, LIMIT + 1)
    counted = parse_tweet(shown)
    return None if counted.valid else int(counted.weightedLength)
