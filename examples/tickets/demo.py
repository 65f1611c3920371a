"""The demo: a support message becomes a strict JSON ticket, from raw rows to a served model, offline.

Knows nothing that a user's shell would not: each step is a `stead` command, printed before it runs.
Try: `python examples/tickets/demo.py --report demo-report`
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import report
import served
import tickets

HERE = Path(__file__).resolve().parent
BASE = HERE / "base"
RECIPE = HERE / "recipe.yaml"


def stead(*arguments: str, ok: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Run one `stead` command with --json, show it, and return its JSON object."""
    print(f"\n$ stead {shlex.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "stead", *arguments, "--json"]
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    if done.returncode not in ok:
        sys.exit(f"the command above ended with status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result | {"wall_s": round(time.monotonic() - started, 2)}


def make_rows(work: Path, train: int, test: int, seed: int) -> dict[str, Path]:
    """Write the training rows and the held-out rows; last names, brands, codes, amounts never overlap."""
    paths = {"train": work / "train.jsonl", "test": work / "test.jsonl"}
    for path, split, count in (
        (paths["train"], "train", train),
        (paths["test"], "test_seen", test),
    ):
        rows = tickets.generate(count, seed=seed, split=split)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
    return paths


def run(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Walk the whole path; return every step's result."""
    rows = make_rows(work, arguments.train, arguments.test, arguments.seed)
    tuned, gguf = work / "run", work / f"tickets-{arguments.quant}.gguf"
    steps: dict[str, Any] = {"rows": {k: str(v) for k, v in rows.items()}}
    steps["inspect"] = stead("data", "inspect", str(rows["train"]))
    options = ["-s", f"model.path={BASE}", "-s", f"data.path={rows['train']}", "-s", f"out={tuned}"]
    steps["train"] = stead("train", str(RECIPE), *options)
    steps["evaluate"] = stead(
        "evaluate", "--model", str(tuned), "--against", str(BASE), "--data", str(rows["test"]),
        "--metrics", "exact_match,json_match,rougeL", "--max-new-tokens", "120",
        "--out", str(work / "evaluation"),
    )  # fmt: skip
    steps["export"] = stead(
        "export", str(tuned), "--format", "gguf", "--quant", arguments.quant, "--out", str(gguf)
    )
    steps["parity"] = stead(
        "parity", str(tuned), str(gguf), "--data", str(rows["test"]), "--limit", "24", ok=(0, 1)
    )
    steps["served"] = served.ask(gguf, _questions(rows["test"]))
    return steps


def _questions(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines()[:5]
    return [json.loads(line) for line in lines]


def main() -> None:
    """Parse the arguments, run, write the report page and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("demo-report"))
    parser.add_argument("--work", type=Path, default=Path("demo-work"))
    parser.add_argument("--train", type=int, default=12000)
    parser.add_argument("--test", type=int, default=250)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quant", default="q8_0")
    arguments = parser.parse_args()
    started = time.monotonic()
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    os.environ["STEAD_HOME"] = str((arguments.work / "home").resolve())
    steps = run(arguments.work, arguments)
    summary = report.write(arguments.report, steps, seconds=time.monotonic() - started)
    print(f"\nreport: {arguments.report / 'index.html'}\n{json.dumps(summary)}")


if __name__ == "__main__":
    main()
