"""The README keeps its word: its example runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from actas.embedded.child import plain_environment

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()


def test_the_example_posts_as_a_new_user_would_type_it(stack, sandbox, client, tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example)
    process = subprocess.Popen(
        [sys.executable, "-u", script],
        env=plain_environment() | stack.role_env("app-demo") | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("open this and allow: ").strip()
        process.stdin.write(sandbox.authorize(url, "alice") + "\n")
        process.stdin.flush()
        output = process.stdout.read()
        assert process.wait(60) == 0, output
    assert "'succeeded'" in output
    (job,) = [job for job in client.jobs(user="alice") if job.id in output]
    (entry,) = [post for post in sandbox.ledger()["posts"] if post["id"] == job.result]
    assert (entry["account"], entry["text"]) == ("alice", job.payload["text"])


def test_the_console_lists_the_apps_jobs(stack, client, connect, user):
    connect(user)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "listed"}).id)
    env = plain_environment() | stack.role_env("app-demo") | {"PYTHONPATH": str(REPOSITORY)}
    for command in (["jobs", "--user", user], ["jobs", "show", job.id], ["jobs", "--user", user, "--json"]):
        run = [sys.executable, "-c", "from actas.cli import main; main()", *command]
        done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=60, check=True)
        assert job.id in done.stdout
        assert "succeeded" in done.stdout
        assert "listed" not in done.stdout.replace(user, "")
