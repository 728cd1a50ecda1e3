"""The alert rules are such as Prometheus takes."""

from __future__ import annotations

import subprocess

from tests.system.programs import REPOSITORY, program


def test_promtool_takes_the_rules_and_the_configuration():
    done = subprocess.run(
        [program("promtool"), "check", "config", REPOSITORY / "deploy/prometheus/prometheus.yml"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "SUCCESS: 5 rules found" in done.stdout, "of alerts.yml, which prometheus.yml names"
