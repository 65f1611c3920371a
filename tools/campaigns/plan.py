"""M3: how far forecasts are from what runs need: `make campaign PART=plan`, under 12 minutes on two quiet cores.

Every case is forecast first and then trained in a fresh process, so that its forecast knows only the cases before it.
The first third teaches, the others are judged; every case is in evidence/plan.json. Seconds are compared on an idle machine's
clock: what a run waited for a core is taken off, and the load is told. Knows nothing about how forecasts are made.
"""

import json
import os
import random
import shutil
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from campaign import ROOT, Order, Result, load
from stead.app import plans, runs
from stead.core import hardware
from stead.core.paths import Home
from stead.planning import history, lessons, machine

CASES = {"smoke": 4, "full": 30, "long": 120}
PRESETS = {"nano": 0.5, "tiny": 4, "mini": 12, "small": 41}  # millions of parameters
LENGTHS = (64, 128, 256, 512, 1024, 2048)
BARS = {
    "memory_median": 0.10, "memory_p90": 0.20, "time_median": 0.25, "memory_covered": 0.85, "time_covered": 0.85,
    "worst_under_at_longest": 0.10,
}  # fmt: skip
_WORK = 700.0  # millions of parameters × thousands of tokens per case: a few seconds on two cores
_BUDGET_S = 660.0  # what is left of the cases then is listed as not run


@dataclass(frozen=True)
class Case:
    """One configuration."""

    model: str
    dtype: str
    method: str
    adapter: str
    rank: int
    length: int
    batch_tokens: int
    accumulation: int
    checkpointing: bool

    @property
    def label(self) -> str:
        """Name the case in one line."""
        what = self.adapter if self.adapter == "full" else f"lora-{self.rank}"
        again = " recompute" if self.checkpointing else ""
        return f"{self.model} {self.dtype} {self.method} {what} {self.length}/{self.batch_tokens}x{self.accumulation}{again}"

    @property
    def steps(self) -> int:
        """Bound the case's steps so that it takes some seconds."""
        slow = (3.0 if self.dtype == "fp32" else 1.0) * (1.5 if self.adapter == "full" else 1.0)
        tokens = _WORK * 1000 / (PRESETS[self.model] + 8) / slow
        return max(3, min(24, round(tokens / (self.batch_tokens * self.accumulation))))

    def overrides(self, work: Path, out: Path) -> dict[str, Any]:
        """Return the case as the keys of a recipe."""
        rows = {"pretrain": "text", "dpo": "pairs"}.get(self.method, f"rows-{self.length}")
        adapter = {"adapter": "full"} if self.adapter == "full" else {"adapter.r": self.rank}
        return adapter | {
            "model.path": str(work / self.model), "model.dtype": self.dtype, "model.device": "cpu", "out": str(out),
            "data.path": str(work / f"{rows}.jsonl"), "data.max_length": self.length,
            "method": self.method, "trainer.batch_tokens": self.batch_tokens,
            "trainer.accumulation": self.accumulation, "trainer.max_steps": self.steps,
            "trainer.gradient_checkpointing": self.checkpointing, "trainer.proofs": False,
            "data.eval_share": 0.02, "trainer.trackers": [],
        }  # fmt: skip


def draw_cases(count: int, seed: int) -> list[Case]:
    """Draw cases; each field is spread, every fourth has the longest sequences, every ninth is dpo."""
    rng = random.Random(seed)
    cases: list[Case] = []
    while len(cases) < count:
        i = len(cases)
        length = 2048 if i % 4 == 3 else rng.choice(LENGTHS)
        method = "dpo" if i % 9 == 8 else rng.choice(("sft", "sft", "pretrain"))
        if method == "dpo":
            length = min(length, 512)
        batch = rng.choice(
            [b for b in (256, 512, 1024, 2048, 4096, 8192) if 2 * length <= 2 * b <= 128 * length]
        )
        model = ("small", "mini", "tiny", "small", "nano", "small")[i % 6]
        case = Case(
            model, rng.choice(("bf16", "bf16", "fp32")), method, rng.choice(("lora", "lora", "full")),
            rng.choice((4, 8, 16, 64)), length, max(batch, 2 * length if method == "dpo" else 0),
            rng.choice((1, 1, 2, 4)), rng.random() < 0.25,
        )  # fmt: skip
        heavy = (
            PRESETS[model]
            * case.batch_tokens
            * case.accumulation
            * (3 if case.dtype == "fp32" else 1)
        )
        if heavy <= 41 * 8192 and case not in cases:
            cases.append(case)
    return cases


def write_inputs(work: Path, seed: int) -> None:
    """Write rows of every length, pairs and text, all of made-up words."""
    rng = random.Random(seed)
    parts = [c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou"]
    words = ["".join(rng.choices(parts, k=rng.randint(1, 5))) for _ in range(40_000)]
    weights = [1 / (10 + i) for i in range(len(words))]

    def text(count: float) -> str:
        return " ".join(rng.choices(words, weights, k=max(2, int(count))))

    def dump(name: str, rows: list[dict[str, str]]) -> None:
        (work / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    dump("text.jsonl", [{"text": text(rng.randint(40, 900))} for _ in range(500)])
    sizes = {
        n: [rng.uniform(0.15, 0.9) * n / 2 for _ in range(max(120, min(700, 200_000 // n)))]
        for n in LENGTHS
    }
    for length, each in sizes.items():
        dump(
            f"rows-{length}.jsonl",
            [{"question": text(s * 0.4), "answer": text(s * 0.6)} for s in each],
        )
    pairs = sizes[128][:400]
    dump(
        "pairs.jsonl",
        [
            {"prompt": text(s * 0.4), "chosen": text(s * 0.6), "rejected": text(s * 0.6)}
            for s in pairs
        ],
    )
    (work / "words.txt").write_text(" ".join(words))


def make_models(work: Path) -> None:
    """Make a model of each size from a seed, and measure this machine for both number types."""
    text = [str(work / "words.txt"), str(work / "text.jsonl")]
    for preset in PRESETS:
        runs.launch(
            "new",
            {"preset": preset, "out": str(work / preset), "text": text},
            work / f"new-{preset}",
        )
    found = hardware.probe()
    for dtype in ("bf16", "fp32"):
        lanes = min(2, found.cores)
        spec = {"device": "cpu", "dtype": dtype, "name": found.cpu, "lanes": lanes, "again": True}
        runs.launch("probe", spec, work / f"probe-{dtype}")


def run_case(case: Case, number: int, work: Path, home: Home, blank: Home) -> dict[str, Any]:
    """Forecast a case with and without the runs before it, train it, and return both beside the truth."""
    out = work / f"run-{number}"
    asked = case.overrides(work, out)
    untaught = plans.make_plan(None, asked, home=blank, allow=["memory", "length"]).forecast
    plan = plans.make_plan(None, asked, home=home, allow=["memory", "length"])
    begun = time.monotonic()
    result = runs.launch("train", {"plan": plan.to_json(), "resume": False}, out)
    wall = time.monotonic() - begun
    shutil.rmtree(out)
    measured = result["measured"]
    needed = history.needed(measured, on_cpu=True)
    said = plan.forecast
    return {
        "case": asdict(case), "label": case.label, "steps": result["steps"],
        "memory": _compare(said.memory_bytes, untaught.memory_bytes.expected, needed["memory"]),
        "time": _compare(said.seconds, untaught.seconds.expected, needed["seconds"]),
        "step": _compare(said.step_seconds, untaught.step_seconds.expected, needed["steps"] / result["steps"]),
        "wall_s": round(wall, 2), "ran_share": measured["ran_share"], "load": measured["load"],
    }  # fmt: skip


def _compare(said: Any, untaught: float, needed: float | None) -> dict[str, Any]:
    assert needed is not None  # noqa: S101 - a fresh process has a peak of its own
    return {
        "low": said.low, "expected": said.expected, "high": said.high, "untaught": untaught, "needed": needed,
        "error": said.expected / needed - 1, "untaught_error": untaught / needed - 1,
        "covered": said.low <= needed <= said.high,
    }  # fmt: skip


def summarize(judged: list[dict[str, Any]]) -> dict[str, float]:
    """Return medians, 90th percentiles and coverage over the judged cases."""
    found = {}
    for name in ("memory", "time", "step"):
        errors = sorted(abs(c[name]["error"]) for c in judged)
        found[f"{name}_median"] = statistics.median(errors)
        found[f"{name}_p90"] = errors[min(len(errors) - 1, int(0.9 * len(errors)))]
        found[f"{name}_covered"] = sum(c[name]["covered"] for c in judged) / len(judged)
        found[f"{name}_untaught_median"] = statistics.median(
            abs(c[name]["untaught_error"]) for c in judged
        )
    long = [c["memory"] for c in judged if c["case"]["length"] == max(LENGTHS)]
    longest = [c["error"] for c in long]
    found["worst_beyond_range_at_longest"] = (
        max(0.0, *(c["needed"] / c["high"] - 1 for c in long)) if long else 0.0
    )
    found["worst_under_at_longest"] = max(0.0, -min(longest, default=0.0))
    return {name: round(value, 4) for name, value in found.items()}


def passes(summary: dict[str, float]) -> dict[str, bool]:
    """Say of each bar whether it is met."""
    return {
        k: summary[k] >= bar if k.endswith("covered") else summary[k] <= bar
        for k, bar in BARS.items()
    }


def factors(home: Home) -> dict[str, dict[str, list[float]]]:
    """Return the factors that all runs of this campaign teach: what planning/defaults.yaml may take over."""
    records = history.read(home)
    kind = records[-1]["kind"]
    known = machine.Machine({512: 1.0}, 1.0, 1.0, 1.0, "", measured=True)
    found = {}
    for quantity in ("memory", "steps", "around"):
        fit = lessons.learn(records, kind, quantity, known)
        sds = [fit.covariance[i][i] ** 0.5 for i in range(len(fit.names))]
        found[quantity] = {
            n: [round(f, 3), round(s, 3)]
            for n, f, s in zip(fit.names, fit.factors, sds, strict=True)
        }
        found[quantity]["spread"] = [round(fit.spread, 3)]
    return found


def begin(order: Order, models: set[str]) -> tuple[Home, Home]:
    """Make rows and models; return the data directory that learns, and one that knows only the machine."""
    os.environ.pop("OMP_NUM_THREADS", None)  # forecasts and runs use the cores there are
    home, blank = Home(order.work / "home"), Home(order.work / "blank")
    os.environ["STEAD_HOME"] = str(home.root)
    write_inputs(order.work, order.seed)
    make_models(order.work)
    load("plan_wide").make_models(order.work, models)
    machine.path(blank).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(machine.path(home), machine.path(blank))
    print(
        f"{'':3} {'case':58} {'memory MiB':>12} {'said':>6} {'error':>6}  {'seconds':>7} {'said':>6} {'error':>6}"
    )
    return home, blank


def run(order: Order) -> list[Result]:
    """Run the cases, print a table, write every case to evidence/plan.json."""
    wide = load("plan_wide")
    count = order.count(**CASES)
    pairs = zip(draw_cases(count, order.seed), wide.draw_cases(count, order.seed), strict=True)
    cases = [case for pair in pairs for case in pair][:count]  # every second one of another kind
    begun = time.monotonic()
    home, blank = begin(order, {case.model for case in cases})
    done: list[dict[str, Any]] = []
    for i, case in enumerate(cases):
        if time.monotonic() - begun > _BUDGET_S and order.size == "full":
            break
        shutil.copy(machine.path(home), machine.path(blank))
        done.append(run_case(case, i, order.work, home, blank))
        print_case(i, done[-1])
    judged = done[len(done) // 3 :]
    found = evidence(done, judged, home)
    path = ROOT / "evidence" / "plan.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found | {"cases": done}, indent=1) + "\n")
    _print_summary(found, len(judged))
    missed = sum(not met for met in found["passes"].values())
    left = [c.label for c in cases[len(done) :]]
    return [Result("M3", len(judged), missed, time.monotonic() - begun, found, left)]


def evidence(
    done: list[dict[str, Any]], judged: list[dict[str, Any]], home: Home
) -> dict[str, Any]:
    """Return what is written down: errors, bars, what the runs teach, rates of the machine."""
    summary = summarize(judged)
    return {
        "taught": len(done) - len(judged), "summary": summary, "bars": BARS, "passes": passes(summary),
        "factors": factors(home), "rates": machine.read(home),
        "ran_share": statistics.median(c["ran_share"] for c in done),
    }  # fmt: skip


def print_case(number: int, found: dict[str, Any]) -> None:
    """Print a case beside its forecast; marked where it left the range."""
    memory, seconds = found["memory"], found["time"]
    marks = "".join(" !" if not c["covered"] else "" for c in (memory, seconds))
    print(
        f"{number:3} {found['label']:58} {memory['needed'] / 2**20:12.0f} {memory['expected'] / 2**20:6.0f} "
        f"{memory['error']:+6.0%}  {seconds['needed']:7.1f} {seconds['expected']:6.1f} {seconds['error']:+6.0%}{marks}",
        flush=True,
    )


def _print_summary(found: dict[str, Any], judged: int) -> None:
    print(f"\njudged {judged} of {judged + found['taught']} cases; share of the time that a core was free for them: {found['ran_share']:.2f}")  # fmt: skip
    for name, value in found["summary"].items():
        bar = (
            f"bar {BARS[name]:.2f}  {'met' if found['passes'][name] else 'MISSED'}"
            if name in BARS
            else ""
        )
        print(f"  {name:24} {value:7.3f}  {bar}")
