"""The longer proofs: `python tools/campaign.py [--part training|plan] [--size smoke|full|long] [--n N] [--seed S]`.

TR1: `stead train` and its worker are killed (SIGKILL, the whole group) at random times and resumed until they
finish; the SHA-256 of the weights and the per-step loss log must equal those of a run nobody touched. One line is
appended to evidence/TR1.jsonl. Knows nothing about how resuming works.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KILLS = {"smoke": 4, "full": 40, "long": 400}
CELLS = {
    "sft-lora": ("sft", "lora"),
    "sft-full": ("sft", "full"),
    "pretrain-full": ("pretrain", "full"),
}


def stead(*arguments: str, env: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start one command in a group of its own."""
    command = [sys.executable, "-m", "stead", *arguments, "--quiet"]
    return subprocess.Popen(
        command,
        env=env,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def worker_of(out: Path) -> list[int]:
    """Return the pids of live workers of this run: they lead groups of their own."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            argv = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if str(out / "job.json").encode() in argv:
            found.append(int(entry.name))
    return found


def result_of(out: Path) -> tuple[str, str]:
    """Return the hashes of the weights and of the loss log."""
    weights = json.loads((out / "result.json").read_text())["weights_sha256"]
    return weights, hashlib.sha256((out / "metrics.jsonl").read_bytes()).hexdigest()


def killed_run(
    options: list[str], out: Path, rng: random.Random, span_s: float, env: dict[str, str]
) -> int:
    """Run to the end with one kill at a random time per start, at most 12; return how many hit."""
    kills = 0
    while True:
        process = stead("train", *options, "--out", str(out), "--resume", env=env)
        try:
            process.wait(rng.uniform(0.3, span_s) if kills < 12 else None)
        except subprocess.TimeoutExpired:
            for pid in (*worker_of(out), process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        if process.returncode != 0:
            raise SystemExit(f"a resumed run ended with status {process.returncode}: {out}")
        return kills


def cell(name: str, kills: int, seed: int, work: Path, env: dict[str, str]) -> dict[str, int]:
    """Kill one kind of run until `kills` have hit; count the runs that differ from the untouched one."""
    method, adapter = CELLS[name]
    options = [
        "--model", str(work / "base"), "--data", str(work / "rows.jsonl"), "--method", method, "--adapter", adapter,
        "--epochs", "4", "--batch-tokens", "256", "--max-length", "64", "-s", "trainer.checkpoint_every=3",
    ]  # fmt: skip
    begun = time.monotonic()
    assert stead("train", *options, "--out", str(work / name), env=env).wait() == 0  # noqa: S101
    span_s = time.monotonic() - begun
    wanted, rng, done, failures = result_of(work / name), random.Random(seed), 0, 0
    while done < kills:
        out = work / f"{name}-{done}"
        done += killed_run(options, out, rng, span_s, env)
        failures += result_of(out) != wanted
    return {"n": done, "failures": failures}


def prepare(work: Path, env: dict[str, str]) -> None:
    """Write rows and make a tiny model."""
    rows = [
        {"question": f"What is {i} times {i}?", "answer": f"It is {i * i}."} for i in range(120)
    ]
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--preset", "nano", "--text", str(work / "rows.jsonl")]
    assert stead("model", "new", str(work / "base"), *options, env=env).wait() == 0  # noqa: S101


def main() -> None:
    """Run every cell and append the evidence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("training", "plan"), default="training")
    parser.add_argument("--size", choices=KILLS, default="full")
    parser.add_argument("--n", type=int, help="kills per cell, or cases, instead of the size's own")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.part == "plan":
        from campaigns import plan  # its imports are not needed for the other part

        raise SystemExit(plan.run(arguments.size, arguments.n, arguments.seed))
    kills = arguments.n if arguments.n is not None else KILLS[arguments.size]
    work = Path(tempfile.mkdtemp(prefix="campaign-"))
    env = dict(os.environ, STEAD_HOME=str(work / "home"))
    prepare(work, env)
    begun = time.monotonic()
    cells = {name: cell(name, kills, arguments.seed, work, env) for name in CELLS}
    line = {
        "id": "TR1", "size": arguments.size, "seed": arguments.seed,
        "n": sum(c["n"] for c in cells.values()), "failures": sum(c["failures"] for c in cells.values()),
        "cells": cells, "seconds": round(time.monotonic() - begun, 1),
        "versions": {name: importlib.metadata.version(name) for name in ("stead", "torch", "transformers")},
        "cpu": platform.processor() or platform.machine(), "threads": os.cpu_count(), "not_run": [],
    }  # fmt: skip
    (ROOT / "evidence").mkdir(exist_ok=True)
    with (ROOT / "evidence" / "TR1.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))
    shutil.rmtree(work)
    raise SystemExit(1 if line["failures"] else 0)


if __name__ == "__main__":
    main()
