"""Memory and start of runs over more and more rows, packed to 8,192 tokens: `python bench/packed.py [--rows 10000 1000000]`.

Each number of rows is prepared by one run of one step and trained by further ones, each in a fresh process; told are
the seconds from the command to its first finished step, and the peak memory. One JSON line per number of rows is
appended to bench/results/packed.jsonl. There is no peer: the bars are absolute (memory flat in rows, start ≤ 5 s).
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from pairs import HERE, machine

TOKENS = 8192
_STEPS = 3
_POLL_S = 0.02


def write_rows(path: Path, count: int) -> None:
    """Write questions and answers of 5 to 40 made-up words."""
    draw = random.Random(count)
    words = [
        "".join(draw.choices("abcdefghijklmnoprstuvw", k=draw.randint(2, 7))) for _ in range(2000)
    ]
    with open(path, "w") as file:
        for _ in range(count):
            said = draw.choices(words, k=draw.randint(5, 40))
            half = len(said) // 2
            row = {"question": " ".join(said[:half]), "answer": " ".join(said[half:])}
            file.write(json.dumps(row) + "\n")


def stead(*arguments: str, first_line_of: Path | None = None) -> dict[str, Any]:
    """Run a command; return its JSON, and the seconds until `first_line_of` held a line."""
    env = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
    begun, first, worked = time.perf_counter(), None, 0.0
    child = subprocess.Popen(
        [sys.executable, "-m", "stead", *arguments, "--json"], env=env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while first_line_of is not None and first is None and child.poll() is None:
        if first_line_of.is_file() and first_line_of.stat().st_size:
            first, worked = time.perf_counter() - begun, processor_s(child.pid)
        time.sleep(_POLL_S)
    out, said = child.communicate()
    if child.returncode != 0:
        raise SystemExit(f"stead {' '.join(arguments[:2])} failed:\n{said[-3000:]}")
    found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return found | {"first_step_s": first, "first_step_processor_s": worked}


def processor_s(pid: int) -> float:
    """Return the processor time of a process and its children, ended ones too: what a busy machine does not stretch."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    times = [one.cpu_times() for one in family]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def measured(work: Path, model: Path, rows: int, again: int) -> dict[str, Any]:
    """Prepare so many rows, then start `again` runs on them."""
    data = work / f"rows-{rows}.jsonl"
    write_rows(data, rows)
    runs = []
    for number in range(again + 1):
        out = work / f"run-{rows}-{number}"
        runs.append(stead(
            "train", "--model", str(model), "--data", str(data), "--out", str(out), "--adapter", "lora",
            "--max-steps", str(_STEPS), "--set", f"trainer.batch_tokens={TOKENS}",
            "--set", "trainer.trackers=[]", "--set", "data.eval_share=0.001", first_line_of=out / "metrics.jsonl",
        ))  # fmt: skip
        shutil.rmtree(out)
        print(
            rows,
            number,
            runs[-1]["first_step_s"],
            runs[-1]["first_step_processor_s"],
            runs[-1]["peak_rss_mib"],
            file=sys.stderr,
        )
    later = runs[1:]
    return {
        "bench": "packed", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "n": again,
        "machine": machine(), "load": os.getloadavg()[0], "rows": rows, "batch_tokens": TOKENS,
        "prepared_and_first_step_s": runs[0]["first_step_s"],
        "prepared_and_first_step_processor_s": runs[0]["first_step_processor_s"],
        "first_step_s": statistics.median(r["first_step_s"] for r in later),
        "first_step_processor_s": statistics.median(r["first_step_processor_s"] for r in later),
        "peak_rss_mib": statistics.median(r["peak_rss_mib"] for r in later),
        "peak_rss_mib_with_preparation": runs[0]["peak_rss_mib"],
    }  # fmt: skip


def main() -> None:
    p = argparse.ArgumentParser(description=str(__doc__))
    p.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    p.add_argument("--again", type=int, default=3)
    a = p.parse_args()
    work = Path(tempfile.mkdtemp(prefix="stead-bench-"))
    os.environ["STEAD_HOME"] = str(work / "home")
    text = work / "text.jsonl"
    write_rows(text, 2000)
    stead("model", "new", str(work / "model"), "--preset", "nano", "--text", str(text))
    for rows in a.rows:
        line = measured(work, work / "model", rows, a.again)
        with open(HERE / "results" / "packed.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line))
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
