"""How X counts a text: the one importer of the counting library.

That library reads a file of its own through setuptools' pkg_resources: which it does not declare, which warns when it
is there, and which new Pythons and new releases of setuptools do not have. For the time of the import, it gets what it
needs of it from here.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


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


#: Of a text: its ``weightedLength``, and whether it is ``valid`` (docs.x.com, "Counting characters").
parse_tweet = _imported().parse_tweet
