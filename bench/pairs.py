"""Two programs measured in turn, each in a fresh process: medians, ratios, one JSON line.

Knows nothing about what they do: each prints one JSON object as its last line.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
PEERS = SHARED / "bench"


def once(argv: Sequence[str]) -> dict[str, Any]:
    """Run a child and parse its last line; its own words are shown when it fails."""
    env = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "HF_HUB_OFFLINE": "1"}
    found = subprocess.run(list(argv), check=False, capture_output=True, text=True, env=env)
    if found.returncode != 0:
        raise SystemExit(f"{' '.join(argv[:3])} failed:\n{found.stderr[-3000:]}")
    parsed: dict[str, Any] = json.loads(found.stdout.strip().splitlines()[-1])
    return parsed


def reference_model() -> str:
    """Make the 41M reference model once; without its script there is nothing to measure on."""
    script, made = PEERS / "make_reference_model.py", HERE.parent / ".cache" / "bench" / "ref41"
    if not made.exists():
        if not script.exists():
            raise SystemExit(f"not run: {script} is not here; give a model folder")
        subprocess.run([sys.executable, str(script), str(made)], check=True)
    return str(made)


def parser(description: str, data: str, peer: str, rows: int) -> argparse.ArgumentParser:
    """Return the options every comparison has."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("model", nargs="?", help="default: the reference model, made once in .cache")
    p.add_argument("data", nargs="?", default=str(SHARED / "data" / data))
    p.add_argument("--rows", type=int, default=rows)
    p.add_argument("--pairs", type=int, default=3)
    p.add_argument("--peer", type=Path, default=PEERS / peer)
    p.add_argument("--child", action="store_true")
    return p


def prepared(a: argparse.Namespace, kind: str, max_length: int) -> tuple[Path, Any]:
    """Prepare the rows of our side in a fresh folder; return the folder and the data."""
    from stead.config.run import DataSection
    from stead.data.prepare import prepare

    work = Path(tempfile.mkdtemp(prefix="stead-bench-"))
    section = DataSection(
        path=a.data, limit=a.rows, eval_share=0, max_length=max_length, dedupe=False
    )
    return work, prepare(
        section, Path(a.model), work / "data", kind_wanted=kind, max_length=max_length
    )


def compare(
    name: str, ours: Sequence[str], theirs: Sequence[str] | None, *, pairs: int, speed: str,
    facts: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Run both sides in turn, `pairs` times, and append one line to results/<name>.jsonl.

    `speed` names the figure of both sides that is better when larger. Without the peer (PEER_PYTHON
    is not set, or its script is not here) our side is measured alone and the line says so.
    """
    peer = os.environ.get("PEER_PYTHON", "")
    there = bool(peer) and theirs is not None and Path(theirs[0]).exists()
    sides = {"stead": [sys.executable, *ours]} | (
        {"trl": [peer, *theirs]} if there and theirs else {}
    )
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for i in range(pairs):
        for side in list(sides) if i % 2 == 0 else list(sides)[::-1]:
            runs[side].append(once(sides[side]))
            print(side, runs[side][-1], file=sys.stderr)
    line = {
        "bench": name, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "n": pairs,
        "machine": machine(), "load": os.getloadavg()[0], **facts,
        **{side: _median(found, speed) for side, found in runs.items()},
    }  # fmt: skip
    if there:
        line["speed_ratio"] = line["stead"][speed] / line["trl"][speed]
        line["memory_ratio"] = line["stead"]["peak_rss_mib"] / line["trl"]["peak_rss_mib"]
    else:
        line["not_run"] = "the peer: set PEER_PYTHON, and keep its script or give --peer"
    append(name, line)
    return line


def append(name: str, line: dict[str, Any]) -> None:
    """Print a line and append it to results/<name>.jsonl."""
    out = HERE / "results" / f"{name}.jsonl"
    out.parent.mkdir(exist_ok=True)
    with open(out, "a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


def machine() -> str:
    """Name the processor and how many cores may be used."""
    found = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        found = lines[0].partition(":")[2].strip() if lines else found
    return f"{found}, {len(os.sched_getaffinity(0))} cores"


def _median(runs: list[dict[str, Any]], speed: str) -> dict[str, Any]:
    keys = [k for k in runs[0] if isinstance(runs[0][k], int | float)]
    found: dict[str, Any] = {k: statistics.median(r[k] for r in runs) for k in keys}
    return found | {f"all_{speed}": [r[speed] for r in runs]}
