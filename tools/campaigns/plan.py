"""M3: how far forecasts are from what runs need: `python tools/campaign.py --part plan [--size smoke|full|long]`.

Every case is planned first and then trained in a fresh process, so that its forecast knows only the cases before it.
The first third teaches; the others are judged. One line is appended to evidence/plan.json. Knows nothing about how
forecasts are made.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CASES = {"smoke": 4, "full": 42, "long": 90}
PRESETS = {"nano": 0.5, "tiny": 4, "mini": 12, "small": 41}  # millions of parameters
LENGTHS = (64, 128, 256, 512, 1024, 2048)
_WORK = 900.0  # millions of parameters × thousands of tokens per case: some seconds on two cores


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
        what = self.adapter if self.adapter == "full" else f"lora r{self.rank}"
        again = " ckpt" if self.checkpointing else ""
        return f"{self.model} {self.dtype} {self.method} {what} {self.length}/{self.batch_tokens}x{self.accumulation}{again}"

    @property
    def steps(self) -> int:
        """Bound the case's steps so that it takes some seconds."""
        slow = (3.0 if self.dtype == "fp32" else 1.0) * (1.5 if self.adapter == "full" else 1.0)
        tokens = _WORK * 1000 / (PRESETS[self.model] + 8) / slow
        return max(2, min(24, round(tokens / (self.batch_tokens * self.accumulation))))

    def overrides(self, work: Path, out: Path) -> dict[str, Any]:
        """Return the case as the keys of a recipe."""
        rows = "text" if self.method == "pretrain" else f"rows-{self.length}"
        adapter = {"adapter": "full"} if self.adapter == "full" else {"adapter.r": self.rank}
        return adapter | {
            "model.path": str(work / self.model), "model.dtype": self.dtype, "out": str(out),
            "data.path": str(work / f"{rows}.jsonl"), "data.max_length": self.length,
            "method": self.method, "trainer.batch_tokens": self.batch_tokens,
            "trainer.accumulation": self.accumulation, "trainer.max_steps": self.steps,
            "trainer.gradient_checkpointing": self.checkpointing,
        }  # fmt: skip


def draw_cases(count: int, seed: int) -> list[Case]:
    """Draw cases; each field is spread evenly, and every fourth has the longest sequences."""
    rng = random.Random(seed)
    cases: list[Case] = []
    while len(cases) < count:
        i = len(cases)
        length = 2048 if i % 4 == 3 else rng.choice(LENGTHS)
        batch = rng.choice(
            [b for b in (256, 512, 1024, 2048, 4096, 8192) if length <= b <= 64 * length]
        )
        model = ("small", "mini", "tiny", "small", "nano", "small")[i % 6]
        case = Case(
            model, rng.choice(("bf16", "bf16", "fp32")), rng.choice(("sft", "sft", "pretrain")),
            rng.choice(("lora", "lora", "full")), rng.choice((4, 8, 16, 64)), length, batch,
            rng.choice((1, 1, 2, 4)), rng.random() < 0.25,
        )  # fmt: skip
        heavy = PRESETS[model] * batch * case.accumulation * (3 if case.dtype == "fp32" else 1)
        if heavy <= 41 * 8192 * 1.5 and case not in cases:
            cases.append(case)
    return cases


def write_inputs(work: Path, seed: int) -> None:
    """Write rows of every length, and text, from made-up words."""
    rng = random.Random(seed)
    parts = [c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou"]
    words = ["".join(rng.choices(parts, k=rng.randint(1, 5))) for _ in range(40_000)]
    weights = [1 / (10 + i) for i in range(len(words))]
    total = [0.0]
    for weight in weights:
        total.append(total[-1] + weight)

    def text(count: int) -> str:
        return " ".join(rng.choices(words, cum_weights=total[1:], k=count))

    def dump(name: str, rows: list[dict[str, str]]) -> None:
        (work / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    dump("text.jsonl", [{"text": text(rng.randint(40, 900))} for _ in range(900)])
    for length in LENGTHS:
        rows = []
        for _ in range(max(120, min(900, 240_000 // length))):
            size = rng.uniform(0.15, 0.9) * length / 2
            rows.append({"question": text(max(2, int(size * 0.4))), "answer": text(max(2, int(size * 0.6)))})  # fmt: skip
        dump(f"rows-{length}.jsonl", rows)
    (work / "words.txt").write_text(" ".join(words))
