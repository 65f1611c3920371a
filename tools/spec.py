"""Which promises are shown by a passing test: `python tools/spec.py [--json | --totals] [--results FILE]`.

Knows nothing about the tests themselves: they carry `@pytest.mark.spec("003-039", …)`. Without
`--results` the marked tests are run first, by the suite's two workers; `make test` leaves the results of its own run
and prints the totals of these. Exit status 1 when a marked test failed or a mark names
an unknown promise.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROMISES = ROOT / "docs" / "promises.tsv"
WORKERS = "2"  # as `make test`
RESULTS = ROOT / ".cache" / "spec.json"


@dataclass(frozen=True)
class Promise:
    """One promise: its id, class (core, planned, wording), capability and text."""

    id: str
    kind: str
    capability: str
    text: str


def promises(path: Path = PROMISES) -> dict[str, Promise]:
    """Read the list of promises."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    return {row[0]: Promise(*row) for row in rows}


def run(results: Path = RESULTS) -> int:
    """Run the marked tests; their outcomes go to `results`. Return pytest's status."""
    argv = [
        sys.executable, "-m", "pytest", "-n", WORKERS, "-q", "tests", "--spec", f"--spec-out={results}",
    ]  # fmt: skip
    return subprocess.run(argv, cwd=ROOT, check=False).returncode


def by_promise(tests: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return each id's state: shown (all its tests passed), failed (one did), not-run."""
    outcomes: dict[str, set[str]] = defaultdict(set)
    for test in tests.values():
        for promise in test["ids"]:
            outcomes[promise].add(test["outcome"])
    return {promise: _state(found) for promise, found in outcomes.items()}


def _state(outcomes: set[str]) -> str:
    if "failed" in outcomes:
        return "failed"
    return "shown" if "passed" in outcomes else "not-run"


def summary(known: dict[str, Promise], states: dict[str, str]) -> dict[str, Any]:
    """Return totals per capability, the ids by state, and marks that name no promise."""
    totals: dict[str, dict[str, int]] = {}
    for promise in known.values():
        row = totals.setdefault(promise.capability, {"promises": 0, "shown": 0})
        row["promises"] += 1
        row["shown"] += states.get(promise.id) == "shown"
    return {
        "promises": len(known),
        "shown": sorted(i for i in known if states.get(i) == "shown"),
        "failed": sorted(i for i in known if states.get(i) == "failed"),
        "without": sorted(i for i in known if states.get(i, "not-run") == "not-run"),
        "unknown": sorted(i for i in states if i not in known),
        "capabilities": totals,
    }


def show(known: dict[str, Promise], found: dict[str, Any], *, totals: bool) -> None:
    """Print the summary for people; with `totals` only promises whose test failed, and the sums."""
    marks = dict.fromkeys(found["shown"], "+") | dict.fromkeys(found["failed"], "!")
    for promise in known.values():
        if not totals or promise.id in found["failed"]:
            print(f"{marks.get(promise.id, '-')} {promise.id}  {promise.text}")
    print()
    for name, row in found["capabilities"].items():
        print(f"{row['shown']:>4} of {row['promises']:>3}  {name}")
    print(f"{len(found['shown']):>4} of {found['promises']:>3}  in all")
    for promise in found["unknown"]:
        print(f"a test names the promise {promise!r}, which is not in {PROMISES.name}")


def main(arguments: list[str]) -> int:
    """Run, read and print; return the exit status."""
    parser = argparse.ArgumentParser(description="Promises shown by tests.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--totals", action="store_true", help="leave the single promises out")
    parser.add_argument("--results", type=Path, help="what a run with --spec-out=FILE left")
    given = parser.parse_args(arguments)
    results = given.results
    if results is None:
        run()
        results = RESULTS
    known = promises()
    found = summary(known, by_promise(json.loads(results.read_text(encoding="utf-8"))))
    if given.json:
        print(json.dumps(found))
    else:
        show(known, found, totals=given.totals)
    return 1 if found["failed"] or found["unknown"] else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
