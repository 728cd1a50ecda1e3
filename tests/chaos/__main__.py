"""``python -m tests.chaos --minutes 2 --seed 1``: load and faults at once, then rest, then the books (docs/reliability.md).

The seed draws the plan of faults and everything that apps do; when exactly things meet is the machine's affair.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.plan import drawn
from tests.chaos.report import Report
from tests.chaos.run import Chaos


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pace", type=float, default=6.0, help="what apps do, a second, all together")
    parser.add_argument("--plan", action="store_true", help="show what would go wrong, and do nothing")
    parser.add_argument("--keep", action="store_true", help="keep logs and data also where the books balance")
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    plan = drawn(draw, asked.minutes * 60)
    if asked.plan:
        print("\n".join(map(str, plan)))  # noqa: T201
        return 0
    directory = Path(tempfile.mkdtemp(prefix=f"actas-chaos-{asked.seed}-"))
    report = run(Chaos(draw, plan, asked.minutes * 60, asked.pace), asked, directory)
    if report.balanced and not asked.keep:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        print(f"logs and data are in {directory}")  # noqa: T201
    return 0 if report.balanced else 1


def run(chaos: Chaos, asked: argparse.Namespace, directory: Path) -> Report:
    with (directory / "story.txt").open("w") as story:

        def say(line: str) -> None:
            print(line, flush=True)  # noqa: T201
            print(line, file=story, flush=True)

        report = Report(asked.seed, asked.minutes, chaos.run(directory, say))
        for line in report.details():
            say(line)
        say(report.summary())
    (directory / "books.json").write_text(report.books())
    if results := os.environ.get("CHAOS_RESULTS"):
        with Path(results).open("a") as file:
            file.write(report.as_json() + "\n")
    return report


if __name__ == "__main__":
    sys.exit(main())
