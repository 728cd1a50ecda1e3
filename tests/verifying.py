"""An event verified by the code that docs/events.md gives to apps, which shares nothing with ours."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from actas.clock import utc_now
from tests.receiving import Request

_DOCS = (Path(__file__).parents[1] / "docs/events.md").read_text()
_PYTHON, _NODE = (re.search(rf"```{name}\n(.*?)```", _DOCS, re.DOTALL)[1] for name in ("python", "js"))

_ANSWER = """
const [secret, headers, body, now] = JSON.parse(require("node:fs").readFileSync(0));
console.log(JSON.stringify(verified(secret, headers, Buffer.from(body, "base64"), now)));
"""


def verified(secret: SecretStr, request: Request, *, at: datetime | None = None) -> dict[str, Any]:
    """The event that a request brings, when it is verified at a time; ValueError if it is none of ours."""
    there: dict[str, Any] = {}
    exec(_PYTHON, there)
    return there["verified"](secret.get_secret_value(), request.headers, request.body, (at or utc_now()).timestamp())


def verified_in_node(secret: SecretStr, request: Request) -> dict[str, Any] | None:
    """The same in Node, where there is one; None if it is none of ours."""

    told = [secret.get_secret_value(), request.headers, base64.b64encode(request.body).decode(), utc_now().timestamp()]
    ran = subprocess.run(
        [shutil.which("node") or "node", "-e", _NODE + _ANSWER],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(ran.stdout) if ran.returncode == 0 else None
