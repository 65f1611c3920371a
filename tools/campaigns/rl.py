"""The oracles of reinforcement learning at full size: `python tools/campaigns/rl.py [--size smoke|full]`.

Optimum: every method and switch ends within a total variation of 0.02 of π ∝ π_ref·exp(r/β) on a
three-word vocabulary. Games: seven planted rewards are warned of within 100 steps by their own sign, and
20 honest runs are not warned of. One line is appended to evidence/M12.jsonl; exit 1 when a claim fails.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch  # noqa: E402 - the paths come first
from tests.conftest import make_tiny_model  # noqa: E402
from tests.fakes import rl  # noqa: E402
from tests.unit.training import test_rl_optimum as optimum  # noqa: E402

HONEST = {"smoke": 1, "full": 5}  # seeds of each honest reward
STEPS = {"smoke": 20, "full": 100}


def distances(folder: Path, cases: list[str]) -> dict[str, float]:
    """Return each case's total variation to the optimum."""
    found = {}
    for case in cases:
        name, more = optimum.CASES[case]
        before, after = optimum.learn(folder / case, name, more)
        found[case] = round(optimum.apart(after, optimum.best(before, optimum.BETA)), 5)
        print(f"optimum {case}: {found[case]}", flush=True)
    return found


def games(folder: Path, model: Path) -> dict[str, list[str]]:
    """Return what each planted game was warned of."""
    found = {}
    for sign in rl.HACKS:
        found[sign] = rl.planted(model, folder / sign, sign)
        print(f"planted {sign}: {found[sign]}", flush=True)
    return found


def honest(folder: Path, model: Path, seeds: int, steps: int) -> dict[str, list[str]]:
    """Return what each honest run was warned of."""
    found = {}
    for reward in rl.CLEAN:
        for seed in range(seeds):
            name = f"{reward}-{seed}"
            found[name] = rl.honest(model, folder / name, reward, seed=seed, steps=steps)
            print(f"honest {name}: {found[name]}", flush=True)
    return found


def main() -> int:
    """Run everything, append the evidence and return the exit status."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--size", default="full", choices=sorted(HONEST))
    p.add_argument("--out", type=Path, default=ROOT / "evidence" / "M12.jsonl")
    a = p.parse_args()
    torch.set_num_threads(1)
    began = time.time()
    with tempfile.TemporaryDirectory(prefix="stead-rl-") as place:
        folder = Path(place)
        model = folder / "tiny"
        model.mkdir()
        make_tiny_model(model)
        cases = list(optimum.CASES) if a.size == "full" else ["grpo"]
        away = distances(folder / "optimum", cases)
        warned = games(folder / "games", model)
        quiet = honest(folder / "honest", model, HONEST[a.size], STEPS[a.size])
    line: dict[str, Any] = {
        "claim": "M12", "size": a.size, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.time() - began, 1), "torch": torch.__version__,
        "total_variation": away, "planted": warned,
        "honest_runs": len(quiet), "honest_warned": {k: v for k, v in quiet.items() if v},
    }  # fmt: skip
    good = max(away.values()) <= 0.02
    good &= all(sign in told for sign, told in warned.items()) and not line["honest_warned"]
    line["passed"] = good
    a.out.parent.mkdir(parents=True, exist_ok=True)
    with open(a.out, "a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
