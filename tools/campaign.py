"""The longer proofs: `python tools/campaign.py [--part NAME] [--size smoke|full|long] [--n N] [--seed S]`.

A part is a file of `tools/campaigns` with a function `run(order) -> list of results`; one line per result is
appended to evidence/<part>.jsonl with counts, machine, versions and commit. Knows nothing about what a part does.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(__file__).resolve().parent / "campaigns"


@dataclass(frozen=True)
class Order:
    """What a part is asked for: its size, its seed, a folder to work in, the environment of children."""

    size: str
    seed: int
    n: int | None
    work: Path
    env: dict[str, str]
    only: tuple[str, ...] = ()

    def count(self, smoke: int, full: int, long: int) -> int:
        """Return how often to try: as asked, else by size."""
        by_size = {"smoke": smoke, "full": full, "long": long}
        return by_size[self.size] if self.n is None else self.n

    def wants(self, promise: str) -> bool:
        """Say whether a promise is to be tried."""
        return not self.only or promise in self.only


@dataclass
class Result:
    """What was tried: `failures` of `n`; `not_run` says what could not be tried here."""

    id: str
    n: int
    failures: int
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    not_run: list[str] = field(default_factory=list)


def load(name: str) -> ModuleType:
    """Import one part."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    path = FOLDER / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"campaigns_{name}", path)
    if spec is None or spec.loader is None or not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.py")))
        raise SystemExit(f"there is no part {name!r} (known: {known})")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def machine() -> dict[str, Any]:
    """Return what a reader must know to judge a line."""
    from stead.core import hardware

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False,  # noqa: S607
    ).stdout.strip()  # fmt: skip
    return {
        "cpu": hardware.processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {n: importlib.metadata.version(n) for n in ("stead", "torch", "transformers")},
        "commit": commit,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def main() -> None:
    """Run the parts and append the evidence; status 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", help="one file of tools/campaigns; default: all of them")
    parser.add_argument("--size", choices=("smoke", "full", "long"), default="full")
    parser.add_argument("--n", type=int, help="tries per promise instead of the size's own")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], help="a promise's id, e.g. TR1")
    given = parser.parse_args()
    parts = [given.part] if given.part else sorted(p.stem for p in FOLDER.glob("*.py"))
    failures = 0
    for part in parts:
        work = Path(tempfile.mkdtemp(prefix=f"campaign-{part}-"))
        env = dict(os.environ, STEAD_HOME=str(work / "home"), OMP_NUM_THREADS="1")
        order = Order(given.size, given.seed, given.n, work, env, tuple(given.only))
        found: list[Result] = load(part).run(order)
        for result in found:
            append(part, result, given.size, given.seed)
        broken = sum(r.failures for r in found)
        failures += broken
        if broken:
            print(f"artefacts: {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)
    raise SystemExit(1 if failures else 0)


def append(part: str, result: Result, size: str, seed: int) -> None:
    """Add one line of evidence."""
    line = {"id": result.id, "size": size, "seed": seed, "n": result.n, "failures": result.failures,
            "seconds": round(result.seconds, 1), **result.facts, "not_run": result.not_run, **machine()}  # fmt: skip
    (ROOT / "evidence").mkdir(exist_ok=True)
    with (ROOT / "evidence" / f"{part}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


sys.modules.setdefault("campaign", sys.modules[__name__])

if __name__ == "__main__":
    main()
