"""The Django example behind a proxy that ends TLS, as its README says it is run; no server is needed to be refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "django"

#: What a browser sends for the form of the first page, by way of a proxy that speaks plain HTTP behind it.
VISIT = """
import re, sys
import app, django
django.setup()
from django.test import Client
browser = Client(enforce_csrf_checks=True, headers={"host": "posts.example"})
page = browser.get("/").content.decode()
token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page).group(1)
form = {"user": "alice", "csrfmiddlewaretoken": token}
print(browser.post("/sign-in", form, headers={"origin": sys.argv[1]}).status_code)
"""


@pytest.mark.parametrize(("origin", "status"), [("https://posts.example", 302), ("https://evil.example", 403)])
def test_behind_tls_its_own_forms_are_taken_and_no_others(origin, status):
    env = {name: value for name, value in os.environ.items() if not name.startswith("ACTAS_")}
    env |= {
        "APP_URL": "https://posts.example",
        "ACTAS_APP": "demo",
        "ACTAS_ENV": "development",
        "ACTAS_MONGODB_URL": "mongodb://127.0.0.1:1",
        "ACTAS_VAULT_ADDR": "http://127.0.0.1:1",
        "ACTAS_VAULT_TOKEN": "t",
        "PYTHONPATH": os.pathsep.join([str(EXAMPLE), str(EXAMPLE.parents[1])]),
    }
    said = subprocess.run(
        [sys.executable, "-c", VISIT, origin], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.split()[-1] == str(status)
